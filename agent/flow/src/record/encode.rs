//! The way back, for recorded event logs and tests.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, SocketAddr};

use weft_abi::{
    CloseRecord, DataFlags, DataRecord, Descent, Direction, Family, InjectedRecord, OpenRecord,
    ProcessRecord, RecordHeader, RecordKind, STREAM_BIT, SecureRecord, StreamRecord,
};

use super::layout::Writer;
use super::{
    Before, Close, Data, Ends, Open, Origin, ProcessChange, ProcessChangeKind, Record, Root,
    Secure, Sends, Token, Work,
};

impl Record<'_> {
    /// Appends the record as the kernel programs write it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        let (kind, size) = match self {
            Self::Data(_) => (RecordKind::Data, size_of::<DataRecord>()),
            Self::Open(_) => (RecordKind::Open, size_of::<OpenRecord>()),
            Self::Close(_) => (RecordKind::Close, size_of::<CloseRecord>()),
            Self::Process(change) => (change.record_kind(), size_of::<ProcessRecord>()),
            Self::Secure(_) => (RecordKind::Secure, size_of::<SecureRecord>()),
            Self::Sends(_) => (RecordKind::Stream, size_of::<StreamRecord>()),
            Self::Resumed(_) => (RecordKind::Resumed, size_of::<StreamRecord>()),
            Self::Injected(_) => (RecordKind::Injected, size_of::<InjectedRecord>()),
        };
        out.resize(from + size, 0);
        let mut writer = Writer(&mut out[from..]);
        let Origin { tid, tgid, time_ns } = self.origin();
        writer.put(offset_of!(RecordHeader, kind), &[kind as u8]);
        writer.put(offset_of!(RecordHeader, tid), &tid.to_ne_bytes());
        writer.put(offset_of!(RecordHeader, tgid), &tgid.to_ne_bytes());
        writer.put(offset_of!(RecordHeader, time_ns), &time_ns.to_ne_bytes());
        match self {
            Self::Data(data) => {
                data.write(&mut writer);
                out.extend_from_slice(data.payload);
            }
            Self::Open(open) => open.write(&mut writer),
            Self::Close(close) => close.write(&mut writer),
            Self::Process(change) => change.write(&mut writer),
            Self::Secure(secure) => secure.write(&mut writer),
            Self::Sends(sends) | Self::Resumed(sends) => sends.write(&mut writer),
            Self::Injected(injected) => injected.write(&mut writer),
        }
    }
}

impl Data<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            cookie,
            direction,
            flags,
            offset,
            len,
            seq,
            cipher_len,
            tail,
            missing,
            work,
            payload,
        } = self;
        let captured = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        writer.put(offset_of!(RecordHeader, direction), &[*direction as u8]);
        writer.put(offset_of!(RecordHeader, flags), &flags.to_ne_bytes());
        writer.put(offset_of!(RecordHeader, captured), &captured.to_ne_bytes());
        writer.put(offset_of!(DataRecord, cookie), &cookie.to_ne_bytes());
        writer.put(offset_of!(DataRecord, offset), &offset.to_ne_bytes());
        writer.put(offset_of!(DataRecord, len), &len.to_ne_bytes());
        writer.put(offset_of!(DataRecord, seq), &seq.to_ne_bytes());
        writer.put(
            offset_of!(DataRecord, cipher_len),
            &cipher_len.to_ne_bytes(),
        );
        writer.put(offset_of!(DataRecord, tail), tail);
        writer.put(offset_of!(DataRecord, missing), &[*missing as u8]);
        let Some(work) = work else {
            return;
        };
        let Work {
            task,
            // Stand in the flags.
            context: _,
            resumes: _,
            thread: _,
            shared: _,
            handed_ns,
            root,
        } = work;
        writer.put(offset_of!(DataRecord, task), &task.to_ne_bytes());
        if let Some(handed_ns) = handed_ns {
            writer.put(offset_of!(DataRecord, task_ns), &handed_ns.to_ne_bytes());
        }
        if let Some(root) = root {
            root.write(writer, offset_of!(DataRecord, descent));
        }
    }
}

impl Root {
    fn write(&self, writer: &mut Writer<'_>, at: usize) {
        let Self {
            task,
            left_ns,
            request,
        } = self;
        let request = match *request {
            Token::At(ns) => ns,
            Token::Stream(stream) => STREAM_BIT | u64::from(stream),
        };
        writer.put(at + offset_of!(Descent, root), &task.to_ne_bytes());
        let left_ns = left_ns.unwrap_or(0);
        writer.put(at + offset_of!(Descent, left_ns), &left_ns.to_ne_bytes());
        writer.put(at + offset_of!(Descent, request), &request.to_ne_bytes());
    }
}

