//! `/metrics`, `/healthz` and `/readyz`.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{runtime, sync::Notify};

use super::{Registry, prometheus};
use crate::export::monotonic_ns;

/// Serves until dropped.
pub(crate) struct Server {
    address: SocketAddr,
    health: Health,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// What `/healthz` and `/readyz` say. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
    /// When the pipeline was round last: milliseconds of `CLOCK_MONOTONIC`; 0: it has not begun.
    moved_ms: Arc<AtomicU64>,
}

/// A pipeline that did not come round for so long hangs: it looks at its stop flag many times a second.
const HANGS_MS: u64 = 30_000;

/// Who does not say what he wants in this time is sent away.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;

impl Server {
    pub(crate) fn start(address: SocketAddr, registry: Registry) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (health, stop) = (Health::default(), Arc::new(Notify::new()));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (known, stopped) = (health.clone(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("weft-figures".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        result = serve(listener, registry, known) => {
                            if let Err(error) = result {
                                log::error!("/metrics: {error}");
                            }
                        }
                        () = stopped.notified() => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            health,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn health(&self) -> Health {
        self.health.clone()
    }
}

// === impl Health ===

impl Health {
    /// Programs are attached, and in Kubernetes the pods of this node are known.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The pipeline has come round.
    pub(crate) fn moved(&self, now_ns: u64) {
        self.moved_ms.store(now_ns / 1_000_000, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How long the pipeline has not come round, if that is too long, ms.
    fn hangs(&self) -> Option<u64> {
        let moved_ms = self.moved_ms.load(Ordering::Relaxed);
        let silent_ms = (monotonic_ns() / 1_000_000).saturating_sub(moved_ms);
        (moved_ms > 0 && silent_ms > HANGS_MS).then_some(silent_ms)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, registry: Registry, health: Health) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer has gone already.
                log::debug!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (registry, health) = (registry.clone(), health.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &registry, &health);
                async { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                log::debug!("/metrics: {error}");
            }
            drop(place);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    health: &Health,
) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, prometheus::text(&registry.gather())),
        "/healthz" => match health.hangs() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(ms) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the pipeline has not moved for {ms} ms\n"),
            ),
        },
        "/readyz" if health.is_ready() => (StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        _ => (
            StatusCode::NOT_FOUND,
            "/metrics /healthz /readyz\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(prometheus::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;

    fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn pages() {
        let registry = Registry::default();
        super::super::watch_own_process(&registry);
        registry.counter("weft_x_total", "X.", &[]).add(2);
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registry).unwrap();
        let address = server.address();
        let metrics = fetch(address, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("weft_x_total 2\n"));
        assert!(
            metrics.contains("weft_process_resident_memory_bytes "),
            "{metrics}"
        );
        assert!(fetch(address, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/readyz").starts_with("HTTP/1.1 503"));
        server.health().set_ready();
        server.health().moved(1_000_000);
        assert!(fetch(address, "/healthz").starts_with("HTTP/1.1 503"));
        server.health().moved(monotonic_ns());
        assert!(fetch(address, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/").starts_with("HTTP/1.1 404"));
    }
}
