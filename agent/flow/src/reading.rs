//! A connection's records on their way to its parsers.

use weft_abi::{DataFlags, Direction, TAIL_BYTES};
use weft_proto::Piece;
use weft_proto::http1::{Interest, RequestParser, ResponseParser, Start, Wanted};
use weft_proto::{fastcgi, http2};

use crate::connection::{Carrier, Connection, Half, Muted, Parser, Stage};
use crate::exchange::{Exchanges, Found, GoesOver, Listener, Reads};
use crate::record::Data;
use crate::span::{Kind, Outcome};
use crate::state::State;

/// The part of a record that comes after what was seen before, in stream order.
pub(crate) struct Pieces<'a> {
    /// Bytes that should have come before the record.
    pub(crate) lost: u64,
    pub(crate) bytes: &'a [u8],
    /// Bytes between `bytes` and `tail` that were not captured.
    gap: u64,
    tail: &'a [u8],
}

/// Shorter ranges are cheaper to look at than to be told to skip.
const MIN_SKIP: u64 = 16 * 1024;

// === impl Pieces ===

impl<'a> Pieces<'a> {
    /// `expected`: offset behind what was seen before, below the record's end.
    pub(crate) fn of(data: &'a Data<'_>, expected: u64) -> Self {
        let seen = expected.saturating_sub(data.offset);
        let captured = data.payload.len() as u64;
        let bytes = data
            .payload
            .get(usize::try_from(seen).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let uncaptured = u64::from(data.len) - captured.max(seen);
        let tail_len = if data.has(DataFlags::TAIL) {
            uncaptured.min(TAIL_BYTES as u64)
        } else {
            0
        };
        Self {
            lost: data.offset.saturating_sub(expected),
            bytes,
            gap: uncaptured - tail_len,
            tail: &data.tail[TAIL_BYTES - tail_len as usize..],
        }
    }

    /// Whether nothing is known of what crossed.
    fn is_blank(&self) -> bool {
        self.bytes.is_empty() && self.tail.is_empty()
    }

    /// In order, each with whether it is the last of its call.
    fn each(&self, data: &Data<'_>, mut each: impl FnMut(Piece<'a>, bool)) {
        if self.lost > 0 {
            each(Piece::Gap(self.lost), data.has(DataFlags::CALL_START));
        }
        let ends_call = data.has(DataFlags::CALL_END);
        let (gap, tail) = (self.gap > 0, !self.tail.is_empty());
        if !self.bytes.is_empty() {
            each(Piece::Bytes(self.bytes), ends_call && !gap && !tail);
        }
        if gap {
            each(Piece::Gap(self.gap), ends_call && !tail);
        }
        if tail {
            each(Piece::Bytes(self.tail), ends_call);
        }
    }
}

// === impl Connection ===

impl Connection {
    /// HTTP/1 was recognised at stream offset `at` of a direction.
    pub(crate) fn begin(&mut self, kind: Kind, direction: Direction, at: u64, wanted: &Wanted) {
        self.stage = Stage::Http(kind);
        for side in [Direction::Rx, Direction::Tx] {
            let reads = reads(kind, side);
            let half = self.half_mut(side);
            half.sniffing = Default::default();
            let start = if side == direction {
                Start::Fresh { offset: at }
            } else {
                if half.expected != Some(0) {
                    // Where it stands by now shows with its next record.
                    half.expected = None;
                    continue;
                }
                Start::Fresh { offset: 0 }
            };
            half.parser = Parser::new(reads, wanted, start);
        }
    }