impl Sends {
    fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            writer: task,
            stream,
            work,
        } = self;
        let flags = if work.context { DataFlags::CONTEXT } else { 0 };
        writer.put(offset_of!(RecordHeader, flags), &flags.to_ne_bytes());
        writer.put(offset_of!(StreamRecord, writer), &task.to_ne_bytes());
        writer.put(offset_of!(StreamRecord, stream), &stream.to_ne_bytes());
        writer.put(offset_of!(StreamRecord, task), &work.task.to_ne_bytes());
        let handed_ns = work.handed_ns.unwrap_or(0);
        writer.put(offset_of!(StreamRecord, task_ns), &handed_ns.to_ne_bytes());
        if let Some(root) = &work.root {
            root.write(writer, offset_of!(StreamRecord, descent));
        }
    }
}

impl Open {
    fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            cookie,
            flags,
            netns,
            inode,
            ends,
        } = self;
        writer.put(offset_of!(RecordHeader, flags), &flags.to_ne_bytes());
        writer.put(offset_of!(OpenRecord, cookie), &cookie.to_ne_bytes());
        writer.put(offset_of!(OpenRecord, netns), &netns.to_ne_bytes());
        writer.put(offset_of!(OpenRecord, inode), &inode.to_ne_bytes());
        let family = match ends {
            Ends::Unix { sk, peer } => {
                writer.put(offset_of!(OpenRecord, sk), &sk.to_ne_bytes());
                writer.put(offset_of!(OpenRecord, peer), &peer.to_ne_bytes());
                Family::Unix
            }
            // No socket is without ends.
            Ends::Unproved => Family::Unix,
            Ends::Inet { local, remote } => {
                let mut end = |address: &SocketAddr, at: usize, port_at: usize| {
                    match address.ip() {
                        IpAddr::V4(ip) => writer.put(at, &ip.octets()),
                        IpAddr::V6(ip) => writer.put(at, &ip.octets()),
                    }
                    writer.put(port_at, &address.port().to_ne_bytes());
                };
                end(
                    local,
                    offset_of!(OpenRecord, local_addr),
                    offset_of!(OpenRecord, local_port),
                );
                end(
                    remote,
                    offset_of!(OpenRecord, remote_addr),
                    offset_of!(OpenRecord, remote_port),
                );
                if local.is_ipv4() {
                    Family::Inet
                } else {
                    Family::Inet6
                }
            }
        };
        let family = (family as u16).to_ne_bytes();
        writer.put(offset_of!(OpenRecord, family), &family);
    }
}

impl Secure {
    fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            session,
            socket,
            before,
            library,
        } = self;
        let flags = before.map_or(0, |_| DataFlags::SEQ);
        let (direction, seq, len) = match *before {
            None => (Direction::Rx, 0, 0),
            Some(Before::Written { seq }) => (Direction::Tx, seq, 0),
            Some(Before::Read { seq, len }) => (Direction::Rx, seq, len),
        };
        writer.put(offset_of!(RecordHeader, flags), &flags.to_ne_bytes());
        writer.put(offset_of!(RecordHeader, direction), &[direction as u8]);
        writer.put(offset_of!(SecureRecord, cookie), &session.to_ne_bytes());
        writer.put(offset_of!(SecureRecord, socket), &socket.to_ne_bytes());
        let stack = u32::from(*library);
        writer.put(offset_of!(SecureRecord, stack), &stack.to_ne_bytes());
        writer.put(offset_of!(SecureRecord, seq), &seq.to_ne_bytes());
        writer.put(offset_of!(SecureRecord, len), &len.to_ne_bytes());
    }
}

impl Close {
    fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            cookie,
            direction,
            last,
            rx_bytes,
            tx_bytes,
        } = self;
        writer.put(offset_of!(RecordHeader, direction), &[*direction as u8]);
        writer.put(offset_of!(CloseRecord, cookie), &cookie.to_ne_bytes());
        writer.put(offset_of!(CloseRecord, rx_bytes), &rx_bytes.to_ne_bytes());
        writer.put(offset_of!(CloseRecord, tx_bytes), &tx_bytes.to_ne_bytes());
        writer.put(offset_of!(CloseRecord, last), &[u8::from(*last)]);
    }
}

impl ProcessChange {
    fn record_kind(&self) -> RecordKind {
        match self.kind {
            ProcessChangeKind::Fork { .. } => RecordKind::Fork,
            ProcessChangeKind::Exec => RecordKind::Exec,
            ProcessChangeKind::Exit => RecordKind::Exit,
            ProcessChangeKind::Mapped => RecordKind::Mapped,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(offset_of!(ProcessRecord, tgid), &self.tgid.to_ne_bytes());
        if let ProcessChangeKind::Fork { parent } = self.kind {
            writer.put(offset_of!(ProcessRecord, other), &parent.to_ne_bytes());
        }
        writer.put(offset_of!(ProcessRecord, comm), &self.comm);
    }
}

#[cfg(test)]
mod tests {
    use weft_abi::{DataFlags, Direction, Missing, OpenFlags};

