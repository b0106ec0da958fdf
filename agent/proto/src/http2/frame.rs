//! The header of a frame (RFC 9113 §4.1), and what a type allows in it (§6).

use super::{FRAME_HEADER, Malformed, Sender};

/// ```text
/// length(24) type(8) flags(8) reserved(1) stream(31)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of what follows the header, bytes.
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be passed over (§4.1).
    Unknown,
}

pub(super) const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Longer ones of which type are not believed of a frame that is only guessed, bytes.
const MAX_GUESSED_DATA: u32 = 1024 * 1024;
const MAX_GUESSED: u32 = 16 * 1024;

impl Frame {
    pub(super) fn parse(header: [u8; FRAME_HEADER]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = header;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn is_padded(&self) -> bool {
        let may = matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise);
        may && self.has(PADDED)
    }

    /// Bytes in front of the payload or field block that are to be looked at.
    pub(super) fn prelude(&self) -> u8 {
        let padding = u8::from(self.is_padded());
        match self.kind {
            Kind::Headers if self.has(PRIORITY) => padding + 5,
            Kind::Data | Kind::Headers => padding,
            Kind::PushPromise => padding + 4,
            Kind::RstStream => 4,
            Kind::GoAway => 8,
            _ => 0,
        }
    }

    /// What no sender may send.
    pub(super) fn judge(&self, sender: Sender) -> Result<(), Malformed> {
        let length_fits = match self.kind {
            Kind::Priority => self.length == 5,
            Kind::RstStream | Kind::WindowUpdate => self.length == 4,
            Kind::Ping => self.length == 8,
            Kind::Settings if self.has(ACK) => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            _ => self.length >= u32::from(self.prelude()),
        };
        let of_client = self.stream % 2 == 1;
        let stream_fits = match (self.kind, sender) {
            (Kind::Headers | Kind::Data, Sender::Client) => of_client,
            (Kind::PushPromise, Sender::Client) => false,
            (Kind::PushPromise, Sender::Server) => of_client,
            (Kind::Settings | Kind::Ping | Kind::GoAway, _) => self.stream == 0,
            (Kind::WindowUpdate | Kind::Unknown, _) => true,
            _ => self.stream != 0,
        };
        match (length_fits, stream_fits) {
            (false, _) => Err(Malformed::Length),
            (_, false) => Err(Malformed::Stream),
            _ => Ok(()),
        }
    }

    /// Whether, beyond [`judge`](Self::judge), it is as everybody sends it: where it is only
    /// guessed that a frame begins.
    pub(super) fn is_usual(&self, reserved: bool) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            _ => 0,
        };
        let length = match self.kind {
            Kind::Data => {
                self.length <= MAX_GUESSED_DATA && (self.length > 0 || self.has(END_STREAM))
            }
            Kind::Headers => (1..=MAX_GUESSED).contains(&self.length),
            Kind::Unknown => false,
            _ => self.length <= MAX_GUESSED,
        };
        let stream = self.stream == 0 || self.stream % 2 == 1;
        !reserved && self.flags & !flags == 0 && length && stream
    }

    /// How hard it is to meet such a header by chance, see [`ENOUGH`](super::guess::ENOUGH).
    pub(super) fn points(&self) -> u32 {
        match self.kind {
            // Their points come with what the block says.
            Kind::Headers | Kind::Continuation | Kind::Unknown => 0,
            Kind::Data | Kind::PushPromise => 1,
            Kind::Priority
            | Kind::RstStream
            | Kind::Settings
            | Kind::Ping
            | Kind::GoAway
            | Kind::WindowUpdate => 2,
        }
    }
}

impl Kind {
    fn of(kind: u8) -> Self {
        match kind {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}
