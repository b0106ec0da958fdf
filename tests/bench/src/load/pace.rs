//! Requests at a fixed rate over kept connections, timed from the moment each was due.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::http::Connection;
use crate::samples::Samples;

/// Enough that the rate is kept while each request is waited for.
const THREADS: u32 = 4;
const CONNECTIONS_PER_THREAD: usize = 8;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    address: SocketAddr,
    /// Requests a second.
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    milliseconds: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

pub(crate) fn run(address: SocketAddr, rate: u32, duration: Duration) -> Result<Figures> {
    let arguments = [
        "pace".to_owned(),
        format!("--address={address}"),
        format!("--rate={rate}"),
        format!("--milliseconds={}", duration.as_millis()),
    ];
    super::helper(&arguments)
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let paced = Paced {
                address: arguments.address,
                begin: begun + Duration::from_micros(u64::from(number) * 37),
                step: Duration::from_secs(1) * THREADS / arguments.rate.max(1),
                end: begun + Duration::from_millis(arguments.milliseconds),
            };
            std::thread::spawn(move || paced.run())
        })
        .collect();
    let mut figures = Figures::default();
    let mut times = Vec::new();
    for thread in threads {
        let (taken, errors) = thread.join().ok().context("a thread is lost")??;
        times.extend(taken);
        figures.errors += errors;
    }
    figures.elapsed_ns = begun.elapsed().as_nanos() as u64;
    figures.requests = times.len() as u64;
    let times: Samples = times.into_iter().collect();
    figures.p50_us = times.quantile(0.5).unwrap_or_default();
    figures.p99_us = times.quantile(0.99).unwrap_or_default();
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

struct Paced {
    address: SocketAddr,
    begin: Instant,
    step: Duration,
    end: Instant,
}

// === impl Paced ===

impl Paced {
    /// Microseconds of each request, and the number of those that failed.
    fn run(&self) -> Result<(Vec<f64>, u64)> {
        let mut connections: Vec<_> = (0..CONNECTIONS_PER_THREAD)
            .map(|_| Connection::open(self.address))
            .collect::<Result<_, _>>()?;
        let (mut times, mut errors) = (Vec::new(), 0);
        let mut due = self.begin;
        while due < self.end {
            for connection in &mut connections {
                if let Some(early) = due.checked_duration_since(Instant::now()) {
                    std::thread::sleep(early);
                }
                match connection.get("/index.html") {
                    Ok(_) => times.push(due.elapsed().as_secs_f64() * 1e6),
                    Err(_) => {
                        errors += 1;
                        *connection = Connection::open(self.address)?;
                    }
                }
                due += self.step;
            }
        }
        Ok((times, errors))
    }
}
