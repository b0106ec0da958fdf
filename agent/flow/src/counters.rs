//! What the flow counts.
//!
//! These hold at any time, under any loss of records (`tests/accounting.rs`):
//!
//! ```text
//! records            = records_bad + records_data + records_open + records_close
//!                    + records_process + records_secure + records_sends + records_resumed + records_injected
//! records_data       = data_taken + data_unknown_connection + data_muted + data_overlap
//! requests           = spans_emitted + spans_open + requests_without_span
//!                    + dropped_{sampled_out, self_instrumented, full, evicted, muted, unfinished,
//!                               replaced, deselected, not_drained}
//! responses          = responses_interim + responses_paired + responses_unpaired
//! asks_sent          = asks_{open, linked, disowned, refused, unanswered, superseded}
//! questions          = questions_{open, told, unknown, ambiguous, busy, gone}
//! connections_opened = connections_open + connections_closed + connections_evicted
//!                    + connections_replaced
//! ```

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $field:ident: $name:literal $(, $reason:literal)?;)+) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $doc])* pub $field: u64,)+ }

        impl Counters {
            /// Each counter's name in self-metrics (without prefix), the reason or kind it counts
            /// (empty: it has none) and its value.
            pub fn visit(&self, mut each: impl FnMut(&'static str, &'static str, u64)) {
                $(each($name, concat!($($reason)?), self.$field);)+
            }
        }
    };
}

