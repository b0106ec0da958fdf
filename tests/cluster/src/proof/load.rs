//! Requests to a service, on kept connections, as long as it is wanted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, opened when it is needed.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Result<Self> {
        Ok(Self {
            address: format!("{address}:8080").parse()?,
            stream: None,
        })
    }

    /// The status of the answer. After a failure the next request has a new connection.
    pub(crate) fn get(&mut self, path: &str) -> Result<u16> {
        let answer = self.ask(path);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn ask(&mut self, path: &str) -> Result<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().context("no connection")?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("no status line but {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("the connection ended in a head");
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<u64>()?);
            }
        }
        let length = length.context("an answer of unknown length")?;
        let read = std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
        if read < length {
            bail!("the connection ended in a body");
        }
        Ok(status)
    }
}

/// Requests at a steady pace, from a thread of their own; ends when dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    pub(crate) fn start(address: &str, path: &str, pause: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let mut client = Client::new(address)?;
        let (path, stopped, counted) = (path.to_owned(), stop.clone(), counts.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let count = match client.get(&path) {
                    Ok(200) => &counted.answered,
                    _ => &counted.failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(pause);
            }
        });
        Ok(Self {
            stop,
            counts,
            thread: Some(thread),
        })
    }

    /// Requests that were answered with success, and that were not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let Counts { answered, failed } = &*self.counts;
        (
            answered.load(Ordering::Relaxed),
            failed.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
