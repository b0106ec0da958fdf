//! Agents on this machine's loopback, and those who pretend to be one.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use weft_flow::{PeerEvent, PeerId};
use weft_proto::peering::{Hello, Message, Reason, Refusal, encode};

use super::*;
use crate::config::Text as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// More than a greeting and the wait between two attempts to connect that may begin at its end.
const LIMIT: Duration = Duration::from_secs(30);

struct Agent {
    running: Running,
    exchange: Exchange,
    registry: Registry,
}

/// Gone when dropped.
struct File(PathBuf);

impl File {
    fn of(text: &str) -> Self {
        let name = format!(
            "weft-peers-{}-{:x}",
            std::process::id(),
            rand::random::<u64>()
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn peers(secret: &File, connect: &[SocketAddr]) -> Peers {
    Peers {
        listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        connect: places(connect),
        secret_file: Some(secret.0.clone()),
        ..Peers::default()
    }
}

fn places(addresses: &[SocketAddr]) -> Vec<crate::config::Place> {
    let place = |address: &SocketAddr| crate::config::Place::read(&address.to_string()).unwrap();
    addresses.iter().map(place).collect()
}

impl Agent {
    fn start(peers: &Peers) -> Self {
        let registry = Registry::default();
        let (running, exchange) = start(peers, &registry).unwrap();
        Self {
            running,
            exchange,
            registry,
        }
    }

    fn address(&self) -> SocketAddr {
        self.running.address.unwrap()
    }

    fn figure(&self, name: &str, label: &str) -> u64 {
        let gathered = self.registry.gather();
        let samples = &gathered.families[name].samples;
        let of_label = samples.iter().filter(|sample| {
            label.is_empty() || sample.labels.iter().any(|(_, value)| value == label)
        });
        of_label.map(|sample| sample.value as u64).sum()
    }

    /// What is heard until `enough`.
    fn hear(
        &mut self,
        enough: impl Fn(&[(PeerId, PeerEvent)]) -> bool,
    ) -> Vec<(PeerId, PeerEvent)> {
        let begin = Instant::now();
        let mut heard: Vec<(PeerId, PeerEvent)> = Vec::new();
        while !enough(&heard) {
            assert!(begin.elapsed() < LIMIT, "{heard:?}");
            self.exchange.hear(|peer, event| heard.push((peer, event)));
            thread::sleep(Duration::from_millis(5));
        }
        heard
    }

    fn until_up(&mut self) -> PeerId {
        let up = |heard: &[(PeerId, PeerEvent)]| {
            heard
                .iter()
                .any(|(_, event)| matches!(event, PeerEvent::Up))
        };
        self.hear(up)[0].0
    }

    /// For so long nobody is admitted.
    fn stays_alone(&mut self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.exchange.hear(|_, event| panic!("{event:?}"));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn refusal(id: u32) -> Message {
    Message::Refusal(Refusal {
        id,
        reason: Reason::Busy,
    })
}

fn said(heard: &[(PeerId, PeerEvent)]) -> Vec<u32> {
    let id = |event: &PeerEvent| match event {
        PeerEvent::Says(Message::Refusal(refusal)) => Some(refusal.id),
        _ => None,
    };
    heard.iter().filter_map(|(_, event)| id(event)).collect()
}

#[test]
fn two_agents_and_their_end() {
    let secret = File::of(SECRET);
    let mut one = Agent::start(&peers(&secret, &[]));
    let mut other = Agent::start(&peers(&secret, &[one.address()]));
    let (at_one, at_other) = (one.until_up(), other.until_up());
    let both = |from: &Agent, to: &mut Agent, peer| {
        let numbers: Vec<u32> = (0..5000).collect();
        from.exchange
            .say(numbers.iter().map(|id| (peer, refusal(*id))).collect());
        assert_eq!(said(&to.hear(|heard| said(heard).len() == 5000)), numbers);
    };
    both(&one, &mut other, at_one);
    both(&other, &mut one, at_other);
    drop(other);
    let heard = one.hear(|heard| !heard.is_empty());
    assert!(matches!(heard[..], [(peer, PeerEvent::Down)] if peer == at_one));
    // To who has gone, nothing is said.
    one.exchange.say(vec![(at_one, refusal(1))]);
    let begin = Instant::now();
    while one.figure("weft_peer_messages_dropped_total", "gone") == 0 {
        assert!(begin.elapsed() < LIMIT);
    }
    assert_eq!(one.figure("weft_peers_connected", ""), 0);
}

#[test]
fn agents_that_dial_each_other_and_themselves() {
    let secret = File::of(SECRET);
    let free = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    // What either says while they settle on one of two connections arrives.
    const MESSAGES: u32 = 500;
    for _ in 0..5 {
        let addresses = [free(), free()];
        let mut agents = addresses.map(|address| {
            Agent::start(&Peers {
                listen: Some(address),
                ..peers(&secret, &addresses)
            })
        });
        let others = agents.each_mut().map(Agent::until_up);
        for id in 0..MESSAGES {
            for (agent, other) in agents.iter().zip(others) {
                agent.exchange.say(vec![(other, refusal(id))]);
            }
            thread::sleep(Duration::from_millis(1));
        }
        for agent in &mut agents {
            let heard = agent.hear(|heard| said(heard).len() as u32 == MESSAGES);
            let mut numbers = said(&heard);
            numbers.sort_unstable();
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
            assert_eq!(heard.len(), numbers.len(), "nobody has gone, or come twice");
            assert_eq!(agent.figure("weft_peers_connected", ""), 1);
        }
    }
}

#[test]
fn who_has_another_secret_is_no_peer() {
    let (secret, another) = (
        File::of(SECRET),
        File::of("another secret of thirty-two bytes"),
    );
    let mut one = Agent::start(&peers(&secret, &[]));
    let mut other = Agent::start(&peers(&another, &[one.address()]));
    other.stays_alone(Duration::from_secs(1));
    one.stays_alone(Duration::from_millis(10));
    assert!(one.figure("weft_peer_connections_total", "tls") > 0);
    assert!(other.figure("weft_peer_connections_total", "tls") > 0);
    assert_eq!(one.figure("weft_peer_connections_total", "accepted"), 0);
}

#[test]
fn secrets_that_are_none() {
    for (text, word) in [("short\n", "5 bytes"), ("", "0 bytes")] {
        let file = File::of(text);
        let error = Identity::read(&peers(&file, &[]))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(word) && error.contains("secret_file"),
            "{error}"
        );
    }
    let gone = Peers {
        secret_file: Some("/nowhere/at/all".into()),
        ..Peers::default()
    };
    let error = Identity::read(&gone).err().unwrap().to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}

#[test]
fn certificates() {
    let mut parameters = rcgen::CertificateParams::new(vec!["weft".to_owned()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let of_name = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = parameters.signed_by(&key, &issuer).unwrap();
        (File::of(&signed.pem()), File::of(&key.serialize_pem()))
    };
    let roots = File::of(&authority.pem());
    let by = |(certificate, key): &(File, File), connect: &[SocketAddr]| Peers {
        listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        connect: places(connect),
        certificate: Some(certificate.0.clone()),
        key: Some(key.0.clone()),
        authority: Some(roots.0.clone()),
        server_name: Some("agent.weft".to_owned()),
        ..Peers::default()
    };
    let (right, wrong) = (of_name("agent.weft"), of_name("other.weft"));
    let mut one = Agent::start(&by(&right, &[]));
    let mut other = Agent::start(&by(&right, &[one.address()]));
    one.until_up();
    other.until_up();
    // The name is not the one that is expected.
    let stranger = Agent::start(&by(&wrong, &[]));
    let mut other = Agent::start(&by(&right, &[stranger.address()]));
    other.stays_alone(Duration::from_millis(500));
    // And who has a secret only.
    let secret = File::of(SECRET);
    let mut other = Agent::start(&peers(&secret, &[stranger.address()]));
    other.stays_alone(Duration::from_millis(500));
}

/// Passes bytes on between `to` and whoever connects, and keeps what that one has sent.
fn tap(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let (mut from, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from, &mut back).ok());
        let mut bytes = [0; 4096];
        while let Ok(count) = client.read(&mut bytes) {
            if count == 0 || server.write_all(&bytes[..count]).is_err() {
                return;
            }
            keep.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    (address, kept)
}

#[test]
fn what_was_said_once_is_worth_nothing_again() {
    let secret = File::of(SECRET);
    let mut one = Agent::start(&peers(&secret, &[]));
    let (through, kept) = tap(one.address());
    let mut other = Agent::start(&peers(&secret, &[through]));
    one.until_up();
    let peer = other.until_up();
    other.exchange.say(vec![(peer, refusal(7))]);
    one.hear(|heard| said(heard) == [7]);
    let bytes = kept.lock().unwrap().clone();
    assert!(bytes.len() > 200);
    let refused = one.figure("weft_peer_connections_total", "tls");
    let mut again = TcpStream::connect(one.address()).unwrap();
    again.write_all(&bytes).unwrap();
    one.stays_alone(Duration::from_millis(500));
    assert_eq!(
        one.figure("weft_peer_connections_total", "tls"),
        refused + 1
    );
}

/// With the secret, and with whatever it likes to say.
fn insider(to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let identity = Identity::of_secret(SECRET.as_bytes()).unwrap();
    let name = ServerName::try_from("x").unwrap();
    let client = ClientConnection::new(identity.client, name).unwrap();
    StreamOwned::new(client, TcpStream::connect(to).unwrap())
}

fn hello(versions: (u8, u8)) -> Vec<u8> {
    let hello = Message::Hello(Hello {
        versions,
        agent: [9; 16],
    });
    let mut bytes = Vec::new();
    encode([&hello], &mut bytes);
    bytes
}

#[test]
fn an_insider_gone_mad() {
    let secret = File::of(SECRET);
    let mut one = Agent::start(&peers(&secret, &[]));
    for (bytes, figure) in [
        (hello((7, 9)), "version"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "greeting"),
        (vec![0, 1, 2, 0xff], "malformed"),
        (vec![0xff; 10], "malformed"),
    ] {
        let before = one.figure("weft_peer_connections_total", figure);
        let mut stream = insider(one.address());
        if figure == "malformed" {
            stream.write_all(&hello((1, 1))).unwrap();
            one.until_up();
        }
        stream.write_all(&bytes).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        // It is counted when the connection has been closed.
        let begin = Instant::now();
        let counted = || one.figure("weft_peer_connections_total", figure);
        while counted() == before {
            assert!(begin.elapsed() < LIMIT, "{figure}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(counted(), before + 1, "{figure}");
    }
    // Newer agents may still speak what this one speaks, and say what it does not know.
    let mut stream = insider(one.address());
    stream
        .write_all(&[hello((1, 9)), vec![0, 2, 99, 1, 2]].concat())
        .unwrap();
    one.until_up();
}

/// It reads nothing: what is for it is dropped, what is for others arrives.
#[test]
fn a_slow_peer_costs_nobody_else() {
    let secret = File::of(SECRET);
    let mut one = Agent::start(&peers(&secret, &[]));
    let mut slow = insider(one.address());
    slow.write_all(&hello((1, 1))).unwrap();
    let to_slow = one.until_up();
    let mut other = Agent::start(&peers(&secret, &[one.address()]));
    let to_other = one.until_up();
    other.until_up();
    let begin = Instant::now();
    let mut id = 0;
    while one.figure("weft_peer_messages_dropped_total", "slow") == 0 {
        assert!(begin.elapsed() < LIMIT);
        one.exchange
            .say((0..10_000).map(|id| (to_slow, refusal(id))).collect());
        one.exchange.say(vec![(to_other, refusal(id))]);
        assert_eq!(said(&other.hear(|heard| !said(heard).is_empty())), [id]);
        id += 1;
    }
}

#[test]
fn silent_connections_do_not_fill_the_door() {
    let secret = File::of(SECRET);
    let mut one = Agent::start(&peers(&secret, &[]));
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(one.address()).unwrap())
        .collect();
    let begin = Instant::now();
    while one.figure("weft_peer_connections_total", "busy") < 12 {
        assert!(begin.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(5));
    }
    // They are sent away in time.
    let mut other = Agent::start(&peers(&secret, &[one.address()]));
    other.until_up();
    one.until_up();
    drop(silent);
}