counters! {
    /// Elements of the ring buffer.
    records: "records_taken";
    /// Could not be decoded.
    records_bad: "records", "bad";
    records_data: "records", "data";
    records_open: "records", "open";
    records_close: "records", "close";
    /// Fork, exec, exit.
    records_process: "records", "process";
    /// TLS sessions.
    records_secure: "records", "secure";
    /// Requests of HTTP/2 that tasks hand to a connection's writer.
    records_sends: "records", "sends";
    /// A trace context was written into a request.
    records_resumed: "records", "resumed";
    records_injected: "records", "injected";
    /// Went to recognition or to a parser.
    data_taken: "data_records", "taken";
    /// Its open record was lost, or the connection was evicted.
    data_unknown_connection: "data_records", "unknown_connection";
    /// Of a connection that is not looked at, sent before the kernel programs knew.
    data_muted: "data_records", "muted";
    /// Covers only bytes that came before: concurrent calls on one socket.
    data_overlap: "data_records", "overlap";
    /// Stream positions jumped forward: records lost, or ranges skipped.
    gaps: "gaps";
    gap_bytes: "gap_bytes";

    connections_opened: "connections_opened";
    connections_open: "connections", "open";
    connections_closed: "connections", "closed";
    /// Too many: the one that was silent longest.
    connections_evicted: "connections", "evicted";
    /// A second open record of the same socket.
    connections_replaced: "connections", "replaced";

    /// TLS sessions among the connections.
    sessions_opened: "tls_sessions_seen";
    /// Of them, put on their socket.
    sessions_proved: "tls_sessions_proved";

    /// First bytes were recognised.
    recognised_http1: "recognised", "http1";
    recognised_http2: "recognised", "http2";
    recognised_fastcgi: "recognised", "fastcgi";
    recognised_tls: "recognised", "tls";
    recognised_other: "recognised", "other";
    /// Began like HTTP/1 and was not.
    recognised_false_start: "recognised", "false_start";
    /// Connections of weft's own, and their other ends.
    muted_own: "muted", "own";
    muted_port: "muted", "port";
    muted_tunnel: "muted", "tunnel";
    muted_malformed: "muted", "malformed";
    muted_pipelining: "muted", "pipelining";
    malformed: "malformed";
    /// Hints that were not drained in time.
    hints_dropped: "hints_dropped";

    /// Request heads.
    requests: "requests";
    /// FastCGI: the web server's own request once more.
    requests_without_span: "requests_without_span";
    spans_emitted: "spans_emitted";
    spans_open: "spans_open";
    dropped_sampled_out: "spans_dropped", "sampled_out";
    dropped_self_instrumented: "spans_dropped", "self_instrumented";
    /// `Limits::open_spans`.
    dropped_full: "spans_dropped", "full";
    /// With their connection.
    dropped_evicted: "spans_dropped", "evicted";
    /// With their connection, which was muted.
    dropped_muted: "spans_dropped", "muted";
    /// Open at the end.
    dropped_unfinished: "spans_dropped", "unfinished";
    /// With their connection: its close record was lost.
    dropped_replaced: "spans_dropped", "replaced";
    /// Open when their process was left out of the selection.
    dropped_deselected: "spans_dropped", "deselected";
    /// `Limits::ready_spans`.
    dropped_not_drained: "spans_dropped", "not_drained";

    /// Response heads.
    responses: "responses_seen";
    responses_interim: "responses", "interim";
    responses_paired: "responses", "paired";
    /// Their request was not seen.
    responses_unpaired: "responses", "unpaired";
    /// HTTP/2: streams that a server announced by itself.
    streams_pushed: "streams_pushed";
    /// HTTP/2: field blocks of a client that name no request: of an unseen stream, or unknown.
    blocks_unknown: "blocks_unknown";

    linked_trace_parent: "links", "traceparent";
    linked_b3: "links", "b3";
    linked_jaeger: "links", "jaeger";
    linked_xray: "links", "xray";
    linked_wire_position: "links", "wire-position";
    linked_thread: "links", "thread";
    linked_goroutine: "links", "goroutine";
    linked_async_context: "links", "async-context";
    linked_hand_off: "links", "hand-off";
    linked_forwarded: "links", "forwarded";
    linked_none: "links", "none";
    /// Written contexts that the request's span took over; the others' requests were lost, and so are the parents they name.
    injected_adopted: "injected_adopted";
    /// More than one candidate behind address translation.
    wire_ambiguous: "wire_ambiguous";
    /// `Limits::wire_positions`.
    wire_evicted: "wire_evicted";
    /// Server requests whose client is asked for at other nodes.
    asks_sent: "asks_sent";
    asks_open: "asks", "open";
    asks_linked: "asks", "linked";
    /// The request said another trace.
    asks_disowned: "asks", "disowned";
    /// Nobody knows, or who might is gone.
    asks_refused: "asks", "refused";
    /// Nothing came within `Limits::peer_hold_ns`.
    asks_unanswered: "asks", "unanswered";
    /// The client was on this node, or the request was dropped.
    asks_superseded: "asks", "superseded";
    /// Of those that were linked, from the question to the answer, µs in all.
    asks_wait_us: "asks_wait_microseconds";
    /// From an address of which nobody has known, or that was too much.
    asks_vain: "asks_vain";
    /// To a question that was closed, or that was not put to this peer.
    answers_late: "answers_late";
    /// Asked by other nodes.
    questions: "questions_received";
    questions_open: "questions", "open";
    questions_told: "questions", "told";
    /// The client was not seen.
    questions_unknown: "questions", "unknown";
    questions_ambiguous: "questions", "ambiguous";
    questions_busy: "questions", "busy";
    /// Who asked is gone.
    questions_gone: "questions", "gone";
    /// To or from agents of other nodes, that were not drained in time.
    peer_messages_dropped: "peer_messages_dropped";
    /// Threads with more than one server request at a time.
    threads_disqualified: "threads_disqualified";
    threads_evicted: "threads_evicted";
    /// Logical tasks that read requests for others.
    tasks_disqualified: "tasks_disqualified";
    tasks_evicted: "tasks_evicted";
    /// Requests whose task descends from one that reads requests, of which none can be told for them.
    task_ambiguous: "task_ambiguous";
    /// Calls whose response went on with something of another request than the one they seemed to be sent for.
    calls_contradicted: "calls_contradicted";
    /// Calls that are not linked because the thread that has sent them has not read their response before it went on.
    calls_not_waited_for: "calls_not_waited_for";
    /// Calls that are not linked because what their response went on with was not told, or who has sent them.
    calls_unconfirmed: "calls_unconfirmed";
    /// Calls that are linked by nothing but what their response went on with.
    calls_resumed: "calls_resumed";
    /// Requests that a proxy sent, where more than one that it had read fits.
    forwards_ambiguous: "forwards_ambiguous";
    /// Answered requests that were forgotten early because of their number.
    task_requests_forgotten: "task_requests_forgotten";
    /// Processes whose responses are not sent by the thread that read the request.
    processes_hand_off: "processes_hand_off";
    /// Of them, those whose threads also call out for something else than what they answer.
    processes_other_work: "processes_other_work";
    processes_self_instrumented: "processes_self_instrumented";
    processes_evicted: "processes_evicted";
    process_events_dropped: "process_events_dropped";
}
