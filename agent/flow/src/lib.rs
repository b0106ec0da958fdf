//! Sans-IO state of the agent: records of the kernel become connections, exchanges, links and
//! spans. Time comes with the records or as an argument; nothing here reads a clock, a file, a
//! socket, the environment or a global, so a recorded event log replays to the same spans.
//!
//! ```text
//! Record ─▶ Connection ─▶ Pieces ─▶ parser ─▶ Exchange ─▶ node in Spans ─▶ Span
//!              ▲ recognise                       ▲ Threads, wire Positions, Incoming contexts
//! ```
#![forbid(unsafe_code)]

pub mod config;
mod connection;
mod counters;
mod diagnose;
mod exchange;
mod flow;
mod forwards;
mod hints;
mod incoming;
mod injected;
mod peers;
mod processes;
mod reading;
mod recognise;
pub mod record;
mod remote;
mod resumptions;
pub mod sample;
mod secure;
pub mod span;
mod spans;
mod state;
mod tasks;
mod threads;
mod trial;
mod wire;

pub use config::Config;
pub use connection::Muted;
pub use counters::Counters;
pub use diagnose::{ConnectionSummary, Protocol, Tls};
pub use flow::Flow;
pub use processes::ProcessEvent;
pub use remote::{PeerEvent, PeerId};
pub use trial::Shown;
