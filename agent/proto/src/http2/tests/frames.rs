//! Frames of RFC 9113.

use super::*;
use Part::{Bytes, Call, Gap};

fn join(frames: &[Vec<u8>]) -> Part {
    Bytes(frames.concat())
}

fn request() -> Vec<u8> {
    // POST /a, http, authority `h`.
    hex("83 86 04022f61 010168")
}

#[test]
fn a_connection() {
    check(
        Sender::Client,
        Start::Preface { offset: 100 },
        &[
            join(&[
                PREFACE.to_vec(),
                frame(4, 0, 0, &hex("0003 00000064")),
                frame(8, 0, 0, &hex("3fff0001")),
            ]),
            Call,
            join(&[
                frame(1, 4, 1, &request()),
                frame(0, 0, 1, b"hello"),
                frame(0, 1, 1, b""),
                frame(3, 0, 3, &hex("00000008")),
                frame(7, 0, 0, &hex("00000000 00000002 64656267")),
            ]),
        ],
        &[
            "152..170 fields 1 method=POST path=/a scheme=http authority=h",
            "184 data 1 5",
            "193 data 1 0 end",
            "193 reset 3 8",
            "206 go-away 0 2",
        ],
    );
    check(
        Sender::Server,
        Start::Preface { offset: 0 },
        &[join(&[
            frame(4, 0, 0, b""),
            frame(4, 1, 0, b""),
            frame(6, 0, 0, b"12345678"),
            frame(1, 4, 1, &hex("08 03313033")),
            frame(1, 4, 1, &hex("88 0f 0d 0135")),
            frame(0, 0, 1, b"hello"),
            frame(1, 5, 1, &hex("000b 677270632d737461747573 0130")),
        ])],
        &[
            "35..49 fields 1 status=103",
            "49..63 fields 1 status=200 content-length=5",
            "77 data 1 5",
            "77..101 fields 1 grpc-status=0 end",
        ],
    );
}

#[test]
fn padding_and_priority() {
    let mut headers = hex("03 00000000 10");
    headers.extend(request());
    headers.extend(hex("000000"));
    check(
        Sender::Client,
        FRESH,
        &[join(&[
            frame(1, 0x2d, 1, &headers),
            frame(2, 0, 3, &hex("00000001 10")),
            frame(0, 8, 1, &hex("02 6162 0000")),
            frame(0, 9, 1, &hex("01 00")),
        ])],
        &[
            "0..24 fields 1 method=POST path=/a scheme=http authority=h end",
            "53 data 1 2",
            "65 data 1 0 end",
        ],
    );
}

#[test]
fn continuation() {
    let block = request();
    check(
        Sender::Client,
        FRESH,
        &[join(&[
            frame(1, 1, 1, &block[..3]),
            frame(9, 0, 1, b""),
            frame(9, 4, 1, &block[3..]),
            frame(0x10, 0xff, 0, b"unknown"),
        ])],
        &["0..36 fields 1 method=POST path=/a scheme=http authority=h end"],
    );
}

#[test]
fn push() {
    check(
        Sender::Server,
        FRESH,
        &[join(&[
            frame(5, 4, 1, &hex("00000002 82 44022f62 86")),
            // On the promised stream; the entry that the promise inserted counts.
            frame(1, 5, 2, &hex("88 be")),
        ])],
        &["0 promised 1 2", "19..30 fields 2 path=/b status=200 end"],
    );
}

#[test]
fn extended_connect() {
    check(
        Sender::Client,
        FRESH,
        &[join(&[frame(
            1,
            4,
            1,
            &hex("0207 434f4e4e454354 0009 3a70726f746f636f6c 09 776562736f636b6574 87 84"),
        )])],
        &["0..41 fields 1 method=CONNECT path=/ scheme=https protocol=websocket"],
    );
}

