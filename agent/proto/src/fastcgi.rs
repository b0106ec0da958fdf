//! FastCGI 1.0 (the specification of Open Market, 1996): HTTP requests as a web server hands them to PHP
//! and its like, from one direction of a connection, with known gaps.
//!
//! A connection carries one request at a time: no server that is in use multiplexes.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::Piece;
use crate::http1::{
    Body, Conversation, Fields, MAX_TARGET, RequestHead, ResponseHead, Version as HttpVersion,
};

/// Length of a record's header, bytes.
pub const HEADER: usize = 8;
/// So much of a request's parameters is kept, bytes.
pub const MAX_PARAMS: usize = 16 * 1024;

/// Who sends the direction that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    WebServer,
    Application,
}

/// Tells a [`Conversation`] of the requests, or of the responses, in one direction. Of a request it tells the
/// method, the target and the trace context; of a response only that there is one.
#[derive(Debug)]
pub struct Parser {
    sender: Sender,
    /// Stream offset of the next byte.
    at: u64,
    /// Whether it is known where a record begins.
    in_step: bool,
    /// Whether the next byte is the first of a call.
    call_begins: bool,
    header: [u8; HEADER],
    /// Bytes of `header` that are there.
    have: usize,
    kind: u8,
    /// Of the record in hand, to come.
    content: u64,
    padding: u64,
    message: Option<Message>,
}

#[derive(Debug)]
struct Message {
    start: u64,
    params: Vec<u8>,
    /// `params` is not all.
    cut: bool,
    announced: bool,
}

/// Types of records.
const BEGIN_REQUEST: u8 = 1;
const ABORT_REQUEST: u8 = 2;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const LAST_TYPE: u8 = 11;
const VERSION: u8 = 1;

/// Whether these are the first bytes of a request: a `BEGIN_REQUEST` record. `None`: too few to tell.
pub fn begins_request(first: &[u8]) -> Option<bool> {
    // Version, type, request (not 0), length of the content (8), of the padding, reserved.
    const FIXED: [Option<u8>; HEADER] = [
        Some(VERSION),
        Some(BEGIN_REQUEST),
        None,
        None,
        Some(0),
        Some(8),
        None,
        Some(0),
    ];
    let fits = FIXED
        .iter()
        .zip(first)
        .all(|(fixed, byte)| fixed.is_none_or(|fixed| fixed == *byte));
    match first.get(..HEADER) {
        _ if !fits => Some(false),
        None => None,
        Some(header) => Some(header[2..4] != [0, 0]),
    }
}

// === impl Parser ===

impl Parser {
    /// `offset`: of the next byte, the first of a call.
    pub fn new(sender: Sender, offset: u64) -> Self {
        Self {
            sender,
            at: offset,
            in_step: false,
            call_begins: true,
            header: [0; HEADER],
            have: 0,
            kind: 0,
            content: 0,
            padding: 0,
            message: None,
        }
    }

    /// Whether a message has begun that is not complete.
    pub fn mid_message(&self) -> bool {
        self.message.is_some()
    }

    /// The next piece of the direction; `end_of_call`: the last of its call.
    pub fn feed(
        &mut self,
        piece: Piece<'_>,
        end_of_call: bool,
        conversation: &mut impl Conversation,
    ) {
        match piece {
            Piece::Bytes(bytes) => self.bytes(bytes, conversation),
            Piece::Gap(len) => self.gap(len, conversation),
        }
        self.call_begins = end_of_call;
    }

    /// Nothing more comes.
    pub fn end_of_stream(&mut self, conversation: &mut impl Conversation) {
        self.finish(true, conversation);
    }

