//! What the kernel programs count, per CPU: an index into the `COUNTERS` map.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }

        impl Counter {
            pub const ALL: &[Counter] = &[$(Counter::$variant,)+];

            /// Name in self-metrics, without prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)+ }
            }
        }
    };
}

counters! {
    /// Calls that moved bytes on sockets and TLS sessions of selected processes: the sum of the outcomes below.
    CallsSeen = "calls_seen",
    /// Outcome: at least one record was written for the call.
    CallsRecorded = "calls_recorded",
    /// Outcome: on a muted or not yet recognised connection.
    CallsMuted = "calls_muted",
    /// Outcome: within a range the agent said it does not need.
    CallsSkipped = "calls_skipped",
    /// Outcome: of a request the sampler left out.
    CallsSampledOut = "calls_sampled_out",
    /// Outcome: ciphertext, of which nothing travels: the plaintext is seen in the TLS library.
    CallsSecure = "calls_secure",
    /// Outcome: the ring buffer was full at the call's first record.
    CallsRingFull = "calls_ring_full",
    /// Records that found the ring buffer full, of any kind.
    RecordsRingFull = "records_ring_full",
    /// Records written.
    Records = "records",
    /// Payload bytes written.
    BytesCaptured = "bytes_captured",
    /// Requests the sampler left out before their bytes were copied.
    RequestsSampledOut = "requests_sampled_out",
    /// Calls whose bytes are missing: sendfile, splice, kernel threads.
    MissingNoBuffer = "missing_no_buffer",
    /// Calls whose bytes are missing: io_uring.
    MissingIoUring = "missing_io_uring",
    /// Calls whose bytes are missing: 32-bit callers.
    MissingCompat = "missing_compat",
    /// Calls whose bytes are missing: unreadable user memory.
    MissingFault = "missing_fault",
    /// Calls whose bytes are missing: vectors too long or batches that could not be told apart.
    MissingVector = "missing_vector",
    /// TLS sessions seen first.
    Sessions = "tls_sessions",
    /// TLS sessions that were put on their socket.
    SessionsBound = "tls_sessions_bound",
    /// TLS sessions whose object was found on another socket: a new session begins.
    SessionsReplaced = "tls_sessions_replaced",
    /// TLS calls of which no state could be kept.
    TlsStateFailed = "tls_state_failed",
    /// Logical tasks that were noted: they read requests, or descend from such.
    Tasks = "tasks",
    /// Calls of a process whose runtime is known that no task could be told for.
    TasksUnknown = "tasks_unknown",
    /// Work that tasks have handed over to others.
    HandOffs = "hand_offs",
    /// Logical tasks, or hand-offs, of which no state could be kept.
    TaskStateFailed = "task_state_failed",
    /// Node.js: resources whose id and whose trigger belong to different requests: neither is believed.
    TasksContradict = "tasks_contradict",
    /// Node.js: what waited for a promise and was not followed through a collection of garbage.
    WaitsDropped = "waits_dropped",
    /// Requests that a `traceparent` was written into.
    Injected = "injected",
    /// Connections that a header might have been written on, and was not: their process serves requests, whose trace is not known here.
    InjectServes = "inject_serves",
    /// The same: the first send call does not hold a whole head of HTTP/1 of up to 4 KB, or not the connection's first bytes.
    InjectHead = "inject_head",
    /// The same: the request carries a trace context.
    InjectCarries = "inject_carries",
    /// The same: no memory, no room in the ring buffer or in a map.
    InjectFailed = "inject_failed",
    /// Socket storage could not be had.
    StorageFailed = "storage_failed",
}
