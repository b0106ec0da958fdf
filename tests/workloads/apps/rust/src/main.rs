//! A server that asks another one, in the ways in which programs on Tokio work on several requests at once.
//!
//! usage: gate many|one (threads)
//!
//! `GET /<way>/<id>` makes calls of `GET /<way>-<n>/<id>` at `BACKEND`: one; two, one after the other; three at
//! once; one from a task of a task; one from a thread that may block. Fewer connections than requests.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::{spawn, spawn_blocking};

const CONNECTIONS: usize = 8;

#[derive(Clone)]
struct Gate {
    backend: Arc<str>,
    client: reqwest::Client,
    calls: Arc<Semaphore>,
}

type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Gate {
    async fn call(self, way: String, number: u32, id: String) -> Done {
        let _turn = self.calls.acquire().await?;
        let url = format!("{}/{way}-{number}/{id}", self.backend);
        let response = self.client.get(url).send().await?.error_for_status()?;
        response.bytes().await?;
        Ok(())
    }

    async fn work(self, way: String, id: String) -> Done {
        let call = |number| self.clone().call(way.clone(), number, id.clone());
        match way.as_str() {
            "two" => {
                call(0).await?;
                pause().await;
                call(1).await
            }
            "three" => {
                let spawned = spawn(call(2));
                tokio::try_join!(call(0), call(1))?;
                spawned.await?
            }
            "task" => {
                let child = call(0);
                let parent = spawn(async {
                    pause().await;
                    spawn(child).await
                });
                parent.await??
            }
            "thread" => {
                let (runtime, call) = (Handle::current(), call(0));
                spawn_blocking(move || runtime.block_on(call)).await?
            }
            _ => call(0).await,
        }
    }
}

/// Uneven, and the same each time.
async fn pause() {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(7, Ordering::Relaxed) % 10;
    tokio::time::sleep(Duration::from_millis(turn)).await;
}

async fn answer(
    State(gate): State<Gate>,
    Path((way, id)): Path<(String, String)>,
) -> (StatusCode, &'static str) {
    match gate.work(way, id).await {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(error) => {
            eprintln!("{error}");
            (StatusCode::BAD_GATEWAY, "failed")
        }
    }
}

async fn serve() -> Done {
    let var = |name: &str| env::var(name).unwrap_or_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(CONNECTIONS / 2);
    let gate = Gate {
        backend: var("BACKEND").into(),
        client: client.build()?,
        calls: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let routes = Router::new().route("/{way}/{id}", get(answer));
    let listener = tokio::net::TcpListener::bind(format!("{}:{}", var("HOST"), var("PORT"))).await?;
    axum::serve(listener, routes.with_state(gate)).await?;
    Ok(())
}

fn main() -> Done {
    let mut builder = match env::args().nth(1).as_deref() {
        Some("one") => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(3).enable_all().build()?.block_on(serve())
}