    /// HTTP/2 was recognised by the bytes `first` at stream offset `at` of a direction. Gives what waits to be read of the
    /// other one.
    pub(crate) fn begin_frames(
        &mut self,
        kind: Kind,
        direction: Direction,
        first: &[u8],
        at: u64,
        wanted: &Wanted,
    ) -> Vec<u8> {
        self.stage = Stage::Http(kind);
        // Of a TLS session only this tells that nothing was before.
        self.from_beginning |= at == 0 && first.starts_with(http2::PREFACE);
        self.exchanges = Exchanges::of_streams(self.from_beginning);
        let from_beginning = self.from_beginning;
        let mut waiting = Vec::new();
        for side in [Direction::Rx, Direction::Tx] {
            let half = self.half_mut(side);
            let sniffing = std::mem::take(&mut half.sniffing);
            let offset = if side == direction {
                at
            } else if !sniffing.prefix.is_empty() && half.expected == Some(sniffing.end()) {
                waiting = sniffing.prefix;
                sniffing.at
            } else {
                half.expected.unwrap_or(0)
            };
            let start = if from_beginning && offset == 0 {
                http2::Start::Preface { offset }
            } else {
                http2::Start::Joined { offset }
            };
            half.parser = Parser::frames(reads(kind, side), wanted, start);
        }
        waiting
    }

    /// FastCGI was recognised at stream offset `at` of the requests' direction.
    pub(crate) fn begin_fastcgi(&mut self, kind: Kind, at: u64) {
        self.stage = Stage::Http(kind);
        self.exchanges = Exchanges::without_spans();
        for side in [Direction::Rx, Direction::Tx] {
            let reads = reads(kind, side);
            let half = self.half_mut(side);
            half.sniffing = Default::default();
            let offset = match reads {
                Reads::Requests => Some(at),
                // Where it stands by now shows with its next record.
                Reads::Responses => half.expected,
            };
            half.parser = offset.map_or(Parser::None, |at| Parser::fastcgi(reads, at));
        }
    }

    /// The connection goes over from HTTP/1 to HTTP/2 (RFC 7540 §3.2) in the record in hand.
    pub(crate) fn go_over(
        &mut self,
        kind: Kind,
        goes_over: &GoesOver,
        data: &Data<'_>,
        wanted: &Wanted,
        state: &mut State,
    ) {
        let GoesOver { at, asked } = *goes_over;
        self.exchanges.go_over(asked, data.origin.time_ns);
        for side in [Direction::Rx, Direction::Tx] {
            let half = self.half_mut(side);
            let start = match reads(kind, side) {
                Reads::Responses => http2::Start::Preface { offset: at },
                Reads::Requests => http2::Start::Preface {
                    offset: half.expected.unwrap_or(0),
                },
            };
            half.parser = Parser::frames(reads(kind, side), wanted, start);
        }
        let read = usize::try_from(at.saturating_sub(data.offset)).unwrap_or(usize::MAX);
        let rest = data.payload.get(read..).unwrap_or_default();
        self.read_waiting(kind, data.direction, rest, data.origin.time_ns, state);
    }

    /// Where in each direction a frame begins, if that is known.
    pub(crate) fn boundaries(&self) -> (Option<u64>, Option<u64>) {
        (self.rx.parser.boundary(), self.tx.parser.boundary())
    }

    /// Bytes of one direction that were kept until it was known what they are.
    pub(crate) fn read_waiting(
        &mut self,
        kind: Kind,
        direction: Direction,
        bytes: &[u8],
        now_ns: u64,
        state: &mut State,
    ) {
        self.listen(
            kind,
            direction,
            now_ns,
            AtEnd::No,
            state,
            |parser, listener| {
                if let Parser::Frames(parser) = parser {
                    parser.feed(Piece::Bytes(bytes), true, listener);
                }
            },
        );
    }

