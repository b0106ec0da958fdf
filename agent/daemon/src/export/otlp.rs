//! Batches, encodes and sends: the worker behind the `otlp` output.
//!
//! ```text
//!   pipeline ──▶ queue (spans) ──▶ encode ──▶ waiting (requests) ──▶ a few sends, each with retries
//!                    │                            │                          │
//!                queue_full                   queue_full       refused, unreachable, shutdown
//! ```
//!
//! Spans leave the queue within the batch delay whatever the collector does; what then waits is
//! counted by its encoded bytes, and the oldest requests go when the bound is reached.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::Rng as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    delivery::{Collector, Outcome},
    encode::{Encoder, Finished},
    queue::{Next, Queue},
};
use crate::{
    config::{Batch, Otlp, Retry},
    telemetry::{Counter, Gauge, Registry},
};

/// Requests on their way at a time: a distant collector is not waited for one by one.
const CONCURRENT: usize = 4;
/// Collectors refuse messages above 4 MiB by default.
const REQUEST_BYTES: usize = 3 << 20;

/// Names of what happens to spans at the collector's door.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) exported: Counter,
    pub(crate) queue_full: Counter,
    pub(crate) refused: Counter,
    pub(crate) rejected: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) shutdown: Counter,
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    pub(crate) bytes: Counter,
    pub(crate) waiting: Gauge,
}

#[derive(Debug)]
struct Parcel {
    body: Bytes,
    spans: u64,
}

pub(crate) struct Worker {
    queue: Arc<Queue>,
    encoder: Encoder,
    collector: Collector,
    batch: Batch,
    timeout: Duration,
    retry: Retry,
    figures: Figures,
    waiting: VecDeque<Parcel>,
    /// Of `waiting` and of the sends.
    bytes: usize,
    sends: JoinSet<Bytes>,
}

impl Worker {
    pub(crate) fn new(
        queue: Arc<Queue>,
        encoder: Encoder,
        collector: Collector,
        otlp: &Otlp,
        batch: Batch,
        figures: Figures,
    ) -> Self {
        Self {
            queue,
            encoder,
            collector,
            batch,
            timeout: otlp.timeout,
            retry: otlp.retry,
            figures,
            waiting: VecDeque::new(),
            bytes: 0,
            sends: JoinSet::new(),
        }
    }

    /// Until the queue is closed, then as long as flushing may take.
    pub(crate) async fn run(mut self) {
        loop {
            let next = tokio::select! {
                next = self.queue.next(self.batch.delay) => Some(next),
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => {
                    self.sent(sent.unwrap_or_default());
                    None
                }
            };
            match next {
                Some(Next::Batch(spans)) => self.pack(&spans),
                Some(Next::End) => break,
                None => {}
            }
            self.dispatch();
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        let deadline = Instant::now() + self.batch.flush;
        loop {
            self.dispatch();
            tokio::select! {
                sent = self.sends.join_next() => match sent {
                    Some(sent) => self.sent(sent.unwrap_or_default()),
                    None => break,
                },
                () = sleep_until(deadline) => break,
            }
        }
        // What is still on its way counts itself when it is dropped.
        self.sends.shutdown().await;
        let left = self.waiting.drain(..).map(|parcel| parcel.spans).sum();
        self.figures.shutdown.add(left);
    }

    /// Nobody needs this request any more.
    fn sent(&mut self, body: Bytes) {
        self.bytes = self.bytes.saturating_sub(body.len());
        self.encoder.recycle(body);
    }

    fn pack(&mut self, spans: &[Finished]) {
        let body = self.encoder.encode(spans);
        if body.len() > REQUEST_BYTES && spans.len() > 1 {
            let (first, second) = spans.split_at(spans.len() / 2);
            self.pack(first);
            self.pack(second);
            return;
        }
        self.bytes += body.len();
        self.waiting.push_back(Parcel {
            body: body.into(),
            spans: spans.len() as u64,
        });
        while self.bytes > self.batch.queue_bytes.0 {
            let Some(oldest) = self.waiting.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.body.len());
            self.figures.queue_full.add(oldest.spans);
        }
    }

