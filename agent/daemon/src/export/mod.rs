//! Spans leave the agent. The only module that knows OpenTelemetry's crates.
//!
//! One agent reports many programs, each with a resource of its own: one request carries them all,
//! which is why spans are not handed to the exporter of `opentelemetry-otlp` (it fixes one
//! resource). weft's own figures go through it: see [`metrics`].

mod clock;
mod console;
mod delivery;
mod encode;
mod json;
mod metrics;
mod otlp;
mod print;
mod protobuf;
mod queue;
mod route;
mod rpc;
mod semantic;
#[cfg(test)]
mod tests;
mod transport;

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::runtime;

use self::{
    clock::Clock,
    console::{Console, Style},
    delivery::Collector,
    encode::Encoder,
    json::JsonLines,
    metrics::Metrics,
    otlp::{Figures, Worker},
    print::{Format, Printer},
    queue::{Limits, Queue},
    semantic::Conventions,
};
pub(crate) use self::{
    clock::monotonic_ns,
    encode::Finished,
    route::{Pattern, RouteMode, Routes},
    transport::Resolve,
};
use crate::{
    config::{Config, Output},
    telemetry::Registry,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("export of weft's own figures: {0}")]
    Metrics(String),
    #[error("a thread for the exporters: {0}")]
    Thread(#[from] io::Error),
}

/// The outputs, each on a thread of its own. Dropping it closes and forgets them;
/// [`Exports::finish`] waits for the last spans.
pub(crate) struct Exports {
    sink: SpanSink,
    threads: Vec<JoinHandle<()>>,
    metrics: Option<Metrics>,
    flush: Duration,
}

/// Where the pipeline leaves finished spans. Cloning shares it.
#[derive(Clone)]
pub(crate) struct SpanSink {
    queues: Arc<[Arc<Queue>]>,
}

impl SpanSink {
    /// Never blocks; what does not fit is dropped and counted.
    pub(crate) fn submit(&self, spans: Vec<Finished>) {
        let Some((last, others)) = self.queues.split_last() else {
            return;
        };
        for queue in others {
            queue.push(spans.clone());
        }
        last.push(spans);
    }
}

impl Exports {
    /// `on_stdout_closed` is called when nobody reads standard output any more.
    pub(crate) fn start(
        config: &Config,
        registry: &Registry,
        on_stdout_closed: impl FnOnce() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for output in &config.outputs {
            let (queue, thread) = match output {
                Output::Otlp => start_otlp(config, registry)?,
                Output::Json => {
                    let json = JsonLines::new(conventions(config), Clock::start());
                    start_printer(
                        config,
                        registry,
                        "json",
                        Format::Json(json),
                        on_stdout_closed.clone(),
                    )?
                }
                Output::Console => {
                    let console = Console::new(Clock::start(), Style::of_stdout());
                    start_printer(
                        config,
                        registry,
                        "console",
                        Format::Console(console),
                        on_stdout_closed.clone(),
                    )?
                }
            };
            queues.push(queue);
            threads.push(thread);
        }
        let metrics = match config.metrics.interval {
            Some(interval) if config.outputs.contains(&Output::Otlp) => {
                Some(Metrics::start(config, interval, registry)?)
            }
            _ => None,
        };
        let sink = SpanSink {
            queues: queues.into(),
        };
        Ok(Self {
            sink,
            threads,
            metrics,
            flush: config.batch.flush,
        })
    }

    pub(crate) fn sink(&self) -> SpanSink {
        self.sink.clone()
    }

    /// Writes out what was submitted, as far as the flush deadline allows.
    pub(crate) fn finish(mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("an exporter panicked");
            }
        }
        if let Some(metrics) = self.metrics.take() {
            metrics.finish(self.flush);
        }
    }

    fn close(&self) {
        for queue in self.sink.queues.iter() {
            queue.close();
        }
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        self.close();
    }
}

fn start_otlp(config: &Config, registry: &Registry) -> Result<(Arc<Queue>, JoinHandle<()>), Error> {
    let figures = Figures::register(registry);
    let queue = Arc::new(Queue::new(limits(config), figures.queue_full.clone()));
    let encoder = Encoder::new(conventions(config), Clock::start());
    let (otlp, batch) = (config.otlp.clone(), config.batch);
    let collected = Arc::clone(&queue);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let collector = Collector::new(&otlp)?;
    drop(entered);
    let worker = Worker::new(collected, encoder, collector, &otlp, batch, figures);
    let thread = spawn("weft-otlp", move || runtime.block_on(worker.run()))?;
    Ok((queue, thread))
}

fn start_printer(
    config: &Config,
    registry: &Registry,
    output: &'static str,
    format: Format,
    on_closed: impl FnOnce() + Send + 'static,
) -> Result<(Arc<Queue>, JoinHandle<()>), Error> {
    let queue_full = otlp::dropped(registry, output, "queue_full");
    let queue = Arc::new(Queue::new(limits(config), queue_full));
    let printer = Printer {
        queue: Arc::clone(&queue),
        format,
        exported: otlp::exported(registry, output),
        closed: otlp::dropped(registry, output, "stdout_closed"),
        on_closed: Box::new(on_closed),
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = spawn("weft-print", move || {
        runtime.block_on(printer.run(io::stdout()));
    })?;
    Ok((queue, thread))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

fn limits(config: &Config) -> Limits {
    let batch = &config.batch;
    Limits {
        bytes: batch.queue_bytes.0,
        spans: batch.queue_spans,
        batch: batch.spans,
    }
}

fn conventions(config: &Config) -> Conventions {
    let http = &config.http;
    let keys = |prefix: &str| {
        let names = http.headers.iter();
        names.map(|name| format!("{prefix}.{name}")).collect()
    };
    Conventions {
        routes: Routes {
            mode: http.routes,
            patterns: http.route_patterns.clone(),
        },
        header_keys: keys("http.request.header"),
        metadata_keys: keys("rpc.request.metadata"),
    }
}
