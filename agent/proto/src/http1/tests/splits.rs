//! Any split of a valid conversation, with any gaps in its payload, gives the same exchanges.

use std::fmt::Write;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests(messages in vec(request(), 1..6), cuts in vec(cut(), 0..40)) {
        check_splits::<Request>(&messages, &cuts)?;
    }

    #[test]
    fn responses(messages in vec(response(), 1..6), cuts in vec(cut(), 0..40)) {
        check_splits::<Response>(&messages, &cuts)?;
    }

    #[test]
    fn no_request_is_invented(messages in vec(request(), 1..6), cuts in vec(cut(), 0..40)) {
        check_losses::<Request>(&messages, &cuts)?;
    }

    #[test]
    fn no_response_is_invented(messages in vec(response(), 1..6), cuts in vec(cut(), 0..40)) {
        check_losses::<Response>(&messages, &cuts)?;
    }
}

/// A message, and what is to be said of it.
#[derive(Clone, Debug)]
struct Message {
    start_line: String,
    /// What a transcript says instead of the start line.
    title: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    body: Payload,
    answers: Answers,
}

#[derive(Clone, Debug)]
enum Payload {
    None,
    /// An interim response: no end is announced.
    Interim,
    /// A length is announced, the body is not sent.
    Withheld(u64),
    Length(Vec<u8>),
    /// With extension and trailers.
    Chunked(Vec<Vec<u8>>),
}

/// A place in the stream, in units of 1/65536 of its length, and what happens there.
#[derive(Clone, Copy, Debug)]
struct Cut {
    at: u16,
    end_of_call: bool,
    /// The piece behind it is lost, as far as it is payload.
    lost: bool,
}

