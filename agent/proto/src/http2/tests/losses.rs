//! Any split of a conversation says the same, and whatever is lost, nothing that is said is wrong.

use std::collections::HashSet;

use bytes::Bytes;
use httlib_hpack::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Block;
use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits(items in vec(item(), 1..20), cuts in vec(cut(), 0..40), joined in any::<bool>()) {
        let stream = encode(&items).concat();
        let start = if joined { Start::Joined { offset: 0 } } else { FRESH };
        let calls: Vec<_> = pieces(&stream, &cuts);
        let whole = say(start, &calls, usize::MAX);
        for longest in [1, 7] {
            prop_assert_eq!(&say(start, &calls, longest).lines, &whole.lines);
        }
        if !joined {
            let one = say(start, &[(Piece::Bytes(&stream), true)], usize::MAX);
            prop_assert_eq!(&one.lines, &whole.lines);
        }
    }

    #[test]
    fn losses(items in vec(item(), 1..20), cuts in vec(cut(), 0..30)) {
        let stream = encode(&items).concat();
        let truth = say(FRESH, &[(Piece::Bytes(&stream), true)], usize::MAX);
        let lossy: Vec<_> = pieces(&stream, &cuts)
            .into_iter()
            .zip(cuts.iter().map(|cut| cut.lost).chain([false]))
            .map(|((piece, end), lost)| (if lost { gap(piece) } else { piece }, end))
            .collect();
        for start in [FRESH, Start::Joined { offset: 0 }] {
            check_lossy(&truth, &say(start, &lossy, usize::MAX))?;
        }
    }
}

/// One gap at each place of a conversation whose frames are single calls: what is behind it comes
/// right again.
#[test]
fn each_gap() {
    let fields = |path: &str| Item::Head {
        fields: vec![
            (":method", "GET".to_owned(), 0x14),
            (":scheme", "http".to_owned(), 0x14),
            (":path", path.to_owned(), 0x16),
            ("user-agent", "weft".to_owned(), 0x14),
            ("x-id", path.to_owned(), 0x17),
        ],
        continuations: 1,
        padding: Some(3),
    };
    let data = |bytes: usize| Item::Data {
        payload: vec![b'x'; bytes],
        padding: Some(2),
    };
    let items = [
        fields("/a/path"),
        data(20),
        fields("/another"),
        Item::WindowUpdate,
        fields("/a/path"),
        data(5),
        fields("/another"),
        fields("/third"),
    ];
    let frames = encode(&items);
    let stream = frames.concat();
    let truth = say(FRESH, &[(Piece::Bytes(&stream), true)], usize::MAX);
    assert_eq!(truth.blocks.len(), 5);
    for lost in [1, 2, 5, 9, 30] {
        for from in 0..stream.len() - lost {
            let mut at = 0;
            let mut calls = Vec::new();
            for frame in &frames {
                let mut rest = &frame[..];
                while !rest.is_empty() {
                    let end = match at {
                        _ if at < from => from,
                        _ if at < from + lost => from + lost,
                        _ => usize::MAX,
                    };
                    let (piece, after) = rest.split_at(rest.len().min(end - at));
                    let is_lost = (from..from + lost).contains(&at);
                    let bytes = Piece::Bytes(piece);
                    calls.push((if is_lost { gap(bytes) } else { bytes }, after.is_empty()));
                    at += piece.len();
                    rest = after;
                }
            }
            let said = say(FRESH, &calls, usize::MAX);
            check_lossy(&truth, &said).unwrap_or_else(|error| panic!("{from} {lost} {error}"));
            // No more is lost than the block or two that it touches.
            assert!(said.blocks.len() >= 3, "{from} {lost} {:?}", said.lines);
        }
    }
}

