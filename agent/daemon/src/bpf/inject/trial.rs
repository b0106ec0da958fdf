//! What a program may see of its own connections, tried on connections of weft's own with the kernel
//! programs attached. Whatever is not as it is without them is an error.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionread,
    pipe::{SpliceFlags, pipe, splice},
};
use weft_abi::INJECTED_BYTES;
use weft_proto::trace_context::TraceParent;

use super::Injection;

const REQUEST: &[u8] = b"GET /weft HTTP/1.1\r\nHost: weft\r\n\r\n";
const REPLY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// Whatever takes longer stands still.
const LIMIT: Duration = Duration::from_secs(2);
const LARGE: usize = 1 << 20;

pub(super) fn run(injection: &mut Injection) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let to = listener.local_addr().map_err(text)?;
    injection.learn(to)?;
    for (name, trial) in TRIALS {
        let connected = TcpStream::connect(to).and_then(|client| {
            let (server, _) = listener.accept()?;
            for end in [&client, &server] {
                end.set_read_timeout(Some(LIMIT))?;
                end.set_write_timeout(Some(LIMIT))?;
                end.set_nodelay(true)?;
            }
            Ok((client, server))
        });
        let (client, server) = connected.map_err(text)?;
        trial(client, server).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

type Trial = fn(TcpStream, TcpStream) -> Result<(), String>;

const TRIALS: [(&str, Trial); 8] = [
    ("a request", request),
    ("what waits to be read", waits),
    ("splice", spliced),
    ("tiny writes", tiny),
    ("a large write", large),
    ("a head in two writes", halves),
    ("a request that carries a trace context", carries),
    ("ends closed out of order", closed),
];

/// The field arrives, well-formed and alone; requests after it are as they were.
fn request(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    client.write_all(REQUEST).map_err(text)?;
    let mut bytes = vec![0; REQUEST.len() + INJECTED_BYTES as usize];
    server.read_exact(&mut bytes).map_err(text)?;
    let (before, rest) = bytes.split_at(REQUEST.len() - 2);
    let (field, after) = rest.split_at(INJECTED_BYTES as usize);
    let value = field
        .strip_prefix(b"traceparent: ")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    if [before, after].concat() != REQUEST || value.and_then(TraceParent::parse).is_none() {
        return Err(format!("{:?} arrived", String::from_utf8_lossy(&bytes)));
    }
    server.write_all(REPLY).map_err(text)?;
    expect(&mut client, REPLY)?;
    client.write_all(REQUEST).map_err(text)?;
    expect(&mut server, REQUEST)?;
    nothing_waits(&server)
}

/// `FIONREAD`, `poll` and `MSG_PEEK` of the answer.
fn waits(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    nothing_waits(&client)?;
    asked(&mut client, &mut server)?;
    server.write_all(REPLY).map_err(text)?;
    readable(&client)?;
    let waiting = ioctl_fionread(&client).map_err(text)?;
    if waiting != REPLY.len() as u64 {
        return Err(format!("FIONREAD says {waiting} of {}", REPLY.len()));
    }
    let mut peeked = [0; REPLY.len()];
    let count = client.peek(&mut peeked).map_err(text)?;
    if peeked[..count] != *REPLY {
        return Err(format!("MSG_PEEK gave {count} bytes"));
    }
    expect(&mut client, REPLY)?;
    nothing_waits(&client)
}

fn spliced(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    asked(&mut client, &mut server)?;
    server.write_all(REPLY).map_err(text)?;
    readable(&client)?;
    let (out, into) = pipe().map_err(text)?;
    let flags = SpliceFlags::NONBLOCK;
    let count = splice(&client, None, &into, None, REPLY.len(), flags).map_err(text)?;
    let mut bytes = vec![0; count];
    rustix::io::read(&out, &mut bytes).map_err(text)?;
    if bytes != REPLY {
        return Err(format!("{count} bytes came"));
    }
    Ok(())
}

fn tiny(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    for byte in REQUEST {
        client.write_all(&[*byte]).map_err(text)?;
    }
    expect(&mut server, REQUEST)?;
    nothing_waits(&server)
}

fn large(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    let mut sent = REQUEST.to_vec();
    sent.resize(LARGE, b'x');
    let expected = sent.clone();
    let writer = thread::spawn(move || client.write_all(&sent).map(|()| client));
    expect(&mut server, &expected)?;
    let client = writer.join().map_err(|_| "panicked".to_owned())?;
    client
        .map_err(text)?
        .shutdown(Shutdown::Write)
        .map_err(text)?;
    ended(&mut server)
}

fn halves(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    let (one, other) = REQUEST.split_at(REQUEST.len() / 2);
    client.write_all(one).map_err(text)?;
    client.write_all(other).map_err(text)?;
    expect(&mut server, REQUEST)?;
    nothing_waits(&server)
}

fn carries(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    let request = b"GET / HTTP/1.1\r\nHost: weft\r\nB3: 0\r\n\r\n";
    client.write_all(request).map_err(text)?;
    expect(&mut server, request)?;
    nothing_waits(&server)
}

/// Half-closed, then the other end closes first; and closed with nothing read.
fn closed(mut client: TcpStream, mut server: TcpStream) -> Result<(), String> {
    asked(&mut client, &mut server)?;
    client.shutdown(Shutdown::Write).map_err(text)?;
    ended(&mut server)?;
    server.write_all(REPLY).map_err(text)?;
    drop(server);
    expect(&mut client, REPLY)?;
    ended(&mut client)
}

/// The request arrives, with whatever is in it.
fn asked(client: &mut TcpStream, server: &mut TcpStream) -> Result<(), String> {
    client.write_all(REQUEST).map_err(text)?;
    let mut bytes = vec![0; REQUEST.len() + INJECTED_BYTES as usize];
    server.read_exact(&mut bytes).map_err(text)
}

fn expect(end: &mut TcpStream, expected: &[u8]) -> Result<(), String> {
    let mut bytes = vec![0; expected.len()];
    end.read_exact(&mut bytes).map_err(text)?;
    if bytes == expected {
        Ok(())
    } else {
        Err("other bytes arrived than were sent".to_owned())
    }
}

fn ended(end: &mut TcpStream) -> Result<(), String> {
    match end.read(&mut [0]).map_err(text)? {
        0 => Ok(()),
        _ => Err("more bytes arrived than were sent".to_owned()),
    }
}

fn nothing_waits(end: &TcpStream) -> Result<(), String> {
    match ioctl_fionread(end).map_err(text)? {
        0 => Ok(()),
        more => Err(format!("{more} bytes more arrived than were sent")),
    }
}

fn readable(end: &impl AsFd) -> Result<(), String> {
    let mut polled = [PollFd::new(end, PollFlags::IN)];
    let limit = Timespec::try_from(LIMIT).map_err(text)?;
    match poll(&mut polled, Some(&limit)).map_err(text)? {
        0 => Err("poll does not tell of bytes that have come".to_owned()),
        _ => Ok(()),
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
