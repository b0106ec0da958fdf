//! Messages to bytes.

use std::net::{IpAddr, SocketAddr};

use super::{
    ANEW, Addresses, Answer, Ask, Ciphertext, HEAD, Hello, MAGIC, MAX_BODY, Message, Place, Reason,
    Refusal, answer, ask, kind,
};
use crate::trace_context::MAX_TRACE_STATE;

/// Appends frames; messages of one kind that stand next to each other share one.
pub fn encode<'a>(messages: impl IntoIterator<Item = &'a Message>, out: &mut Vec<u8>) {
    let mut open: Option<(u8, usize)> = None;
    let mut entry = Vec::new();
    for message in messages {
        if let Message::Addresses(addresses) = message {
            open = None;
            put_addresses(addresses, out);
            continue;
        }
        entry.clear();
        let kind = match message {
            Message::Hello(hello) => put_hello(hello, &mut entry),
            Message::Ask(ask) => put_ask(ask, &mut entry),
            Message::Answer(answer) => put_answer(answer, &mut entry),
            Message::Refusal(refusal) => put_refusal(refusal, &mut entry),
            Message::Addresses(_) => continue,
        };
        let begin = match open {
            Some((same, begin))
                if same == kind && out.len() - begin - HEAD + entry.len() <= MAX_BODY =>
            {
                begin
            }
            _ => begin(kind, out),
        };
        open = Some((kind, begin));
        out.extend_from_slice(&entry);
        close(begin, out);
    }
}

fn begin(kind: u8, out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.extend_from_slice(&[0, 0, kind]);
    begin
}

fn close(begin: usize, out: &mut [u8]) {
    // At most `MAX_BODY`.
    let [.., high, low] = (out.len() - begin - HEAD).to_be_bytes();
    out[begin..begin + 2].copy_from_slice(&[high, low]);
}

fn put_hello(hello: &Hello, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[hello.versions.0, hello.versions.1]);
    out.extend_from_slice(&hello.agent);
    kind::HELLO
}

/// In frames of its own, as many as it takes; none to say that there is nothing to say.
fn put_addresses(addresses: &Addresses, out: &mut Vec<u8>) {
    const LONGEST: usize = 17;
    let per_frame = (MAX_BODY - 1) / LONGEST;
    let empty: &[&[IpAddr]] = &[&[]];
    let parts: Vec<&[IpAddr]> = addresses.list.chunks(per_frame).collect();
    let parts = match (parts.is_empty(), addresses.anew) {
        (true, true) => empty,
        _ => &parts,
    };
    for (number, part) in parts.iter().enumerate() {
        let begin = begin(kind::ADDRESSES, out);
        out.push(if addresses.anew && number == 0 {
            ANEW
        } else {
            0
        });
        for address in *part {
            out.push(if address.is_ipv6() { 6 } else { 4 });
            put_ip(*address, out);
        }
        close(begin, out);
    }
}

fn put_ask(ask: &Ask, out: &mut Vec<u8>) -> u8 {
    let Ask {
        id,
        request,
        client,
        server,
        place,
    } = ask;
    let (bits, stream, cipher) = match *place {
        Place::Byte(seq) => (ask::BYTE, None, Some(Ciphertext { seq, len: 0 })),
        Place::Cipher(cipher) => (ask::CIPHER, None, Some(cipher)),
        Place::Stream(stream, Some(cipher)) => {
            (ask::STREAM | ask::CIPHER, Some(stream), Some(cipher))
        }
        Place::Stream(stream, None) => (ask::STREAM, Some(stream), None),
    };
    let v6 = |address: &SocketAddr, bit| if address.is_ipv6() { bit } else { 0 };
    out.push(bits | v6(client, ask::CLIENT_V6) | v6(server, ask::SERVER_V6));
    out.extend_from_slice(&id.to_be_bytes());
    let request = request.map_or(0, |request| request.0.get());
    out.extend_from_slice(&request.to_be_bytes());
    for end in [client, server] {
        put_ip(end.ip(), out);
        out.extend_from_slice(&end.port().to_be_bytes());
    }
    if let Some(stream) = stream {
        out.extend_from_slice(&stream.to_be_bytes());
    }
    if let Some(Ciphertext { seq, len }) = cipher {
        out.extend_from_slice(&seq.to_be_bytes());
        if bits & ask::CIPHER != 0 {
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    kind::ASKS
}

fn put_answer(answer: &Answer, out: &mut Vec<u8>) -> u8 {
    let Answer {
        id,
        parent,
        reported,
        state,
    } = answer;
    let state = state
        .as_ref()
        .filter(|state| state.len() <= MAX_TRACE_STATE);
    out.push(parent.flags);
    let reported = if *reported { answer::REPORTED } else { 0 };
    out.push(reported | if state.is_some() { answer::STATE } else { 0 });
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&parent.trace_id.0);
    out.extend_from_slice(&parent.parent_id.0);
    if let Some(state) = state {
        let [.., high, low] = state.len().to_be_bytes();
        out.extend_from_slice(&[high, low]);
        out.extend_from_slice(state);
    }
    kind::ANSWERS
}

fn put_refusal(refusal: &Refusal, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&refusal.id.to_be_bytes());
    out.push(match refusal.reason {
        Reason::Unknown => 0,
        Reason::Ambiguous => 1,
        Reason::Busy => 2,
    });
    kind::REFUSALS
}

fn put_ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}