pub(super) fn check_lossy(truth: &Transcript, said: &Transcript) -> Result<(), TestCaseError> {
    let lines: HashSet<&str> = truth.lines.iter().map(String::as_str).collect();
    for line in &said.lines {
        let is_told_apart = line.contains(" fields ") || line.ends_with(" lost");
        let unsure = line.contains('?');
        prop_assert!(
            is_told_apart || unsure || lines.contains(&line[..]),
            "{}",
            line
        );
    }
    for (stream, block, start) in &said.blocks {
        let mut sent = truth.blocks.iter();
        let sent = sent.find(|(of, _, at)| (of, at) == (stream, start));
        let (_, sent, _) = sent.ok_or_else(|| TestCaseError::fail("a block that was not sent"))?;
        if block.unknown == 0 && !block.partial {
            prop_assert_eq!(block, sent);
        }
        for (told, sent) in texts(block).into_iter().zip(texts(sent)) {
            prop_assert!(told.is_none() || told == sent, "{:?} {:?}", told, sent);
        }
        for (told, sent) in numbers(block).into_iter().zip(numbers(sent)) {
            prop_assert!(told.is_none() || told == sent, "{:?} {:?}", told, sent);
        }
        let mut rest = sent.chosen.iter();
        for field in &block.chosen {
            prop_assert!(rest.any(|sent| sent == field), "{:?}", field);
        }
    }
    Ok(())
}

fn texts(block: &Block) -> [Option<&Bytes>; 12] {
    [
        &block.method,
        &block.path,
        &block.scheme,
        &block.authority,
        &block.protocol,
        &block.user_agent,
        &block.content_type,
        &block.traceparent,
        &block.tracestate,
        &block.grpc_timeout,
        &block.grpc_trace_bin,
        &block.grpc_message,
    ]
    .map(Option::as_ref)
}

fn numbers(block: &Block) -> [Option<u64>; 3] {
    [
        block.status.map(u64::from),
        block.content_length,
        block.grpc_status.map(u64::from),
    ]
}

