//! Agents that connect to this one.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    Identity,
    counted::Counted,
    roster::Roster,
    session::{self, Error, GREETING, Side},
};

/// Connections that have not proved yet who they are, of all and of one address.
const STRANGERS: usize = 64;
const STRANGERS_OF_ONE: usize = 8;

#[derive(Default)]
struct Door {
    by_address: HashMap<IpAddr, usize>,
    all: usize,
}

/// Never ends; without a listener it does nothing.
pub(super) async fn accept(
    listener: Option<TcpListener>,
    identity: &Identity,
    roster: &Arc<Roster>,
) -> io::Result<()> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.server));
    let door = Arc::new(Mutex::new(Door::default()));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer has gone already.
                log::debug!("peers: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&door, from.ip()) else {
            roster.figures.refused_busy.add(1);
            continue;
        };
        let (acceptor, roster) = (acceptor.clone(), Arc::clone(roster));
        tokio::spawn(async move {
            if let Err(error) = serve(stream, acceptor, place, &from.to_string(), &roster).await {
                log::debug!("peer {from}: {error}");
            }
        });
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    place: Place,
    name: &str,
    roster: &Arc<Roster>,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let figures = &roster.figures;
    let stream = Counted::new(stream, figures);
    let stream = match timeout(GREETING, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        failed => {
            figures.refused_tls.add(1);
            return match failed {
                Ok(Err(error)) => Err(Error::Tls(error)),
                _ => Err(Error::Silent),
            };
        }
    };
    // It has the secret.
    drop(place);
    figures.accepted.add(1);
    session::run(stream, Side::Listener, name, roster)
        .await
        .map(drop)
}

/// Given back when dropped.
struct Place {
    door: Arc<Mutex<Door>>,
    address: IpAddr,
}

impl Place {
    fn take(door: &Arc<Mutex<Door>>, address: IpAddr) -> Option<Self> {
        let mut inside = door.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = inside.by_address.get(&address).copied().unwrap_or(0);
        if inside.all >= STRANGERS || of_one >= STRANGERS_OF_ONE {
            return None;
        }
        inside.all += 1;
        inside.by_address.insert(address, of_one + 1);
        Some(Self {
            door: Arc::clone(door),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        if let Some(count) = inside.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}