fn cut() -> impl Strategy<Value = Cut> {
    let parts = (any::<u16>(), any::<bool>(), any::<bool>());
    parts.prop_map(|(at, end_of_call, lost)| Cut {
        at,
        end_of_call,
        lost,
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    // Bodies that look like messages are the hardest.
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..300),
        Just(b"GET / HTTP/1.1\r\n\r\n0\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n".to_vec()),
    ];
    prop_oneof![
        bytes.clone().prop_map(Payload::Length),
        vec(bytes, 0..4).prop_map(Payload::Chunked),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let field = prop_oneof![
        Just(("Host", "example.test:8080")),
        Just(("user-agent", "weft")),
        Just(("X-ID", "17")),
        Just(("Cookie", "a=b; c=d")),
        Just(("Accept", "*/*")),
        Just(("X-Empty", "")),
    ];
    vec(field, 0..8)
}

fn request() -> impl Strategy<Value = Message> {
    let line = prop_oneof![
        Just(("POST /a?b=c HTTP/1.1", "POST /a?b=c 1.1")),
        Just(("FROB http://a/b HTTP/1.1", "FROB http://a/b 1.1")),
        Just(("GET / HTTP/1.0", "GET / 1.0")),
    ];
    let body = prop_oneof![Just(Payload::None), payload()];
    (line, fields(), body).prop_map(|((start_line, title), fields, body)| Message {
        start_line: start_line.to_owned(),
        title,
        fields,
        body,
        answers: Answers::Other,
    })
}

fn response() -> impl Strategy<Value = Message> {
    let line = ("HTTP/1.1 200 OK", "200 1.1");
    let (withheld, none) = (Payload::Withheld(1234), Payload::None);
    let kind = prop_oneof![
        4 => payload().prop_map(move |body| (line, body, Answers::Other)),
        1 => Just((line, withheld.clone(), Answers::Head)),
        1 => Just((("HTTP/1.1 304 Not Modified", "304 1.1"), withheld, Answers::Other)),
        1 => Just((("HTTP/1.1 204", "204 1.1"), none, Answers::Connect)).prop_map(
            |(line, body, _)| (line, body, Answers::Other)
        ),
        1 => Just((("HTTP/1.1 100 Continue", "100 1.1"), Payload::Interim, Answers::Other)),
    ];
    (kind, fields()).prop_map(|(((start_line, title), body, answers), fields)| Message {
        start_line: start_line.to_owned(),
        title,
        fields,
        body,
        answers,
    })
}

/// Gaps in the payload alone: everything is said as if there were none.
fn check_splits<S: Side>(messages: &[Message], cuts: &[Cut]) -> Result<(), TestCaseError> {
    let conversation = Recorded::new::<S>(messages);
    let said = conversation.read::<S>(cuts, Losses::Payload);
    prop_assert_eq!(said, conversation.expected);
    Ok(())
}

/// Gaps anywhere, also where a head stands: what heads are announced were there.
fn check_losses<S: Side>(messages: &[Message], cuts: &[Cut]) -> Result<(), TestCaseError> {
    let mut messages = messages.to_vec();
    messages.iter_mut().for_each(Message::disarm);
    let conversation = Recorded::new::<S>(&messages);
    let real: Vec<_> = conversation
        .expected
        .iter()
        .filter_map(|line| identity(line))
        .collect();
    for line in conversation.read::<S>(cuts, Losses::Any) {
        if let Some(head) = identity(&line) {
            prop_assert!(real.contains(&head), "{}", line);
        }
    }
    Ok(())
}

/// Start offset, and what stood in the start line, of a transcript's line about a head.
fn identity(line: &str) -> Option<(&str, Vec<&str>)> {
    let (start, rest) = line.split_once("..")?;
    let words = rest.split(' ').skip(1);
    let version = words.clone().position(|word| word.starts_with("1."))?;
    Some((start, words.take(version + 1).collect()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Losses {
    Payload,
    Any,
}

struct Recorded {
    stream: Vec<u8>,
    payload: Vec<Range<usize>>,
    answers: Vec<Answers>,
    expected: Vec<String>,
}

impl Recorded {
    fn new<S: Side>(messages: &[Message]) -> Self {
        let (mut stream, mut payload, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            message.write::<S>(&mut stream, &mut payload, &mut expected);
        }
        let answers = messages
            .iter()
            .filter(|message| !matches!(message.body, Payload::Interim))
            .map(|message| message.answers)
            .collect();
        Self {
            stream,
            payload,
            answers,
            expected,
        }
    }

    fn read<S: Side>(&self, cuts: &[Cut], losses: Losses) -> Vec<String> {
        let len = self.stream.len();
        let mut cuts: Vec<_> = cuts
            .iter()
            .map(|cut| (usize::from(cut.at) * len / 65536, *cut))
            .collect();
        cuts.push((
            0,
            Cut {
                at: 0,
                end_of_call: false,
                lost: false,
            },
        ));
        cuts.sort_by_key(|(at, _)| *at);
        let ends = cuts.iter().skip(1).map(|(at, _)| *at).chain([len]);
        // A response may be taken for another's when a head between was lost.
        let answers = if losses == Losses::Any {
            &[][..]
        } else {
            &self.answers
        };
        let mut transcript = Transcript::answering(answers);
        let mut parser = Parser::<S>::new(wanted(), Start::Fresh { offset: 0 });
        for (&(start, cut), end) in cuts.iter().zip(ends) {
            for (range, is_payload) in parts(&self.payload, start..end) {
                let piece = match cut.lost && (is_payload || losses == Losses::Any) {
                    true => Piece::Gap(range.len() as u64),
                    false => Piece::Bytes(&self.stream[range.clone()]),
                };
                parser.feed(piece, cut.end_of_call && range.end == end, &mut transcript);
            }
        }
        assert_eq!(parser.offset(), len as u64);
        transcript.lines
    }
}

/// Divides a range into what is payload and what is not.
fn parts(payload: &[Range<usize>], whole: Range<usize>) -> Vec<(Range<usize>, bool)> {
    let (mut parts, mut at) = (Vec::new(), whole.start);
    for range in payload {
        let (start, end) = (range.start.max(at), range.end.min(whole.end));
        if start < end {
            parts.push((at..start, false));
            parts.push((start..end, true));
            at = end;
        }
    }
    parts.push((at..whole.end, false));
    parts.retain(|(range, _)| !range.is_empty());
    parts
}

impl Message {
    /// Takes out what looks like a message in a body, and unregistered methods: where framing is
    /// lost these cannot be told.
    fn disarm(&mut self) {
        let disarm = |bytes: &mut Vec<u8>| bytes.iter_mut().for_each(|byte| *byte |= 0x80);
        match &mut self.body {
            Payload::Length(bytes) => disarm(bytes),
            Payload::Chunked(chunks) => chunks.iter_mut().for_each(disarm),
            Payload::None | Payload::Interim | Payload::Withheld(_) => {}
        }
    }

    fn write<S: Side>(
        &self,
        stream: &mut Vec<u8>,
        payload: &mut Vec<Range<usize>>,
        expected: &mut Vec<String>,
    ) {
        let start = stream.len();
        let mut head = format!("{}\r\n", self.start_line);
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let length = match &self.body {
            Payload::None | Payload::Interim => None,
            Payload::Withheld(length) => Some(*length),
            Payload::Length(bytes) => Some(bytes.len() as u64),
            Payload::Chunked(_) => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                None
            }
        };
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(b"\r\n");

        let mut line = format!("{start}..{} {}", stream.len(), self.title);
        for name in ["Host", "user-agent"] {
            if let Some((_, value)) = self.fields.iter().find(|field| field.0 == name) {
                let _ = write!(line, " {}={value}", name.to_ascii_lowercase());
            }
        }
        for (name, value) in self.fields.iter().filter(|_| S::CHOSEN) {
            match *name {
                "X-ID" => line.push_str(&format!(" [0]={value}")),
                "Host" => line.push_str(&format!(" [1]={value}")),
                _ => {}
            }
        }
        if let Some(length) = length {
            let _ = write!(line, " content-length={length}");
        }
        expected.push(line);

        let mut data = |stream: &mut Vec<u8>, bytes: &[u8]| {
            payload.push(stream.len()..stream.len() + bytes.len());
            stream.extend_from_slice(bytes);
            bytes.len()
        };
        let body = match &self.body {
            Payload::Interim => return,
            Payload::None | Payload::Withheld(_) => 0,
            Payload::Length(bytes) => data(stream, bytes),
            Payload::Chunked(chunks) => {
                let mut sum = 0;
                for chunk in chunks {
                    stream.extend_from_slice(format!("{:x};a=\"b\"\r\n", chunk.len()).as_bytes());
                    sum += data(stream, chunk);
                    stream.extend_from_slice(b"\r\n");
                }
                stream.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
                sum
            }
        };
        expected.push(format!("{} body {body}", stream.len()));
    }
}