#[test]
fn malformed_frames() {
    use Sender::{Client, Server};
    of(
        Client,
        frame(1, 4, 2, b""),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Client,
        frame(0, 0, 0, b""),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Server,
        frame(0, 0, 0, b""),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Client,
        frame(4, 0, 1, b""),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Client,
        frame(5, 4, 1, b"\0\0\0\x02"),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Server,
        frame(5, 4, 1, b"\0\0\0\x03"),
        "0 stream that the frame's type or sender does not allow",
    );
    of(
        Client,
        frame(4, 0, 0, b"x"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(4, 1, 0, b"123456"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(6, 0, 0, b"x"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(8, 0, 0, b"12345"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(3, 0, 1, b"123"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(2, 0, 1, b"1234"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(7, 0, 0, b"1234"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(0, 8, 1, b""),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(1, 0x20, 1, b"1234"),
        "0 frame length that its type does not allow",
    );
    of(
        Client,
        frame(0, 8, 1, b"\x02a"),
        "0 padding longer than the frame",
    );
    of(
        Client,
        frame(1, 8, 1, b"\x02a"),
        "0 padding longer than the frame",
    );
    of(
        Client,
        frame(9, 4, 1, b""),
        "0 frame in the middle of a field block, or a continuation of none",
    );
    of(
        Client,
        [frame(1, 0, 1, b""), frame(0, 0, 1, b"")].concat(),
        "9 frame in the middle of a field block, or a continuation of none",
    );
    of(
        Client,
        [frame(1, 0, 1, b""), frame(9, 4, 3, b"")].concat(),
        "9 frame in the middle of a field block, or a continuation of none",
    );
    of(
        Client,
        frame(1, 4, 1, &hex("80")),
        "0 malformed field block",
    );
    of(
        Client,
        frame(1, 4, 1, &hex("04")),
        "0 malformed field block",
    );
    #[track_caller]
    fn of(sender: Sender, bytes: Vec<u8>, expected: &str) {
        check(sender, FRESH, &[Bytes(bytes)], &[expected]);
    }
}

#[test]
fn no_preface() {
    check(
        Sender::Client,
        Start::Preface { offset: 0 },
        &[Bytes(b"PRI * HTTP/1.1\r\n\r\n".to_vec())],
        &["0 not the client's connection preface"],
    );
    check(
        Sender::Server,
        Start::Preface { offset: 0 },
        &[Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
        &["0 not the client's connection preface"],
    );
}

#[test]
fn gaps() {
    // In payload, in padding, in frames that nobody looks into.
    check(
        Sender::Client,
        FRESH,
        &[
            join(&[
                frame(1, 4, 1, &request()),
                frame(0, 1, 1, &[0; 1000])[..12].to_vec(),
            ]),
            Gap(997),
            join(&[frame(8, 0, 0, b"1234")[..10].to_vec()]),
            Gap(3),
            join(&[frame(1, 5, 3, &request())]),
        ],
        &[
            "0..18 fields 1 method=POST path=/a scheme=http authority=h",
            "1027 data 1 1000 end",
            "1040..1058 fields 3 method=POST path=/a scheme=http authority=h end",
        ],
    );
    // Over a frame's header: what was inserted before is not known any more.
    let known = hex("82 86 44022f61");
    check(
        Sender::Client,
        FRESH,
        &[
            join(&[frame(1, 5, 1, &known), frame(1, 5, 3, &hex("82 86 be"))]),
            Gap(1),
            Bytes(b"rest of a frame".to_vec()),
            Call,
            join(&[
                frame(1, 5, 7, &hex("82 86 be 44022f62")),
                frame(1, 5, 9, &hex("82 86 be")),
            ]),
            Call,
            join(&[frame(1, 5, 11, &hex("82 86 bf"))]),
        ],
        &[
            "0..15 fields 1 method=GET path=/a scheme=http end",
            "15..27 fields 3 method=GET path=/a scheme=http end",
            "27 lost",
            "43..59 fields 7 method=GET path=/b scheme=http unknown=1 end",
            "59..71 fields 9 method=GET path=/b scheme=http end",
            "71..83 fields 11 method=GET scheme=http unknown=1 end",
        ],
    );
    // In a value: the block and the table stay whole, the value is not known.
    check(
        Sender::Client,
        FRESH,
        &[
            Bytes(frame(1, 5, 1, &hex("82 44052f616161 61 86"))[..14].to_vec()),
            Gap(2),
            Bytes(hex("61 86")),
            join(&[
                frame(1, 5, 3, &hex("82 be 86 41 0161")),
                frame(1, 5, 5, &hex("be bf")),
            ]),
        ],
        &[
            "0..18 fields 1 method=GET scheme=http unknown=1 end",
            "18..33 fields 3 method=GET scheme=http authority=a unknown=1 end",
            "33..44 fields 5 authority=a unknown=1 end",
        ],
    );
    // Elsewhere in a block.
    check(
        Sender::Client,
        FRESH,
        &[
            Bytes(frame(1, 5, 1, &hex("82 44022f61 86 41 0161"))[..10].to_vec()),
            Gap(1),
            Bytes(hex("022f61 86 41 0161")),
            join(&[
                frame(1, 5, 3, &hex("82 be 86 44022f62")),
                frame(1, 5, 5, &hex("be bf")),
            ]),
        ],
        &[
            "0..18 fields 1 method=GET partial end",
            "18..34 fields 3 method=GET path=/b scheme=http unknown=1 end",
            "34..45 fields 5 path=/b unknown=1 end",
        ],
    );
    // Over the end of a block that has begun.
    check(
        Sender::Client,
        FRESH,
        &[
            Bytes(frame(1, 5, 1, &hex("82 44022f61 86 41 0161"))[..15].to_vec()),
            Gap(30),
        ],
        &[
            "0..18 fields 1 method=GET path=/a scheme=http partial end",
            "18 lost",
        ],
    );
}
