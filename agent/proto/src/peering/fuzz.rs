//! What holds of any bytes, and the tests that say what messages look like.

use super::{Decoder, HEAD, MAX_BODY, Message, encode};

/// Where the bytes are cut makes no difference; what is understood is written and understood again; nothing
/// more than a frame is held.
pub fn fuzz_peering(input: &[u8]) {
    let read = |cut: usize| {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        let result = input
            .chunks(cut)
            .try_for_each(|part| decoder.feed(part, |message| messages.push(message)));
        assert!(decoder.held().0 <= HEAD + MAX_BODY);
        (messages, result)
    };
    let (messages, result) = read(input.len().max(1));
    for cut in [1, 7] {
        assert_eq!(read(cut), (messages.clone(), result));
    }
    let mut written = Vec::new();
    encode(&messages, &mut written);
    let mut again = Vec::new();
    Decoder::default()
        .feed(&written, |message| again.push(message))
        .expect("what was written is well-formed");
    // A list that says nothing is not written.
    let says_something = |message: &Message| !matches!(message, Message::Addresses(told) if told.list.is_empty() && !told.anew);
    let messages: Vec<Message> = messages.into_iter().filter(says_something).collect();
    assert_eq!(again, messages);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::{
        Addresses, Answer, Ask, Ciphertext, Fingerprint, Hello, Malformed, Place, Reason, Refusal,
    };
    use super::*;
    use crate::trace_context::{SpanId, TraceId, TraceParent};

    fn ask(place: Place) -> Message {
        Message::Ask(Ask {
            id: 7,
            request: Fingerprint::of(b"GET", b"/a"),
            client: "10.0.0.1:40000".parse().unwrap(),
            server: "10.0.0.2:80".parse().unwrap(),
            place,
        })
    }

    fn answer(state: Option<&'static [u8]>) -> Message {
        Message::Answer(Answer {
            id: 7,
            parent: TraceParent {
                trace_id: TraceId([1; 16]),
                parent_id: SpanId([2; 8]),
                flags: 1,
            },
            reported: true,
            state: state.map(Bytes::from_static),
        })
    }

    fn written(messages: &[Message]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(messages, &mut bytes);
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&[Message], Malformed>) {
        let mut messages = Vec::new();
        let result = Decoder::default().feed(bytes, |message| messages.push(message));
        match expected {
            Ok(expected) => assert_eq!((&messages[..], result), (expected, Ok(()))),
            Err(fault) => assert_eq!(result, Err(fault)),
        }
        fuzz_peering(bytes);
    }

    #[test]
    fn each_kind() {
        let cipher = Ciphertext { seq: 9, len: 99 };
        let messages = [
            Message::Hello(Hello {
                versions: (1, 3),
                agent: [5; 16],
            }),
            Message::Addresses(Addresses {
                anew: true,
                list: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            }),
            ask(Place::Byte(u32::MAX)),
            ask(Place::Cipher(cipher)),
            ask(Place::Stream(3, None)),
            ask(Place::Stream(5, Some(cipher))),
            answer(None),
            answer(Some(b"a=1,b=2")),
            Message::Refusal(Refusal {
                id: 1,
                reason: Reason::Ambiguous,
            }),
        ];
        check(&written(&messages), Ok(&messages));
    }

    /// The figures that the documentation gives.
    #[test]
    fn sizes() {
        let one = written(&[ask(Place::Byte(1))]).len();
        let two = written(&[ask(Place::Byte(1)), ask(Place::Byte(2))]).len();
        assert_eq!((one, two - one), (28, 25));
        let one = written(&[answer(None)]).len();
        let two = written(&[answer(None), answer(None)]).len();
        assert_eq!((one, two - one), (33, 30));
    }

    #[test]
    fn newer_and_malformed() {
        let known = written(&[ask(Place::Byte(1))]);
        check(
            &[&[0, 2, 77, 1, 2], &known[..]].concat(),
            Ok(&[ask(Place::Byte(1))]),
        );
        check(&[0x40, 1, 2], Err(Malformed::Long(0x4001)));
        check(&[0, 3, 0, 1, 2, 3], Err(Malformed::Greeting));
        check(&[0, 1, 2, 16], Err(Malformed::Short(2)));
        check(&[0, 1, 2, 0x80], Err(Malformed::Entry(2)));
        // Neither a byte nor a stream.
        let mut nowhere = known.clone();
        nowhere[HEAD] = 0;
        check(&nowhere, Err(Malformed::Entry(2)));
        let mut no_trace = written(&[answer(None)]);
        no_trace[HEAD + 6..HEAD + 22].fill(0);
        check(&no_trace, Err(Malformed::Entry(3)));
        check(b"GET / HTTP/1.1\r\n\r\n", Err(Malformed::Long(0x4745)));
    }

    #[test]
    fn many_messages_take_many_frames() {
        let many = vec![answer(Some(b"a=1")); 2000];
        check(&written(&many), Ok(&many));
        let list: Vec<_> = (0..3000_u32)
            .map(|n| std::net::Ipv4Addr::from(n).into())
            .collect();
        let all = [Message::Addresses(Addresses { anew: true, list })];
        let mut found = Vec::new();
        Decoder::default()
            .feed(&written(&all), |message| found.push(message))
            .unwrap();
        let counts: Vec<_> = found
            .iter()
            .map(|message| match message {
                Message::Addresses(told) => (told.anew, told.list.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            counts,
            [(true, 963), (false, 963), (false, 963), (false, 111)]
        );
    }

    #[test]
    fn fingerprints() {
        let of = Fingerprint::of;
        assert_eq!(of(b"GET", b"/a"), of(b"GET", b"/a"));
        assert_ne!(of(b"GET", b"/a"), of(b"GET/", b"a"));
        assert_eq!(of(b"", b"/a"), None);
        assert_eq!(of(b"GET", b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_peering(&input);
        }

        /// Well-formed frames with a few bytes changed.
        #[test]
        fn nearly_right(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4)) {
            let mut bytes = written(&[ask(Place::Stream(3, None)), answer(Some(b"a=1")), ask(Place::Byte(1))]);
            for (at, to) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = to;
            }
            fuzz_peering(&bytes);
        }
    }
}
