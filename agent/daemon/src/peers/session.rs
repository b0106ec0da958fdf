//! One connection to another agent, from its greeting to its end.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    sync::mpsc,
    time::timeout,
};
use weft_flow::PeerEvent;
use weft_proto::peering::{Decoder, Hello, Malformed, Message, VERSIONS, encode};

use super::roster::{Admitted, AgentId, Roster};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("peer: no greeting within {GREETING:?}")]
    Silent,
    #[error("peer: speaks versions {} to {} of the protocol, this agent {} to {}", .0.0, .0.1, VERSIONS.0, VERSIONS.1)]
    Version((u8, u8)),
    #[error("peer: it is this agent itself")]
    Itself,
    #[error("peer: there is another connection to it")]
    Twice(AgentId),
    #[error("peer: takes nothing for {STUCK:?}")]
    Stuck,
    #[error("peer: has closed the connection")]
    Closed,
}

/// Which end has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialer,
    Listener,
}

/// Of the handshake, and again of the greeting.
pub(super) const GREETING: Duration = Duration::from_secs(5);
const STUCK: Duration = Duration::from_secs(30);
/// What has closed may be followed by another session so long after.
const LAST_WORDS: Duration = Duration::from_secs(1);
const READ: usize = 16 * 1024;
/// Messages of one write.
const BATCH: usize = 1024;
/// Writes wait so long for company.
const COMPANY: Duration = Duration::from_millis(2);
/// Messages that a peer may send in a second; more wait in its socket.
const MESSAGES_PER_SECOND: f64 = 50_000.0;

/// Runs until either end has enough. Gives the other agent's id.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    side: Side,
    name: &str,
    roster: &Arc<Roster>,
) -> Result<AgentId, Error> {
    let mut decoder = Decoder::default();
    let figures = &roster.figures;
    let greeting = timeout(GREETING, greet(&mut stream, &mut decoder, roster.own)).await;
    let (hello, early) = greeting
        .unwrap_or(Err(Error::Silent))
        .inspect_err(|_| figures.refused_greeting.add(1))?;
    if hello.agent == roster.own {
        return Err(Error::Itself);
    }
    let (lowest, highest) = hello.versions;
    if lowest > VERSIONS.1 || highest < VERSIONS.0 {
        figures.refused_version.add(1);
        return Err(Error::Version(hello.versions));
    }
    let dialer = match side {
        Side::Dialer => roster.own,
        Side::Listener => hello.agent,
    };
    let Admitted {
        peer,
        session,
        is_first,
        outbox,
    } = roster.admit(hello.agent, dialer);
    log::info!("peer {name} is connected");
    let mut events: Vec<_> = is_first.then_some(PeerEvent::Up).into_iter().collect();
    events.extend(early.into_iter().map(PeerEvent::Says));
    roster.tell(peer, events).await;
    let (read, write) = split(stream);
    let result = to_the_end(
        listen(read, decoder, |events| roster.tell(peer, events)),
        speak(write, outbox),
    )
    .await;
    let had_seat = roster.dismiss(&hello.agent, session);
    if had_seat {
        roster.tell(peer, vec![PeerEvent::Down]).await;
    }
    match result {
        Err(Error::Malformed(fault)) => {
            figures.malformed.add(1);
            log::warn!("{fault}: {name} is disconnected");
        }
        Err(error) => log::info!("peer {name} is disconnected: {error}"),
        Ok(()) => {}
    }
    if had_seat {
        Ok(hello.agent)
    } else {
        Err(Error::Twice(hello.agent))
    }
}

/// `speaking` ends without an error when another session has taken over: what the peer still says here is heard.
/// So it is for the peer, which may have closed because of that.
async fn to_the_end(
    listening: impl Future<Output = Result<(), Error>>,
    speaking: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::pin!(listening, speaking);
    tokio::select! {
        heard = &mut listening => match heard {
            Err(Error::Closed) => timeout(LAST_WORDS, speaking).await.unwrap_or(heard),
            _ => heard,
        },
        said = &mut speaking => match said {
            Ok(()) => timeout(GREETING, listening).await.unwrap_or(Ok(())),
            Err(_) => said,
        },
    }
}

/// Says who we are and hears who they are, and what came with it.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    decoder: &mut Decoder,
    own: AgentId,
) -> Result<(Hello, Vec<Message>), Error> {
    let hello = Message::Hello(Hello {
        versions: VERSIONS,
        agent: own,
    });
    let mut bytes = Vec::new();
    encode([&hello], &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let mut buffer = [0; 512];
    let mut heard = Vec::new();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(Error::Closed);
        }
        decoder.feed(&buffer[..count], |message| heard.push(message))?;
        if heard.is_empty() {
            continue;
        }
        return match heard.remove(0) {
            Message::Hello(hello) => Ok((hello, heard)),
            _ => Err(Malformed::Greeting.into()),
        };
    }
}

async fn listen<F: Future<Output = ()>>(
    mut stream: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    tell: impl Fn(Vec<PeerEvent>) -> F,
) -> Result<(), Error> {
    let mut buffer = vec![0; READ];
    let mut pace = Pace::new();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(Error::Closed);
        }
        let mut events = Vec::new();
        let fed = decoder.feed(&buffer[..count], |message| {
            events.push(PeerEvent::Says(message));
        });
        let wait = pace.after(events.len());
        tell(events).await;
        fed?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

async fn speak(
    mut stream: impl AsyncWrite + Unpin,
    mut outbox: mpsc::Receiver<Message>,
) -> Result<(), Error> {
    let mut messages = Vec::new();
    let mut bytes = Vec::new();
    loop {
        if outbox.recv_many(&mut messages, BATCH).await == 0 {
            return Ok(stream.shutdown().await?);
        }
        if messages.len() < BATCH {
            tokio::time::sleep(COMPANY).await;
            while messages.len() < BATCH
                && let Ok(message) = outbox.try_recv()
            {
                messages.push(message);
            }
        }
        bytes.clear();
        encode(&messages, &mut bytes);
        messages.clear();
        let sent = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        timeout(STUCK, sent).await.map_err(|_| Error::Stuck)??;
    }
}

/// How long one has to wait so that no more than [`MESSAGES_PER_SECOND`] come, a second's worth at once.
struct Pace {
    /// Seconds of messages that have come too early.
    ahead: f64,
    last: Instant,
}

impl Pace {
    fn new() -> Self {
        Self {
            ahead: -1.0,
            last: Instant::now(),
        }
    }

    fn after(&mut self, messages: usize) -> Duration {
        let now = Instant::now();
        let passed = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        self.ahead = (self.ahead - passed).max(-1.0) + messages as f64 / MESSAGES_PER_SECOND;
        Duration::from_secs_f64(self.ahead.max(0.0))
    }
}
