//! What the flow can be told. Every limit bounds a table or a queue.

use std::sync::Arc;

use weft_proto::propagation::Propagator;

use crate::sample::Sampler;

#[derive(Clone, Debug)]
pub struct Config {
    /// Lower-case names of the request headers to keep.
    pub headers: Arc<[String]>,
    pub limits: Limits,
    pub links: Links,
    /// Which trace contexts of requests are read: the first valid one of this list counts.
    pub propagators: Arc<[Propagator]>,
    pub inject: Inject,
    pub self_instrumented: SelfInstrumented,
    /// Connections with one of these ports on either end are muted.
    pub skip_ports: Vec<u16>,
    pub sampler: Sampler,
    /// Of HTTP/2: the kernel programs leave none of its requests out, whatever they sample.
    pub stream_sampler: Sampler,
    pub gaps: Gaps,
}

/// What it means when bytes of both directions were not seen before an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Records were lost, which may have been any: a response that follows is not paired.
    #[default]
    Loss,
    /// The kernel programs sample: whole exchanges were left out, what follows is in step.
    Sampling,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The one that was silent longest makes room.
    pub connections: usize,
    /// Requests of one connection that wait for their response; beyond, the connection is muted.
    pub open_exchanges: usize,
    /// Requests, of all connections, whose span has not left.
    pub open_spans: usize,
    /// Requests whose other end has not been seen.
    pub wire_positions: usize,
    pub processes: usize,
    pub threads: usize,
    /// Logical tasks that have read requests.
    pub tasks: usize,
    /// Finished spans between two drains.
    pub ready_spans: usize,
    /// An exchange ends when nothing crossed its connection for so long.
    pub idle_ns: u64,
    /// A stream of HTTP/2 that is open for longer is reported as it stands.
    pub long_stream_ns: u64,
    /// How long a server span waits for the other end's record.
    pub link_grace_ns: u64,
    /// A span that ended so long ago leaves with the evidence there is.
    pub settle_ns: u64,
    /// A span that waits for the agent of another node leaves so long after its end.
    pub peer_hold_ns: u64,
}

/// The kinds of evidence that are used.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    pub trace_parent: bool,
    pub wire_position: bool,
    pub thread: bool,
    /// Logical tasks of runtimes.
    pub task: bool,
    /// What event-loop proxies pass on.
    pub forward: bool,
    /// Agents of other nodes are asked, and answered.
    pub nodes: bool,
}

/// Into which requests a trace context may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inject {
    #[default]
    Never,
    /// Where no other end was seen on this node.
    Away,
    Always,
}

/// What becomes of the spans of a process that reports spans itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelfInstrumented {
    #[default]
    Skip,
    Keep,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            headers: Arc::from([]),
            limits: Limits::default(),
            links: Links::default(),
            propagators: Arc::from([
                Propagator::TraceContext,
                Propagator::B3,
                Propagator::Jaeger,
                Propagator::XRay,
            ]),
            inject: Inject::default(),
            self_instrumented: SelfInstrumented::default(),
            skip_ports: Vec::new(),
            sampler: Sampler::default(),
            stream_sampler: Sampler::default(),
            gaps: Gaps::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            open_exchanges: 128,
            open_spans: 131_072,
            wire_positions: 65_536,
            processes: 65_536,
            threads: 65_536,
            tasks: 65_536,
            ready_spans: 65_536,
            idle_ns: 60_000_000_000,
            long_stream_ns: 120_000_000_000,
            link_grace_ns: 150_000_000,
            settle_ns: 500_000_000,
            peer_hold_ns: 2_000_000_000,
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self {
            trace_parent: true,
            wire_position: true,
            thread: true,
            task: true,
            forward: true,
            nodes: false,
        }
    }
}
