//! Finished spans on their way from the pipeline to an exporter.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use weft_flow::span::Span;

use super::encode::Finished;
use crate::telemetry::Counter;

/// Bounded by bytes and by spans; what is over the bound goes, the oldest first. A slow exporter
/// never holds up who pushes: the lock is held for moving pointers only.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
    limits: Limits,
    dropped: Counter,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) spans: usize,
    /// So many spans are worth a wake-up.
    pub(crate) batch: usize,
}

#[derive(Debug, Default)]
struct Inner {
    spans: VecDeque<Finished>,
    /// Sum of [`held_bytes`] of `spans`.
    bytes: usize,
    /// When the first of `spans` came.
    since: Option<Instant>,
    closed: bool,
}

/// What [`Queue::next`] waited for.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Vec<Finished>),
    /// Closed and empty.
    End,
}

impl Queue {
    pub(crate) fn new(limits: Limits, dropped: Counter) -> Self {
        Self {
            inner: Mutex::default(),
            wake: Notify::new(),
            limits,
            dropped,
        }
    }

    /// Never blocks, never fails: what does not fit is counted.
    pub(crate) fn push(&self, spans: Vec<Finished>) {
        if spans.is_empty() {
            return;
        }
        let mut inner = self.lock();
        if inner.closed {
            self.dropped.add(spans.len() as u64);
            return;
        }
        let before = inner.spans.len();
        inner.since.get_or_insert_with(Instant::now);
        inner.bytes += spans
            .iter()
            .map(|(span, _)| held_bytes(span))
            .sum::<usize>();
        inner.spans.extend(spans);
        while inner.bytes > self.limits.bytes || inner.spans.len() > self.limits.spans {
            let Some((span, _)) = inner.spans.pop_front() else {
                break;
            };
            inner.bytes = inner.bytes.saturating_sub(held_bytes(&span));
            self.dropped.add(1);
        }
        let full = inner.spans.len() >= self.limits.batch;
        drop(inner);
        if before == 0 || full {
            self.wake.notify_one();
        }
    }

    /// Waits for a whole batch, or for whatever came `delay` ago.
    pub(crate) async fn next(&self, delay: Duration) -> Next {
        loop {
            let due = {
                let mut inner = self.lock();
                let due = inner.since.map(|since| since + delay);
                let ready = inner.closed
                    || inner.spans.len() >= self.limits.batch
                    || due.is_some_and(|due| due <= Instant::now());
                if ready {
                    let batch = inner.take(self.limits.batch);
                    return if batch.is_empty() {
                        Next::End
                    } else {
                        Next::Batch(batch)
                    };
                }
                due
            };
            match due {
                None => self.wake.notified().await,
                Some(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// Nothing more is taken; what is held may still be read.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, most: usize) -> Vec<Finished> {
        let batch: Vec<Finished> = self.spans.drain(..most.min(self.spans.len())).collect();
        let taken: usize = batch.iter().map(|(span, _)| held_bytes(span)).sum();
        self.bytes = self.bytes.saturating_sub(taken);
        self.since = (!self.spans.is_empty()).then(Instant::now);
        batch
    }
}

/// Memory that a span holds, about.
fn held_bytes(span: &Span) -> usize {
    let exchange = &span.exchange;
    let optional = [&exchange.host, &exchange.user_agent, &span.trace_state];
    let optional: usize = optional.into_iter().flatten().map(bytes::Bytes::len).sum();
    let headers: usize = exchange
        .headers
        .iter()
        .map(|(_, value)| value.len() + 40)
        .sum();
    size_of::<Finished>()
        + size_of::<Span>()
        + exchange.method.len()
        + exchange.target.len()
        + optional
        + headers
}
