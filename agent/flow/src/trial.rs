//! Sites in code that no symbol names are on trial: the first records of each session show whether it is plaintext that passes
//! there. The daemon takes away sites that do not hold.

use weft_abi::{DataFlags, Missing, Site};
use weft_proto::detect::{self, Verdict};

use crate::connection::Connection;
use crate::record::Data;

/// What a session's calls have shown of the sites that they pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A protocol was recognised in it.
    Plaintext,
    /// The buffer cannot be read, or holds ciphertext.
    Nonsense,
}

/// Of one session, until it has shown something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// The library, as the daemon's sites name it.
    pub(crate) library: u8,
    records: u8,
}

/// Later ones show nothing new.
const MAX_RECORDS: u8 = 16;

// === impl Trial ===

impl Trial {
    pub(crate) fn of(library: u8) -> Option<Self> {
        let trial = Self {
            library,
            records: 0,
        };
        (library & Site::ON_TRIAL != 0).then_some(trial)
    }
}

// === impl Connection ===

impl Connection {
    /// The library, and what the record shows of it: once for each session.
    pub(crate) fn try_out(&mut self, data: &Data<'_>) -> Option<(u8, Shown)> {
        let trial = self.trial.as_mut()?;
        trial.records += 1;
        let shown = shown(data);
        let library = trial.library;
        if shown.is_some() || trial.records == MAX_RECORDS {
            self.trial = None;
        }
        Some((library, shown?))
    }
}

fn shown(data: &Data<'_>) -> Option<Shown> {
    if data.missing == Missing::Fault {
        return Some(Shown::Nonsense);
    }
    if !data.has(DataFlags::CALL_START) {
        return None;
    }
    match detect::sniff(data.payload) {
        Verdict::Http1Request
        | Verdict::Http1Response
        | Verdict::Http2Preface
        | Verdict::Http2Settings => Some(Shown::Plaintext),
        Verdict::Tls => Some(Shown::Nonsense),
        // Nobody speaks it inside TLS.
        Verdict::NeedMore | Verdict::Other | Verdict::FastCgi => {
            is_record(data.payload).then_some(Shown::Nonsense)
        }
    }
}

/// A TLS record of application data that is as long as it says.
fn is_record(bytes: &[u8]) -> bool {
    matches!(*bytes, [0x17, 3, 0..=4, high, _, ..] if high <= 0x48)
}

#[cfg(test)]
mod tests {
    use weft_abi::{Direction, TAIL_BYTES};

    use super::*;
    use crate::record::Origin;

    #[test]
    fn what_a_record_shows() {
        let check = |payload: &[u8], missing, expected| {
            let data = Data {
                origin: Origin {
                    tid: 1,
                    tgid: 1,
                    time_ns: 0,
                },
                cookie: 1,
                direction: Direction::Tx,
                flags: DataFlags::CALL_START,
                offset: 0,
                len: 100,
                seq: 0,
                cipher_len: 0,
                tail: [0; TAIL_BYTES],
                missing,
                work: None,
                payload,
            };
            assert_eq!(shown(&data), expected, "{payload:?}");
        };
        check(b"GET / HTTP/1.1\r\n", Missing::None, Some(Shown::Plaintext));
        check(
            b"HTTP/1.1 200 OK\r\n",
            Missing::None,
            Some(Shown::Plaintext),
        );
        check(
            b"\x17\x03\x03\x01\x00abc",
            Missing::None,
            Some(Shown::Nonsense),
        );
        check(
            b"\x16\x03\x01\x02\x00\x01\x00",
            Missing::None,
            Some(Shown::Nonsense),
        );
        check(b"", Missing::Fault, Some(Shown::Nonsense));
        // Another protocol is no disproof.
        check(b"*1\r\n$4\r\nPING\r\n", Missing::None, None);
    }
}
