//! Agents that this one connects to, and connects to again.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    Identity,
    counted::Counted,
    roster::{AgentId, Roster},
    session::{self, Error, GREETING, Side},
};
use crate::{
    config::{Peers, Place},
    export::Resolve,
};

const LOOK_UP: Duration = Duration::from_secs(30);
/// Waits between attempts grow from the first to the longest, each with a random share taken off.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// Addresses that one name may stand for.
const MAX_ADDRESSES: usize = 1024;

/// Never ends.
pub(super) async fn all(peers: &Peers, identity: &Identity, roster: &Arc<Roster>) {
    let resolve = Resolve::from_system();
    let mut places = JoinSet::new();
    for place in &peers.connect {
        let (place, resolve) = (place.clone(), resolve.clone());
        let target = Target {
            connector: TlsConnector::from(Arc::clone(&identity.client)),
            name: peers.server_name.clone().unwrap_or(place.host.clone()),
            roster: Arc::clone(roster),
        };
        places.spawn(async move { follow(&place, &resolve, &target).await });
    }
    while places.join_next().await.is_some() {}
    std::future::pending::<()>().await;
}

/// Keeps a connection to every address that the name stands for.
async fn follow(place: &Place, resolve: &Resolve, target: &Target) {
    let mut dialed: HashMap<SocketAddr, AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut failed = false;
    loop {
        match addresses(place, resolve).await {
            Ok(found) => {
                failed = false;
                dialed.retain(|address, task| {
                    let stays = found.contains(address);
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                for address in found {
                    dialed.entry(address).or_insert_with(|| {
                        let target = target.clone();
                        tasks.spawn(async move { target.keep(address).await })
                    });
                }
            }
            // Those that are known are kept.
            Err(error) if !failed => {
                failed = true;
                log::warn!("peers.connect: {error}");
            }
            Err(_) => {}
        }
        sleep(LOOK_UP).await;
        while tasks.try_join_next().is_some() {}
    }
}

async fn addresses(place: &Place, resolve: &Resolve) -> io::Result<HashSet<SocketAddr>> {
    let found = match place.host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolve.addresses(&place.host).await?,
    };
    let with_port = |address| SocketAddr::new(address, place.port);
    Ok(found
        .into_iter()
        .map(with_port)
        .take(MAX_ADDRESSES)
        .collect())
}

#[derive(Clone)]
struct Target {
    connector: TlsConnector,
    /// What the peer's certificate has to say.
    name: String,
    roster: Arc<Roster>,
}

impl Target {
    /// One connection after the other.
    async fn keep(&self, address: SocketAddr) {
        let mut wait = FIRST;
        let mut told = false;
        loop {
            match self.once(address).await {
                Ok(_) => (wait, told) = (FIRST, false),
                Err(Error::Itself) => {
                    log::debug!("peer {address}: it is this agent itself");
                    return std::future::pending().await;
                }
                Err(Error::Twice(agent)) => {
                    while self.roster.has(&agent) {
                        sleep(FIRST).await;
                    }
                    (wait, told) = (FIRST, false);
                }
                Err(error) if !told => {
                    told = true;
                    log::warn!("peer {address}: {error}");
                }
                Err(error) => log::debug!("peer {address}: {error}"),
            }
            sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    async fn once(&self, address: SocketAddr) -> Result<AgentId, Error> {
        let figures = &self.roster.figures;
        let name = ServerName::try_from(self.name.clone())
            .map_err(|error| Error::Tls(io::Error::other(error)))?;
        let stream = timeout(GREETING, TcpStream::connect(address))
            .await
            .map_err(|_| Error::Silent)??;
        stream.set_nodelay(true)?;
        let stream = Counted::new(stream, figures);
        let tls = timeout(GREETING, self.connector.connect(name, stream)).await;
        let stream = match tls {
            Ok(Ok(stream)) => stream,
            failed => {
                figures.refused_tls.add(1);
                return match failed {
                    Ok(Err(error)) => Err(Error::Tls(error)),
                    _ => Err(Error::Silent),
                };
            }
        };
        figures.dialed.add(1);
        session::run(stream, Side::Dialer, &address.to_string(), &self.roster).await
    }
}