    pub(crate) fn read(
        &mut self,
        kind: Kind,
        data: &Data<'_>,
        pieces: &Pieces<'_>,
        wanted: &Wanted,
        state: &mut State,
    ) -> Found {
        let origin = &data.origin;
        if kind == Kind::Server {
            let counters = &mut state.counters;
            let other = state
                .threads
                .works_on(origin.tgid, origin.tid, self.cookie, counters);
            if let Some(other) = other {
                state.with_spans(|spans, around| spans.disown(other, around));
            }
            if data.direction == Direction::Rx && self.rx.parser.mid_message() {
                self.exchanges.read_by(origin.tid, data.blocking(), state);
            }
        }
        let without_spans = self.exchanges.without_spans;
        let half = self.half_mut(data.direction);
        if matches!(half.parser, Parser::None) {
            let start = Start::Joined {
                offset: data.offset,
            };
            half.parser = if without_spans {
                Parser::fastcgi(reads(kind, data.direction), data.offset)
            } else {
                Parser::new(reads(kind, data.direction), wanted, start)
            };
        }
        let frames = matches!(half.parser, Parser::Frames(_));
        if !frames && (pieces.lost > 0 || pieces.is_blank()) && !half.parser.mid_message() {
            self.exchanges.lost(reads(kind, data.direction));
        }
        let found = self.listen(
            kind,
            data.direction,
            origin.time_ns,
            AtEnd::No,
            state,
            |parser, listener| {
                pieces.each(data, |piece, end_of_call| match parser {
                    Parser::None => {}
                    Parser::Request(parser) => parser.feed(piece, end_of_call, listener),
                    Parser::Response(parser) => parser.feed(piece, end_of_call, listener),
                    Parser::Frames(parser) => parser.feed(piece, end_of_call, listener),
                    Parser::FastCgi(parser) => parser.feed(piece, end_of_call, listener),
                });
            },
        );
        let half = self.half_mut(data.direction);
        let read_to = found.read_to.or_else(|| half.parser.read_to(data.end()));
        if let Some(read_to) = read_to {
            half.marks.forget_before(read_to);
        }
        found
    }

    pub(crate) fn end_of_stream(
        &mut self,
        kind: Kind,
        direction: Direction,
        now_ns: u64,
        state: &mut State,
    ) {
        self.listen(
            kind,
            direction,
            now_ns,
            AtEnd::Yes,
            state,
            |parser, listener| match parser {
                Parser::None => {}
                Parser::Request(parser) => parser.end_of_stream(listener),
                Parser::Response(parser) => parser.end_of_stream(listener),
                Parser::Frames(parser) => parser.end_of_stream(listener),
                Parser::FastCgi(parser) => parser.end_of_stream(listener),
            },
        );
        if reads(kind, direction) == Reads::Responses {
            self.exchanges
                .end_all(now_ns, Outcome::ConnectionClosed, state);
        }
    }

    /// Neither direction carries anything more.
    pub(crate) fn end_both(&mut self, kind: Kind, now_ns: u64, state: &mut State) {
        for direction in [Direction::Tx, Direction::Rx] {
            self.end_of_stream(kind, direction, now_ns, state);
        }
    }

    /// Nothing of it is looked at any more.
    pub(crate) fn mute(&mut self, why: Muted, state: &mut State) {
        self.stage = Stage::Muted(why);
        self.exchanges
            .abandon_all(|counters| &mut counters.dropped_muted, state);
        self.rx = Half::default();
        self.tx = Half::default();
        let counters = &mut state.counters;
        *match why {
            Muted::Tls => &mut counters.recognised_tls,
            Muted::Other => &mut counters.recognised_other,
            Muted::FalseStart => &mut counters.recognised_false_start,
            Muted::Own => &mut counters.muted_own,
            Muted::Port => &mut counters.muted_port,
            Muted::Tunnel => &mut counters.muted_tunnel,
            Muted::Malformed => &mut counters.muted_malformed,
            Muted::Pipelining => &mut counters.muted_pipelining,
        } += 1;
    }

