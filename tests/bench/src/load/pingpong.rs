//! One byte to and fro over one loopback TCP connection: the smallest socket calls there are.
//!
//! With both ends in one thread nothing but the calls is timed; with an end in each of two threads a
//! round trip is what a client of a small key-value store sees.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::samples::Samples;

/// Each round trip is two sends and two receives.
const CALLS_PER_ROUND: f64 = 4.0;

const BATCH: u32 = 32;

/// Long enough to be recognised as nothing that is known.
const WARM_UP: Duration = Duration::from_millis(200);

/// Not a beginning of any protocol.
const BYTE: [u8; 1] = [0xc7];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, value_enum)]
    ends: Ends,
    #[arg(long)]
    milliseconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ends {
    OneThread,
    TwoThreads,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Median of the batches: a batch is shorter than a time slice, so most are not disturbed by others.
    pub(crate) round_ns: f64,
}

pub(crate) fn run(ends: Ends, duration: Duration) -> Result<Figures> {
    let ends = match ends {
        Ends::OneThread => "one-thread",
        Ends::TwoThreads => "two-threads",
    };
    let arguments = [
        "pingpong".to_owned(),
        format!("--ends={ends}"),
        format!("--milliseconds={}", duration.as_millis()),
    ];
    super::helper(&arguments)
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let duration = Duration::from_millis(arguments.milliseconds);
    let figures = match arguments.ends {
        Ends::OneThread => play(duration, || {
            near.write_all(&BYTE)?;
            answer(&mut far)?;
            near.read_exact(&mut [0])
        })?,
        Ends::TwoThreads => {
            let answering = std::thread::spawn(move || while answer(&mut far).is_ok() {});
            let figures = play(duration, || {
                near.write_all(&BYTE)?;
                near.read_exact(&mut [0])
            })?;
            drop(near);
            answering.join().ok().context("the far end is lost")?;
            figures
        }
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn answer(end: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    end.read_exact(&mut byte)?;
    end.write_all(&byte)
}

fn play(duration: Duration, mut round: impl FnMut() -> io::Result<()>) -> io::Result<Figures> {
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP {
        round()?;
    }
    let mut batches = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < duration {
        // Looking at the clock each time would be part of the figure.
        let batch = Instant::now();
        for _ in 0..BATCH {
            round()?;
        }
        batches.push(batch.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    let batches: Samples = batches.into_iter().collect();
    Ok(Figures {
        round_ns: batches.quantile(0.5).unwrap_or_default(),
    })
}

// === impl Figures ===

impl Figures {
    pub(crate) fn ns_per_call(&self) -> f64 {
        self.round_ns / CALLS_PER_ROUND
    }

    pub(crate) fn rounds_per_second(&self) -> f64 {
        1e9 / self.round_ns
    }
}
