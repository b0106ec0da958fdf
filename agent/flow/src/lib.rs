//! Sans-IO state of the agent: records of the kernel become connections, exchanges, links and
//! spans. Time comes with the records or as an argument; nothing here reads a clock, a file, a
//! socket, the environment or a global, so a recorded event log replays to the same spans.
#![forbid(unsafe_code)]

pub mod span;
