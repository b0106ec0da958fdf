//! Bytes on a connection exactly as a test wants them, against a peer that says exactly what the test wants.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const LIMIT: Duration = Duration::from_secs(20);

/// The client end.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.stream.write_all(bytes.as_ref())?;
        Ok(self)
    }

    /// One system call for each piece, with time for the other end to read it.
    pub fn send_slowly(
        &mut self,
        pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<&mut Self> {
        for piece in pieces {
            self.stream.write_all(piece.as_ref())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self)
    }

    /// Reads until the text has come; gives everything up to then.
    pub fn read_until(&mut self, end: &str) -> Result<String> {
        read_until(&mut self.stream, end)
    }

    pub fn read_exact(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// A server that handles one connection by a script of the test.
pub struct Server {
    pub address: SocketAddr,
    thread: JoinHandle<Result<()>>,
}

impl Server {
    pub fn start(
        script: impl FnOnce(&mut TcpStream) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LIMIT))?;
            script(&mut stream)
        });
        Ok(Self { address, thread })
    }

    pub fn join(self) -> Result<()> {
        self.thread
            .join()
            .ok()
            .context("the scripted server panicked")?
    }
}

pub fn read_until(stream: &mut impl Read, end: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end.as_bytes()) {
        if stream.read(&mut byte)? == 0 {
            bail!(
                "the connection ended before {end:?}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        bytes.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
