//! The worker behind the outputs that write to standard output.

use std::{
    io::{ErrorKind, Write},
    sync::Arc,
    time::Duration,
};

use super::{
    console::Console,
    encode::Finished,
    json::JsonLines,
    queue::{Next, Queue},
};
use crate::telemetry::Counter;

/// What a batch of spans becomes.
pub(crate) enum Format {
    Json(JsonLines),
    Console(Console),
}

pub(crate) struct Printer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) format: Format,
    pub(crate) exported: Counter,
    /// Lost because nobody reads any more.
    pub(crate) closed: Counter,
    /// Called once when the reader of standard output has gone.
    pub(crate) on_closed: Box<dyn FnOnce() + Send>,
}

/// JSON is for programs: a span leaves at once, but spans that come together stay together.
const JSON_DELAY: Duration = Duration::from_millis(20);
/// Traces are looked at so often for being finished.
const CONSOLE_DELAY: Duration = Duration::from_millis(100);

impl Printer {
    pub(crate) async fn run(self, mut out: impl Write) {
        let Self {
            queue,
            mut format,
            exported,
            closed,
            on_closed,
        } = self;
        loop {
            let (text, spans, end) = match &mut format {
                Format::Json(json) => match queue.next(JSON_DELAY).await {
                    Next::Batch(spans) => (json.line(&spans), spans.len(), false),
                    Next::End => (String::new(), 0, true),
                },
                Format::Console(console) => console_text(console, &queue).await,
            };
            if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                if error.kind() != ErrorKind::BrokenPipe {
                    log::error!("standard output: {error}");
                }
                closed.add(spans as u64);
                queue.close();
                on_closed();
                break;
            }
            exported.add(spans as u64);
            if end {
                return;
            }
        }
        while let Next::Batch(spans) = queue.next(Duration::ZERO).await {
            closed.add(spans.len() as u64);
        }
    }
}

/// Text of the traces that are finished by now, the spans in it, and whether it is the last.
async fn console_text(console: &mut Console, queue: &Queue) -> (String, usize, bool) {
    let next = if console.is_empty() {
        queue.next(CONSOLE_DELAY).await
    } else {
        match tokio::time::timeout(CONSOLE_DELAY, queue.next(Duration::ZERO)).await {
            Ok(next) => next,
            Err(_) => Next::Batch(Vec::<Finished>::new()),
        }
    };
    match next {
        Next::Batch(spans) => {
            console.add(spans);
            let (text, spans) = console.finished();
            (text, spans, false)
        }
        Next::End => {
            let (text, spans) = console.rest();
            (text, spans, true)
        }
    }
}
