//! Connections joined in the middle.

use super::*;
use Part::{Bytes, Call, Gap};

const JOINED: Start = Start::Joined { offset: 1000 };

fn get() -> Vec<u8> {
    frame(1, 5, 9, &hex("82 86 c1 c0"))
}

#[test]
fn at_a_head() {
    check(
        Sender::Client,
        JOINED,
        &[Bytes(get()), Call, Bytes(get())],
        &[
            "1000..1013 fields 9 method=GET scheme=http unknown=2 end",
            "1013..1026 fields 9 method=GET scheme=http unknown=2 end",
        ],
    );
    // Its body goes on behind the call.
    let post = [
        frame(1, 4, 9, &hex("83 86 c1")),
        frame(0, 1, 9, &[b'x'; 100])[..50].to_vec(),
    ];
    check(
        Sender::Client,
        JOINED,
        &[Bytes(post.concat()), Call, Gap(59)],
        &[
            "1000..1012 fields 9 method=POST scheme=http unknown=1",
            "1121 data 9 100 end",
        ],
    );
}

#[test]
fn at_other_frames() {
    // One frame that fills a call, but for DATA.
    for single in [
        frame(8, 0, 0, &hex("00000001")),
        frame(6, 1, 0, b"12345678"),
        frame(4, 1, 0, b""),
        frame(3, 0, 7, &hex("00000008")),
    ] {
        let len = single.len() as u64;
        let expected = format!(
            "{}..{} fields 9 method=GET scheme=http unknown=2 end",
            1000 + len,
            1013 + len
        );
        let mut parts = vec![Bytes(single), Call, Bytes(get())];
        let said = read(Sender::Client, JOINED, &parts, usize::MAX);
        assert_eq!(said.last(), Some(&expected));
        // Not where it is preceded by the rest of something.
        parts.insert(0, Bytes(b"x".to_vec()));
        parts.remove(2);
        assert!(read(Sender::Client, JOINED, &parts, usize::MAX).is_empty());
    }
    // DATA takes two.
    let data = frame(0, 0, 7, b"hello");
    check(Sender::Client, JOINED, &[Bytes(data.clone())], &[]);
    check(
        Sender::Client,
        JOINED,
        &[Bytes(data.clone()), Call, Bytes(data)],
        &["1014 data 7 5", "1028 data 7 5"],
    );
}

#[test]
fn a_reader_of_single_frames() {
    // Some programs read nine bytes, then what they announce.
    let head = get();
    check(
        Sender::Client,
        JOINED,
        &[
            Bytes(head[..9].to_vec()),
            Call,
            Bytes(head[9..].to_vec()),
            Call,
            Bytes(head[..9].to_vec()),
        ],
        &["1000..1013 fields 9 method=GET scheme=http unknown=2 end"],
    );
}

#[test]
fn a_wrong_guess() {
    // What looks like a long frame does not swallow the calls behind it.
    check(
        Sender::Client,
        JOINED,
        &[
            Bytes(hex("080000 00 00 00000007 6162")),
            Call,
            Bytes(get()),
            Bytes(get()),
        ],
        &[
            "1011..1024 fields 9 method=GET scheme=http unknown=2 end",
            "1024..1037 fields 9 method=GET scheme=http unknown=2 end",
        ],
    );
    // Nor does one that turns out to be none.
    check(
        Sender::Client,
        JOINED,
        &[Bytes(hex("000004 00 00 00000007 6162")), Call, Bytes(get())],
        &["1011..1024 fields 9 method=GET scheme=http unknown=2 end"],
    );
}

#[test]
fn entries_become_known() {
    let blocks = [
        // Inserts `:path`, then `user-agent`.
        hex("82 86 c0 44022f61"),
        hex("82 86 c1 be 7a0177"),
        hex("82 86 c2 bf be"),
    ];
    let frames: Vec<_> = blocks.iter().map(|block| frame(1, 5, 9, block)).collect();
    check(
        Sender::Client,
        JOINED,
        &[Bytes(frames.concat())],
        &[
            "1000..1016 fields 9 method=GET path=/a scheme=http unknown=1 end",
            "1016..1032 fields 9 method=GET path=/a scheme=http user-agent=w unknown=1 end",
            "1032..1046 fields 9 method=GET path=/a scheme=http user-agent=w unknown=1 end",
        ],
    );
}