    fn dispatch(&mut self) {
        while self.sends.len() < CONCURRENT {
            let Some(parcel) = self.waiting.pop_front() else {
                break;
            };
            let send = Send {
                collector: self.collector.clone(),
                retry: self.retry,
                timeout: self.timeout,
                figures: self.figures.clone(),
                undecided: parcel.spans,
            };
            self.sends.spawn(send.run(parcel.body));
        }
        self.figures
            .waiting
            .set((self.bytes + self.queue.bytes()) as u64);
    }
}

/// One request until it is taken, refused or given up.
struct Send {
    collector: Collector,
    retry: Retry,
    timeout: Duration,
    figures: Figures,
    /// Spans whose fate is not counted yet.
    undecided: u64,
}

impl Send {
    /// Gives the request back.
    async fn run(mut self, body: Bytes) -> Bytes {
        let size = body.len();
        let deadline = Instant::now() + self.retry.give_up;
        let mut wait = self.retry.first;
        loop {
            self.figures.requests.add(1);
            match self.collector.send(body.clone(), self.timeout).await {
                Outcome::Accepted { rejected, message } => {
                    self.accepted(rejected, &message, size);
                    break;
                }
                Outcome::Refused { reason } => {
                    let spans = self.decide();
                    log::warn!("the collector refused {spans} spans: {reason}");
                    self.figures.refused.add(spans);
                    break;
                }
                Outcome::Later { reason, after } => {
                    let pause = after.unwrap_or_else(|| jittered(wait));
                    if Instant::now() + pause > deadline {
                        let spans = self.decide();
                        log::warn!("gave up {spans} spans: {reason}");
                        self.figures.unreachable.add(spans);
                        break;
                    }
                    log::debug!("collector: {reason}; again in {pause:?}");
                    self.figures.retries.add(1);
                    sleep(pause).await;
                    wait = wait.mul_f32(1.5).min(self.retry.longest);
                }
            }
        }
        body
    }

    fn accepted(&mut self, rejected: u64, message: &str, size: usize) {
        let spans = self.decide();
        let rejected = rejected.min(spans);
        self.figures.exported.add(spans - rejected);
        self.figures.rejected.add(rejected);
        self.figures.bytes.add(size as u64);
        if rejected > 0 || !message.is_empty() {
            log::warn!("the collector rejected {rejected} of {spans} spans: {message}");
        }
    }

    fn decide(&mut self) -> u64 {
        std::mem::take(&mut self.undecided)
    }
}

impl Drop for Send {
    fn drop(&mut self) {
        self.figures.shutdown.add(self.undecided);
    }
}

/// Between half of `wait` and all of it: agents that lost the same collector do not come back in
/// step.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f32(rand::rng().random_range(0.5..=1.0))
}

impl Figures {
    pub(crate) fn register(registry: &Registry) -> Self {
        let output = ("output", "otlp");
        let dropped = |reason| dropped(registry, "otlp", reason);
        Self {
            exported: exported(registry, "otlp"),
            queue_full: dropped("queue_full"),
            refused: dropped("refused"),
            rejected: dropped("rejected"),
            unreachable: dropped("unreachable"),
            shutdown: dropped("shutdown"),
            requests: registry.counter(
                "weft_export_requests_total",
                "Attempts to hand spans to a collector.",
                &[output],
            ),
            retries: registry.counter(
                "weft_export_retries_total",
                "Attempts that are to be repeated.",
                &[output],
            ),
            bytes: registry.counter(
                "weft_export_bytes_total",
                "Bytes of accepted requests before compression.",
                &[output],
            ),
            waiting: registry.gauge(
                "weft_export_queue_bytes",
                "Bytes of spans that wait for the collector or are on their way.",
                &[output],
            ),
        }
    }
}

pub(crate) fn exported(registry: &Registry, output: &str) -> Counter {
    let labels = [("output", output)];
    registry.counter(
        "weft_spans_exported_total",
        "Spans that reached an output.",
        &labels,
    )
}

pub(crate) fn dropped(registry: &Registry, output: &str, reason: &str) -> Counter {
    let labels = [("output", output), ("reason", reason)];
    registry.counter(
        "weft_spans_dropped_total",
        "Finished spans that an output lost.",
        &labels,
    )
}
