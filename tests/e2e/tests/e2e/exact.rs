//! No byte changes but for the header that is due: random conversations through a weft that writes into all it may.
//!
//! `WEFT_E2E_CONVERSATIONS=50000` has as many, by each of two clients.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weft_e2e::exact::{Ending, compare, reply};
use weft_e2e::figures::with_metrics;
use weft_e2e::{on_scene, skip};

const LIMIT: Duration = Duration::from_secs(20);
const INJECT: &str = "propagation:\n  inject: always\n";
const TALKERS: u64 = 2;

#[test]
fn conversations_arrive_as_they_were_sent() -> Result<()> {
    on_scene(&[], |scene| {
        let ports = Talks::listen()?;
        let (weft, metrics) = with_metrics(scene, &configuration(&ports))?;
        if weft.errors().contains("off: writing traceparent") {
            return skip("this kernel does not let headers be written");
        }
        let count = conversations();
        let tally = talk(ports, count)?.finish()?;
        ensure!(tally.conversations == TALKERS * count, "{tally:?}");
        let due = Instant::now() + LIMIT;
        while metrics.read()?.kernel("injected") < tally.written as f64 {
            ensure!(Instant::now() < due, "fewer are counted than: {tally:?}");
        }
        // Not more is missing than what was due before weft knew where requests go.
        ensure!(
            tally.due - tally.written <= TALKERS * 2 + tally.due / 50,
            "{tally:?}"
        );
        eprintln!("exact: {tally:?}");
        weft.stop().map(drop)
    })
}

#[test]
fn conversations_outlive_a_weft_that_is_killed() -> Result<()> {
    on_scene(&[], |scene| {
        let ports = Talks::listen()?;
        let (weft, _) = with_metrics(scene, &configuration(&ports))?;
        if weft.errors().contains("off: writing traceparent") {
            return skip("this kernel does not let headers be written");
        }
        let count = conversations();
        let talks = talk(ports, count)?;
        std::thread::sleep(Duration::from_millis(1500));
        weft.kill()?;
        let tally = talks.finish()?;
        ensure!(
            tally.conversations == TALKERS * count && tally.written > 0,
            "{tally:?}"
        );
        Ok(())
    })
}

fn conversations() -> u64 {
    let wanted = std::env::var("WEFT_E2E_CONVERSATIONS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Only these ports are traced.
fn configuration(talks: &[Talks]) -> String {
    let ports: Vec<String> = talks
        .iter()
        .filter_map(|talks| Some(talks.listener.local_addr().ok()?.port().to_string()))
        .collect();
    format!("{INJECT}selection:\n  ports: [{}]\n", ports.join(", "))
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    conversations: u64,
    due: u64,
    written: u64,
}

/// The server's ends for one client.
struct Talks {
    listener: TcpListener,
    told: TcpListener,
}

struct Running(Vec<(Child, JoinHandle<Result<Tally>>)>);

fn talk(ports: Vec<Talks>, count: u64) -> Result<Running> {
    let mut running = Vec::new();
    for (seed, talks) in (1_u64..).zip(ports) {
        let port = |listener: &TcpListener| Ok::<_, anyhow::Error>(listener.local_addr()?.port());
        let (to, tell) = (port(&talks.listener)?, port(&talks.told)?);
        let client = Command::new(env!("CARGO_BIN_EXE_talker"))
            .args([u64::from(to), u64::from(tell), seed * 7919, count].map(|n| n.to_string()))
            .spawn()?;
        let server = std::thread::spawn(move || talks.serve());
        running.push((client, server));
    }
    Ok(Running(running))
}

// === impl Running ===

impl Running {
    fn finish(self) -> Result<Tally> {
        let mut sum = Tally::default();
        for (mut client, server) in self.0 {
            let tally = server.join().ok().context("the server panicked")?;
            let status = client.wait()?;
            let tally = tally?;
            ensure!(status.success(), "the client ended with {status}");
            sum.conversations += tally.conversations;
            sum.due += tally.due;
            sum.written += tally.written;
        }
        Ok(sum)
    }
}

// === impl Talks ===

impl Talks {
    fn listen() -> Result<Vec<Self>> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        (0..TALKERS)
            .map(|_| {
                Ok(Self {
                    listener: listen()?,
                    told: listen()?,
                })
            })
            .collect()
    }

    fn serve(self) -> Result<Tally> {
        let (mut told, _) = self.told.accept()?;
        let mut tally = Tally::default();
        loop {
            let mut len = [0; 8];
            match told.read(&mut len)? {
                0 => return Ok(tally),
                some => told.read_exact(&mut len[some..])?,
            }
            let mut about = [0; 2];
            told.read_exact(&mut about)?;
            let mut sent = vec![0; usize::try_from(u64::from_le_bytes(len))?];
            told.read_exact(&mut sent)?;
            let (due, ending) = (about[0] == 1, ending(about[1]));
            let (mut stream, _) = self.listener.accept()?;
            let received = receive(&mut stream, tally.conversations, ending)?;
            let written = compare(&sent, &received, due, ending)
                .with_context(|| format!("conversation {}", tally.conversations))?;
            if ending == Ending::HalfClose {
                stream.write_all(&reply(&sent))?;
            }
            tally.conversations += 1;
            // What a broken connection has carried is not known.
            if due && ending == Ending::HalfClose {
                tally.due += 1;
                tally.written += u64::from(written);
            }
        }
    }
}

fn ending(byte: u8) -> Ending {
    if byte == Ending::Reset as u8 {
        Ending::Reset
    } else {
        Ending::HalfClose
    }
}

/// Up to the end; now and then slowly, in small pieces.
fn receive(stream: &mut TcpStream, number: u64, ending: Ending) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut received = Vec::new();
    if number.is_multiple_of(7) {
        let mut piece = [0; 100];
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(1));
            match stream.read(&mut piece) {
                Ok(count) => received.extend_from_slice(&piece[..count]),
                Err(_) if ending == Ending::Reset => return Ok(received),
                Err(error) => return Err(error.into()),
            }
        }
    }
    match stream.read_to_end(&mut received) {
        Err(error) if ending == Ending::HalfClose => Err(error.into()),
        _ => Ok(received),
    }
}