    use weft_proto::trace_context::{SpanId, TraceId, TraceParent};

    use super::*;
    use crate::record::{Injected, RecordError};

    const ORIGIN: Origin = Origin {
        tid: 7,
        tgid: 5,
        time_ns: 1 << 40,
    };

    fn records() -> Vec<Record<'static>> {
        vec![
            Record::Data(Data {
                origin: ORIGIN,
                cookie: 3,
                direction: Direction::Tx,
                flags: DataFlags::SEQ | DataFlags::TAIL | DataFlags::HANDED,
                offset: 1 << 33,
                len: 100,
                seq: 0xfeed_f00d,
                cipher_len: 0x0102_0304,
                tail: *b"\r\n0\r\n\r\n\n",
                missing: Missing::Fault,
                work: Some(Work {
                    task: 34,
                    context: false,
                    shared: false,
                    resumes: false,
                    thread: false,
                    handed_ns: Some(99),
                    root: Some(Root {
                        task: 7,
                        left_ns: Some(98),
                        request: Token::At(97),
                    }),
                }),
                payload: b"GET / HTTP/1.1\r\n",
            }),
            Record::Open(Open {
                origin: ORIGIN,
                cookie: 3,
                flags: OpenFlags::FRESH,
                netns: 9,
                inode: 77,
                ends: Ends::Inet {
                    local: ([10, 0, 0, 1], 80).into(),
                    remote: ([10, 0, 0, 2], 40_000).into(),
                },
            }),
            Record::Open(Open {
                origin: ORIGIN,
                cookie: 4,
                flags: OpenFlags::OWN,
                netns: 9,
                inode: 0,
                ends: Ends::Unix { sk: 11, peer: 0 },
            }),
            Record::Close(Close {
                origin: ORIGIN,
                cookie: 3,
                direction: Direction::Rx,
                last: true,
                rx_bytes: 1,
                tx_bytes: 2,
            }),
            Record::Sends(Sends {
                origin: ORIGIN,
                writer: 5,
                stream: 7,
                work: Work {
                    task: 34,
                    context: false,
                    shared: false,
                    resumes: false,
                    thread: false,
                    handed_ns: Some(99),
                    root: Some(Root {
                        task: 6,
                        left_ns: None,
                        request: Token::Stream(9),
                    }),
                },
            }),
            Record::Resumed(Sends {
                origin: ORIGIN,
                writer: 3,
                stream: 0,
                work: Work {
                    task: 34,
                    context: true,
                    shared: false,
                    resumes: false,
                    thread: false,
                    handed_ns: Some(99),
                    root: None,
                },
            }),
            Record::Injected(Injected {
                origin: ORIGIN,
                cookie: 7,
                seq: 8,
                parent: TraceParent {
                    trace_id: TraceId([9; 16]),
                    parent_id: SpanId([10; 8]),
                    flags: 1,
                },
            }),
            Record::Process(ProcessChange {
                origin: ORIGIN,
                kind: ProcessChangeKind::Fork { parent: 4 },
                tgid: 5,
                comm: *b"nginx\0\0\0\0\0\0\0\0\0\0\0",
            }),
        ]
    }

    #[test]
    fn decode_reverses_encode() {
        for record in records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Ok(record));
            // The ring buffer hands out whole size classes.
            bytes.extend_from_slice(&[0xaa; 50]);
            assert_eq!(Record::decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        for record in records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for len in 0..bytes.len() {
                let decoded = Record::decode(&bytes[..len]);
                assert!(matches!(decoded, Err(RecordError::Short { .. })), "{len}");
            }
        }
    }

    #[test]
    fn mapped_addresses_are_told_as_v4() {
        let record = Record::Open(Open {
            origin: ORIGIN,
            cookie: 1,
            flags: 0,
            netns: 1,
            inode: 1,
            ends: Ends::Inet {
                local: "[::ffff:10.0.0.1]:80".parse().unwrap(),
                remote: "[::ffff:10.0.0.2]:81".parse().unwrap(),
            },
        });
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let Ok(Record::Open(open)) = Record::decode(&bytes) else {
            panic!("no open record");
        };
        let local = "10.0.0.1:80".parse().unwrap();
        assert!(matches!(open.ends, Ends::Inet { local: l, .. } if l == local));
    }
}