    fn bytes(&mut self, mut bytes: &[u8], conversation: &mut impl Conversation) {
        if !self.in_step {
            self.in_step = self.call_begins && self.may_step_in(bytes);
            self.have = 0;
            (self.content, self.padding) = (0, 0);
        }
        while !bytes.is_empty() {
            if !self.in_step {
                self.at += bytes.len() as u64;
                return;
            }
            let taken = if self.content > 0 {
                let len = fit(bytes.len(), self.content);
                self.content -= len as u64;
                self.take(&bytes[..len]);
                len
            } else if self.padding > 0 {
                let len = fit(bytes.len(), self.padding);
                self.padding -= len as u64;
                len
            } else {
                let len = bytes.len().min(HEADER - self.have);
                self.header[self.have..self.have + len].copy_from_slice(&bytes[..len]);
                self.have += len;
                len
            };
            self.at += taken as u64;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                self.have = 0;
                self.record(conversation);
            }
        }
    }

    fn gap(&mut self, len: u64, conversation: &mut impl Conversation) {
        let within = self.have == 0 && len <= self.content + self.padding;
        if self.in_step && within {
            let content = len.min(self.content);
            if content > 0 && self.kind == PARAMS {
                self.cut();
            }
            self.content -= content;
            self.padding -= len - content;
        } else if self.in_step {
            self.lose_step(conversation);
        }
        self.at += len;
    }

    /// A request begins with a record of its own; of a response any record will do.
    fn may_step_in(&self, first: &[u8]) -> bool {
        match self.sender {
            Sender::WebServer => begins_request(first) == Some(true),
            Sender::Application => matches!(
                *first,
                [VERSION, END_REQUEST | STDOUT | STDERR, high, low, _, _, _, 0, ..] if (high, low) != (0, 0)
            ),
        }
    }

    /// A record's header is complete.
    fn record(&mut self, conversation: &mut impl Conversation) {
        let [version, kind, _, _, high, low, padding, _] = self.header;
        if version != VERSION || kind == 0 || kind > LAST_TYPE {
            return self.lose_step(conversation);
        }
        self.kind = kind;
        self.content = u64::from(u16::from_be_bytes([high, low]));
        self.padding = u64::from(padding);
        let is_last = self.content == 0;
        match (self.sender, kind) {
            (Sender::WebServer, BEGIN_REQUEST) => {
                self.finish(false, conversation);
                self.begin();
            }
            (Sender::WebServer, PARAMS) if is_last => self.announce(conversation),
            (Sender::WebServer, STDIN) => {
                self.announce(conversation);
                if is_last {
                    self.complete(conversation);
                }
            }
            (Sender::WebServer, ABORT_REQUEST) => self.complete(conversation),
            (Sender::Application, STDOUT | STDERR | END_REQUEST) => {
                if self.message.is_none() {
                    self.begin();
                }
                self.announce(conversation);
                if kind == END_REQUEST {
                    self.complete(conversation);
                }
            }
            _ => {}
        }
    }

    /// With the record in hand.
    fn begin(&mut self) {
        self.message = Some(Message {
            start: self.at - HEADER as u64,
            params: Vec::new(),
            cut: false,
            announced: false,
        });
    }

    /// Content of the record in hand.
    fn take(&mut self, content: &[u8]) {
        if self.kind != PARAMS {
            return;
        }
        if let Some(message) = &mut self.message
            && !message.cut
            && message.params.len() + content.len() <= MAX_PARAMS
        {
            message.params.extend_from_slice(content);
        } else {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if let Some(message) = &mut self.message {
            message.cut = true;
        }
    }

    fn announce(&mut self, conversation: &mut impl Conversation) {
        let Some(message) = &mut self.message else {
            return;
        };
        if std::mem::replace(&mut message.announced, true) {
            return;
        }
        let (start, end) = (message.start, self.at);
        match self.sender {
            Sender::WebServer => conversation.request(message.head(), start, end),
            Sender::Application => {
                // The status stands in the content, where nobody asks for it.
                let head = ResponseHead {
                    version: HttpVersion::Http11,
                    status: 200,
                    fields: Fields::default(),
                    partial: true,
                };
                let _framing_is_of_fastcgi = conversation.response(head, start, end);
            }
        }
        if let Some(message) = &mut self.message {
            message.params = Vec::new();
        }
    }

    fn complete(&mut self, conversation: &mut impl Conversation) {
        self.announce(conversation);
        if self.message.take().is_some() {
            let body = Body {
                bytes: None,
                inferred: false,
                truncated: false,
            };
            conversation.complete(self.at, body);
        }
    }

    /// The message's end was not seen.
    fn finish(&mut self, truncated: bool, conversation: &mut impl Conversation) {
        self.announce(conversation);
        if self.message.take().is_some() {
            let body = Body {
                bytes: None,
                inferred: true,
                truncated,
            };
            conversation.complete(self.at, body);
        }
    }

    /// Where the next record begins is not known.
    fn lose_step(&mut self, conversation: &mut impl Conversation) {
        self.in_step = false;
        self.cut();
        self.finish(false, conversation);
        conversation.lost(self.at);
    }
}