/// One or more frames.
#[derive(Clone, Debug)]
enum Item {
    /// Of a stream of its own.
    Head {
        /// Name, value and how it is encoded.
        fields: Vec<(&'static str, String, u8)>,
        continuations: usize,
        padding: Option<u8>,
    },
    Data {
        payload: Vec<u8>,
        padding: Option<u8>,
    },
    WindowUpdate,
    Ping,
    Reset,
    Resize(u32),
}

/// A place in the stream, in units of 1/65536 of its length, and what happens there.
#[derive(Clone, Copy, Debug)]
struct Cut {
    at: u16,
    end_of_call: bool,
    /// The piece behind it is lost.
    lost: bool,
}

fn cut() -> impl Strategy<Value = Cut> {
    let parts = (any::<u16>(), any::<bool>(), prop::bool::weighted(0.2));
    parts.prop_map(|(at, end_of_call, lost)| Cut {
        at,
        end_of_call,
        lost,
    })
}

fn item() -> impl Strategy<Value = Item> {
    let padding = || prop_oneof![3 => Just(None), 1 => (0_u8..20).prop_map(Some)];
    let value = prop_oneof![
        (0_u8..30).prop_map(|number| format!("/a/value/{number}")),
        (1_usize..200).prop_map(|len| format!("/{}", "v".repeat(len))),
    ];
    let flags = prop_oneof![
        Just(0),
        Just(2),
        Just(0x10),
        Just(0x14),
        Just(0x17),
        Just(0x14)
    ];
    let pseudo = (value.clone(), flags.clone()).prop_map(|(path, flags)| {
        vec![
            (":method", "GET".to_owned(), flags),
            (":scheme", "http".to_owned(), flags),
            (":path", path, flags),
        ]
    });
    let name = prop_oneof![
        Just("user-agent"),
        Just("cookie"),
        Just("x-id"),
        Just("accept-language"),
        Just("content-type"),
        Just("x-nobody-asks-for-it"),
    ];
    let head = (
        pseudo,
        vec((name, value, flags), 0..6),
        0_usize..3,
        padding(),
    );
    prop_oneof![
        6 => head.prop_map(|(mut fields, more, continuations, padding)| {
            fields.extend(more);
            Item::Head { fields, continuations, padding }
        }),
        3 => (vec(any::<u8>(), 0..300), padding())
            .prop_map(|(payload, padding)| Item::Data { payload, padding }),
        1 => Just(Item::WindowUpdate),
        1 => Just(Item::Ping),
        1 => Just(Item::Reset),
        1 => prop_oneof![Just(0), Just(100), Just(4096)].prop_map(Item::Resize),
    ]
}

/// The frames, on a stream of its own each head, and what follows it on the same one.
fn encode(items: &[Item]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::default();
    let (mut stream, mut block) = (1, Vec::new());
    let mut frames = Vec::new();
    for item in items {
        match item {
            Item::Head {
                fields,
                continuations,
                padding,
            } => {
                stream += 2;
                for (name, value, flags) in fields {
                    let field = (name.as_bytes().to_vec(), value.clone().into_bytes(), *flags);
                    encoder.encode(field, &mut block).expect("a field");
                }
                let block = std::mem::take(&mut block);
                let each = block.len().div_ceil(continuations + 1);
                let mut parts = block.chunks(each);
                let first = parts.next().unwrap_or_default();
                let more: Vec<_> = parts.collect();
                let last = if more.is_empty() { 4 } else { 0 };
                frames.push(padded(1, last, stream, first, *padding));
                for (index, part) in more.iter().enumerate() {
                    let last = if index + 1 == more.len() { 4 } else { 0 };
                    frames.push(frame(9, last, stream, part));
                }
            }
            Item::Data { payload, padding } => {
                frames.push(padded(0, 0, stream, payload, *padding));
            }
            Item::WindowUpdate => frames.push(frame(8, 0, 0, &[0, 0, 1, 0])),
            Item::Ping => frames.push(frame(6, 0, 0, b"12345678")),
            Item::Reset => frames.push(frame(3, 0, stream, &[0, 0, 0, 8])),
            Item::Resize(size) => {
                encoder
                    .update_max_dynamic_size(*size, &mut block)
                    .expect("a size");
            }
        }
    }
    frames
}

fn padded(kind: u8, flags: u8, stream: u32, payload: &[u8], padding: Option<u8>) -> Vec<u8> {
    let Some(padding) = padding else {
        return frame(kind, flags, stream, payload);
    };
    let zeros = vec![0; usize::from(padding)];
    frame(
        kind,
        flags | 8,
        stream,
        &[&[padding], payload, &zeros].concat(),
    )
}

fn pieces<'a>(stream: &'a [u8], cuts: &[Cut]) -> Vec<(Piece<'a>, bool)> {
    let mut places: Vec<_> = cuts
        .iter()
        .map(|cut| ((usize::from(cut.at) * stream.len()) >> 16, cut.end_of_call))
        .collect();
    places.sort_unstable();
    places.push((stream.len(), true));
    let mut from = 0;
    places
        .into_iter()
        .map(|(at, end)| {
            let piece = &stream[from..at];
            from = at;
            (Piece::Bytes(piece), end)
        })
        .collect()
}

fn gap(piece: Piece<'_>) -> Piece<'_> {
    match piece {
        Piece::Bytes(bytes) => Piece::Gap(bytes.len() as u64),
        gap @ Piece::Gap(_) => gap,
    }
}

fn say(start: Start, calls: &[(Piece<'_>, bool)], longest: usize) -> Transcript {
    let mut parser = Parser::new(Sender::Client, wanted(), start);
    let mut transcript = Transcript::default();
    for &(piece, end_of_call) in calls {
        match piece {
            Piece::Bytes(bytes) => bytes
                .chunks(longest)
                .for_each(|piece| parser.feed(Piece::Bytes(piece), false, &mut transcript)),
            gap @ Piece::Gap(_) => parser.feed(gap, false, &mut transcript),
        }
        if end_of_call {
            parser.feed(Piece::Bytes(b""), true, &mut transcript);
        }
    }
    transcript
}
