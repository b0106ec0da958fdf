//! Connections to the agents of other nodes, on a thread of their own.
//!
//! ```text
//!   dial ──┐                          ┌─ events (bounded) ─▶ pipeline's thread, woken by a bell
//!          ├─▶ session: TLS, greeting ┤
//!   listen ┘                          └◀ messages (bounded) ─ pipeline's thread
//! ```
//! What a peer does costs its own session alone: what it does not read is dropped and counted, what it sends
//! too fast waits in its socket.

mod bell;
mod counted;
mod dial;
mod identity;
mod listen;
mod roster;
mod session;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime,
    sync::{Notify, mpsc},
};
use weft_flow::{PeerEvent, PeerId};
use weft_proto::peering::Message;

use crate::{
    bpf::{Capability, State},
    config::{Peers, Text},
    telemetry::{Counter, Registry},
};

use self::{bell::Bell, roster::Roster};

pub(crate) use self::identity::{Error as IdentityError, Identity};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("peers.listen: {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("peers: {0}")]
    Io(#[from] io::Error),
}

/// The pipeline's end.
pub(crate) struct Exchange {
    events: mpsc::Receiver<Heard>,
    messages: mpsc::Sender<Vec<(PeerId, Message)>>,
    bell: Bell,
    dropped: Counter,
}

/// Of one session, in order.
type Heard = (PeerId, Vec<PeerEvent>);

/// The thread; ends when dropped.
pub(crate) struct Running {
    pub(crate) address: Option<SocketAddr>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// Batches of events that wait for the pipeline's thread: each is what one read brought.
const EVENTS: usize = 256;
/// Of them, taken at one look.
const AT_ONCE: usize = 16;
/// Batches of messages that wait to be shared out.
const MESSAGES: usize = 1024;

/// For `weft doctor`.
pub(crate) fn capability(peers: &Peers) -> Capability {
    let state = if !peers.is_on() {
        State::Off {
            reason: "no peers are configured".to_owned(),
            fix: "peers.listen and peers.connect (deploy/weft.yaml)",
        }
    } else if let Err(error) = Identity::read(peers) {
        State::Off {
            reason: error.to_string(),
            fix: "see peers in deploy/weft.yaml",
        }
    } else {
        let listen = peers.listen.map(|address| format!("listens at {address}"));
        let connect = peers.connect.iter().map(Text::write);
        let connect = connect.map(|place| format!("connects to {place}"));
        State::On(
            listen
                .into_iter()
                .chain(connect)
                .collect::<Vec<_>>()
                .join(", "),
        )
    };
    Capability {
        name: "links between nodes",
        state,
    }
}

/// Listens and connects as configured.
pub(crate) fn start(peers: &Peers, registry: &Registry) -> Result<(Running, Exchange), Error> {
    let identity = Identity::read(peers)?;
    let listener = match peers.listen {
        Some(address) => {
            let fault = |source| Error::Listen { address, source };
            let listener = std::net::TcpListener::bind(address).map_err(fault)?;
            listener.set_nonblocking(true)?;
            Some(listener)
        }
        None => None,
    };
    let address = listener
        .as_ref()
        .map(std::net::TcpListener::local_addr)
        .transpose()?;
    let bell = Bell::new()?;
    let (events_in, events) = mpsc::channel(EVENTS);
    let (messages, messages_out) = mpsc::channel(MESSAGES);
    let roster = Roster::new(events_in, bell.clone(), registry);
    let stop = Arc::new(Notify::new());
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stopped, configured) = (Arc::clone(&stop), peers.clone());
    let shared = Arc::clone(&roster);
    let thread = thread::Builder::new()
        .name("weft-peers".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let all = async {
                    tokio::join!(
                        listen::accept(listener, &identity, &shared),
                        dial::all(&configured, &identity, &shared),
                        shared.share_out(messages_out),
                    )
                };
                tokio::select! {
                    _ = all => {}
                    () = stopped.notified() => {}
                }
            });
        })?;
    let running = Running {
        address,
        stop,
        thread: Some(thread),
    };
    let exchange = Exchange {
        events,
        messages,
        bell,
        dropped: roster.figures.dropped_pipeline.clone(),
    };
    Ok((running, exchange))
}

// === impl Exchange ===

impl Exchange {
    /// Readable when there is something to be heard.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Some of what has come, in order; the bell goes on ringing if there is more.
    pub(crate) fn hear(&mut self, mut each: impl FnMut(PeerId, PeerEvent)) {
        if self.events.is_empty() {
            return;
        }
        self.bell.silence();
        for _ in 0..AT_ONCE {
            let Ok((peer, events)) = self.events.try_recv() else {
                return;
            };
            events.into_iter().for_each(|event| each(peer, event));
        }
        self.bell.ring();
    }

    /// Waits for nobody: what finds no room is dropped.
    pub(crate) fn say(&self, messages: Vec<(PeerId, Message)>) {
        let count = messages.len() as u64;
        if count > 0 && self.messages.try_send(messages).is_err() {
            self.dropped.add(count);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