/// As many of `len` bytes as there is room for.
fn fit(len: usize, room: u64) -> usize {
    usize::try_from(room).map_or(len, |room| len.min(room))
}

// === impl Message ===

impl Message {
    fn head(&self) -> RequestHead {
        let mut head = RequestHead {
            method: Bytes::new(),
            target: Bytes::new(),
            version: HttpVersion::Http11,
            fields: Fields::default(),
            partial: self.cut,
        };
        let mut rest = self.params.as_slice();
        while let Some((name, value)) = pair(&mut rest) {
            let value = || Bytes::copy_from_slice(value);
            match name {
                b"REQUEST_METHOD" => head.method = value(),
                b"REQUEST_URI" => head.target = value(),
                b"HTTP_TRACEPARENT" => head.fields.traceparent = Some(value()),
                b"HTTP_TRACESTATE" => head.fields.tracestate = Some(value()),
                _ => {}
            }
        }
        head.target.truncate(MAX_TARGET);
        head
    }
}

/// Takes a name and its value. `None`: no more, or not whole.
fn pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let name = length(rest)?;
    let value = length(rest)?;
    let name = rest.split_off(..name)?;
    let value = rest.split_off(..value)?;
    Some((name, value))
}

/// One byte, or four with the highest bit set.
fn length(rest: &mut &[u8]) -> Option<usize> {
    let first = *rest.split_off_first()?;
    if first < 0x80 {
        return Some(first.into());
    }
    let [second, third, fourth] = rest.split_off(..3)?.try_into().ok()?;
    let length = u32::from_be_bytes([first & 0x7f, second, third, fourth]);
    usize::try_from(length).ok()
}

/// The pieces in which bytes come do not matter, and each message that is announced is completed once.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz(input: &[u8]) {
    use crate::http1::{Answers, Malformed};

    #[derive(Default, PartialEq, Debug)]
    struct Log(Vec<(Bytes, Bytes, u64)>, usize);

    impl Conversation for Log {
        fn request(&mut self, head: RequestHead, start: u64, _end: u64) {
            self.0.push((head.method, head.target, start));
        }
        fn response(&mut self, _head: ResponseHead, start: u64, _end: u64) -> Answers {
            self.0.push((Bytes::new(), Bytes::new(), start));
            Answers::Unknown
        }
        fn complete(&mut self, _end: u64, _body: Body) {
            self.1 += 1;
            assert_eq!(self.0.len(), self.1);
        }
        fn malformed(&mut self, _at: u64, _why: Malformed) {}
        fn tunnel(&mut self, _at: u64) {}
    }

    let Some((&how, input)) = input.split_first() else {
        return;
    };
    for sender in [Sender::WebServer, Sender::Application] {
        let mut whole = Log::default();
        let mut parser = Parser::new(sender, 0);
        parser.feed(Piece::Bytes(input), true, &mut whole);
        parser.end_of_stream(&mut whole);
        assert_eq!(whole.0.len(), whole.1);

        let mut pieces = Log::default();
        let mut parser = Parser::new(sender, 0);
        // The first piece shows that there is a record.
        let first = input.len().min(HEADER);
        let size = usize::from(how % 16) + 1;
        let chunks = std::iter::once(&input[..first]).chain(input[first..].chunks(size));
        for chunk in chunks {
            parser.feed(Piece::Bytes(chunk), false, &mut pieces);
        }
        parser.end_of_stream(&mut pieces);
        assert_eq!(whole, pieces);

        let mut gaps = Log::default();
        let mut parser = Parser::new(sender, 0);
        for (index, chunk) in input.chunks(size * 4).enumerate() {
            let piece = if index % 3 == usize::from(how >> 6) {
                Piece::Gap(chunk.len() as u64)
            } else {
                Piece::Bytes(chunk)
            };
            parser.feed(piece, index % 2 == 0, &mut gaps);
        }
        parser.end_of_stream(&mut gaps);
        assert_eq!(gaps.0.len(), gaps.1);
    }
}
