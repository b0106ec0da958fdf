//! Ground truth: how much of what really happened an agent's spans tell, and how much of what they
//! tell is wrong.
//!
//! Every request carries an id in its path and applications pass it on, so that each span is
//! matched to one real exchange by id, kind, process and path. Nothing here knows the agent: it is
//! a command line, and what it says is OTLP.
//!
//! ```text
//! scenario ─▶ driver ─▶ programs            agent ─▶ sink
//!               │ answers                              │ spans
//!               └──▶ truth (exchanges) ──▶ score ◀─────┘ ──▶ report
//! ```
#![forbid(unsafe_code)]

pub mod agent;
pub mod client;
pub mod driver;
pub mod members;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod score;
pub mod sink;
pub mod span;
pub mod topology;
pub mod truth;