    fn listen(
        &mut self,
        kind: Kind,
        direction: Direction,
        now_ns: u64,
        at_end: AtEnd,
        state: &mut State,
        act: impl FnOnce(&mut Parser, &mut Listener<'_>),
    ) -> Found {
        let carrier = Carrier {
            ends: self.ends,
            netns: self.netns,
            from_beginning: self.from_beginning,
            tls: self.is_session(),
        };
        let half = match direction {
            Direction::Rx => &mut self.rx,
            Direction::Tx => &mut self.tx,
        };
        let mut listener = Listener {
            cookie: self.cookie,
            kind,
            reads: reads(kind, direction),
            carrier,
            process: self.process,
            exchanges: &mut self.exchanges,
            marks: &half.marks,
            state,
            now_ns,
            at_end: at_end == AtEnd::Yes,
            found: Found::default(),
        };
        act(&mut half.parser, &mut listener);
        listener.found
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    No,
    Yes,
}

fn reads(kind: Kind, direction: Direction) -> Reads {
    match (kind, direction) {
        (Kind::Server, Direction::Rx) | (Kind::Client, Direction::Tx) => Reads::Requests,
        (Kind::Server, Direction::Tx) | (Kind::Client, Direction::Rx) => Reads::Responses,
    }
}

// === impl Half ===

impl Half {
    /// Offset up to which nothing need be captured, when that is news and worth telling.
    pub(crate) fn skip(&mut self) -> Option<u64> {
        let Some(Interest::From(offset)) = self.parser.wants() else {
            return None;
        };
        let seen = self.expected.unwrap_or(0).max(self.skip_to);
        if offset.saturating_sub(seen) <= MIN_SKIP {
            return None;
        }
        self.skip_to = offset;
        Some(offset)
    }
}

// === impl Parser ===

impl Parser {
    fn new(reads: Reads, wanted: &Wanted, start: Start) -> Self {
        match reads {
            Reads::Requests => Self::Request(Box::new(RequestParser::new(wanted.clone(), start))),
            Reads::Responses => {
                Self::Response(Box::new(ResponseParser::new(Wanted::default(), start)))
            }
        }
    }

    fn frames(reads: Reads, wanted: &Wanted, start: http2::Start) -> Self {
        let (sender, wanted) = match reads {
            Reads::Requests => (http2::Sender::Client, wanted.clone()),
            Reads::Responses => (http2::Sender::Server, Wanted::default()),
        };
        Self::Frames(Box::new(http2::Parser::new(sender, wanted, start)))
    }

    fn fastcgi(reads: Reads, offset: u64) -> Self {
        let sender = match reads {
            Reads::Requests => fastcgi::Sender::WebServer,
            Reads::Responses => fastcgi::Sender::Application,
        };
        Self::FastCgi(Box::new(fastcgi::Parser::new(sender, offset)))
    }

    /// HTTP/2: where a frame begins, if that is known.
    fn boundary(&self) -> Option<u64> {
        match self {
            Self::Frames(parser) => parser.boundary(),
            Self::None | Self::Request(_) | Self::Response(_) | Self::FastCgi(_) => None,
        }
    }

    /// HTTP/2, with a record that ends at `end`: where what is not read yet begins.
    fn read_to(&self, end: u64) -> Option<u64> {
        let Self::Frames(parser) = self else {
            return None;
        };
        match (parser.boundary(), parser.wants()) {
            (Some(boundary), _) if boundary <= end => Some(boundary),
            (_, Interest::Now) => None,
            // In a frame's payload that nobody asks for.
            (_, Interest::From(_) | Interest::Tail | Interest::Never) => Some(end),
        }
    }

    fn mid_message(&self) -> bool {
        match self {
            Self::None | Self::Frames(_) => false,
            Self::Request(parser) => parser.mid_message(),
            Self::Response(parser) => parser.mid_message(),
            Self::FastCgi(parser) => parser.mid_message(),
        }
    }

    fn wants(&self) -> Option<Interest> {
        match self {
            // The kernel programs skip the payload of frames by themselves.
            Self::None | Self::Frames(_) | Self::FastCgi(_) => None,
            Self::Request(parser) => Some(parser.wants()),
            Self::Response(parser) => Some(parser.wants()),
        }
    }
}
