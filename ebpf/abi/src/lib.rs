//! The contract between the kernel programs (`ebpf/probes`) and the agent: records that travel
//! through the ring buffer, and the keys and values of shared maps.
//!
//! Everything is `repr(C)`, fixed size, without padding that could carry uninitialised memory, in
//! the byte order of the machine. Both sides are built from this crate, and the agent embeds its
//! kernel object, so [`ABI_VERSION`] only guards recorded event logs.
#![no_std]
#![forbid(unsafe_code)]

mod control;
mod counter;
mod inject;
mod record;
mod task;
mod tls;

pub use control::{
    Connection, Control, FRAME_HEADER_BYTES, Frame, Half, Hint, Mode, Stage, TlsProbes, Verdict,
    Wake,
};
pub use counter::Counter;
pub use inject::{
    Destination, HEAD_BYTES, Head, INJECTED_BYTES, InjectControl, InjectedRecord, Injection,
    InjectionStage, VALUE_BYTES, Work,
};
pub use record::{
    CloseRecord, DATA_CLASSES, DataFlags, DataRecord, Direction, Family, Missing, OpenFlags,
    OpenRecord, ProcessRecord, RecordHeader, RecordKind, SecureRecord, StreamRecord, TAIL_BYTES,
};
pub use task::{
    CONNECTION_BIT, Descent, HandOff, JavaThread, KeyKind, MAX_DEPTH, NodeKey, NodeOwner, NodeRead,
    NodeThread, Runtime, RuntimeFlags, RuntimeKind, STREAM_BIT, Task, TaskFlags, TaskKey,
    TokioSite, UNKNOWN_TASK,
};
pub use tls::{
    Crossing, GoKey, Lengths, Plain, Records, SESSION_BIT, Session, SessionFlags, SessionKey, Site,
    SiteFlags, TlsCall, TlsCallFlags, TlsThread,
};

/// Raised by every change of a layout in this crate.
pub const ABI_VERSION: u32 = 7;
