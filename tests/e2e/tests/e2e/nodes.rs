//! One trace over two nodes, with nothing written into requests: two agents that share nothing but the wire.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use weft_e2e::network::Pair;
use weft_e2e::nodes::{Node, Nodes, Tally};
use weft_e2e::{Scene, Spans, on_scene};
use weft_workloads::programs::{self, Go, Grpc, GrpcKind, Nginx, Security};
use weft_workloads::{Group, Listen, Running};

/// Waits for a line; then so many threads make so many requests each (0: until the next line), on a connection of their own.
const CLIENT: &str = r#"
import http.client, itertools, ssl, sys, threading, time
base, threads, rounds, pause, tag, more, *source = sys.argv[1:]
source = (source[0], 0) if source else None
scheme, place = base.split("://")
failed = []
stop = []
def work(number):
    context = ssl._create_unverified_context()
    made = http.client.HTTPSConnection(place, timeout=30, source_address=source, context=context) if scheme == "https" else http.client.HTTPConnection(place, timeout=30, source_address=source)
    for turn in itertools.count():
        if turn == int(rounds) if int(rounds) else stop:
            break
        made.request("GET", f"/hop/{tag}-{number}-{turn}{more}")
        answer = made.getresponse()
        body = answer.read()
        if answer.status != 200:
            failed.append(body)
        time.sleep(float(pause))
sys.stdin.readline()
all = [threading.Thread(target=work, args=(number,)) for number in range(int(threads))]
for one in all: one.start()
if not int(rounds):
    sys.stdin.readline()
    stop.append(True)
for one in all: one.join()
sys.exit(repr(failed[0]) if failed else None)
"#;

/// A client that waits for its sign.
struct Client(Child);

impl Client {
    fn start(nodes: &Nodes<'_>, node: Node, command: &Command) -> Result<Self> {
        let mut command = Pair::within(nodes.space(node), command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Until then it is another program.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self(child))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn go(&mut self) -> Result<()> {
        let input = self.0.stdin.as_mut().context("no standard input")?;
        Ok(input.write_all(b"go\n")?)
    }

    fn finish(mut self) -> Result<()> {
        self.go().ok();
        let output = self.0.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

fn client(
    scene: &Scene,
    to: &str,
    threads: usize,
    rounds: usize,
    pause: f64,
    via: &str,
) -> Command {
    let mut client = programs::python(&scene.workloads, CLIENT);
    let numbers = [threads.to_string(), rounds.to_string(), pause.to_string()];
    client.arg(to).args(numbers).args([&scene.tag, via]);
    client
}

fn at(nodes: &Nodes<'_>, node: Node, port: u16) -> Result<Listen> {
    Ok(Listen::Tcp(
        format!("{}:{port}", nodes.address(node)).parse()?,
    ))
}

fn go(scene: &Scene, nodes: &Nodes<'_>, node: Node, port: u16) -> Result<Running> {
    let mut go = Go::new("go");
    go.listen = Some(at(nodes, node, port)?);
    scene.workloads.spawn_in(nodes.space(node), &go)
}

fn nginx(scene: &Scene, nodes: &Nodes<'_>, node: Node, port: u16, nginx: Nginx) -> Result<Running> {
    let nginx = nginx.listen(at(nodes, node, port)?);
    scene.workloads.spawn_in(nodes.space(node), &nginx)
}

/// client (a) -> Go (b) -> Go (a) -> nginx (b) -> HTTPS -> nginx (a), from many connections at once.
#[test]
fn a_chain_there_and_back() -> Result<()> {
    on_scene(
        &[Group::Web, Group::Go, Group::Python, Group::Load],
        |scene| {
            const THREADS: usize = 64;
            const ROUNDS: usize = 4;
            let nodes = Nodes::make(scene, "10.90.0")?;
            let last = Nginx::new()
                .tls()?
                .directive("location / { return 200 '{}'; }");
            let last = nginx(scene, &nodes, Node::A, 8443, last)?;
            let third = Nginx::new().proxy("/", &last.url().replace("http://", "https://"));
            let third = nginx(scene, &nodes, Node::B, 8083, third)?;
            let second = go(scene, &nodes, Node::A, 8082)?;
            let first = go(scene, &nodes, Node::B, 8081)?;
            let via = format!("?via={},{}", second.url(), third.url());
            let command = client(scene, &first.url(), THREADS, ROUNDS, 0.0, &via);
            let client = Client::start(&nodes, Node::A, &command)?;
            let pids = |running: &[&Running]| -> Vec<u32> {
                running.iter().flat_map(|running| running.pids()).collect()
            };
            let of_a = [vec![client.pid()], pids(&[&second, &last])].concat();
            let of_b = pids(&[&first, &third]);
            let a = nodes.agent(Node::A, &of_a)?;
            let b = nodes.agent(Node::B, &of_b)?;
            nodes.connected()?;
            let chain = [
                vec![client.pid()],
                first.pids(),
                second.pids(),
                third.pids(),
                last.pids(),
            ];
            client.finish()?;
            let spans = ended(scene, &nodes, a, b)?;
            for pair in chain.windows(2) {
                Tally::of(&spans, &pair[0], &pair[1])?.check(THREADS * ROUNDS)?;
            }
            // And what is linked within the nodes hangs on the same traces.
            for span in &spans.of(&chain[4]).servers().0 {
                let root = spans.at(span.path()).of(&chain[0]);
                ensure!(span.trace_id == root.one()?.trace_id, "{span}");
            }
            Ok(())
        },
    )
}

/// Lets both end when what they have to tell each other is told.
fn ended(scene: &Scene, nodes: &Nodes<'_>, a: weft_e2e::Weft, b: weft_e2e::Weft) -> Result<Spans> {
    std::thread::sleep(Duration::from_millis(2500));
    let cost = nodes.cost();
    let mut spans = Spans::default();
    for weft in [a, b] {
        spans.0.extend(Spans::of_json_lines(&weft.stop()?)?.0);
    }
    cost?;
    Ok(spans.filter(|span| span.path().contains(&scene.tag)))
}

/// Calls `Hop`, which goes on along `via`.
const CALLER: &str = r#"
import grpc, sys, threading
place, threads, rounds, tag, via = sys.argv[1:]
same = lambda data: data
channel = grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)])
failed = []
def work(number):
    for turn in range(int(rounds)):
        call = channel.unary_unary(f"/{tag}-{number}-{turn}.Echo/Hop-0", request_serializer=same, response_deserializer=same)
        try:
            call(b"", metadata=[("via", via)], timeout=30)
        except Exception as error:
            failed.append(repr(error))
sys.stdin.readline()
all = [threading.Thread(target=work, args=(number,)) for number in range(int(threads))]
for one in all: one.start()
for one in all: one.join()
sys.exit(failed[0] if failed else None)
"#;

/// client (a) -> gRPC (b) -> gRPC in TLS (a) -> gRPC (b): many calls at once on one connection.
#[test]
fn calls_in_streams() -> Result<()> {
    on_scene(&[Group::Grpc, Group::Load], |scene| {
        const THREADS: usize = 32;
        const ROUNDS: usize = 8;
        let nodes = Nodes::make(scene, "10.91.0")?;
        let start = |node, port, security| -> Result<Running> {
            let mut grpc = Grpc::new(GrpcKind::Go, security)?;
            grpc.listen = Some(at(&nodes, node, port)?);
            scene.workloads.spawn_in(nodes.space(node), &grpc)
        };
        let first = start(Node::B, 8081, Security::Plaintext)?;
        let second = start(Node::A, 8082, Security::Tls)?;
        let third = start(Node::B, 8083, Security::Plaintext)?;
        let via = format!(
            "https://{},http://{}",
            second.listen().text(),
            third.listen().text()
        );
        let mut command = programs::python(&scene.workloads, CALLER);
        command
            .arg(first.listen().text())
            .args([THREADS.to_string(), ROUNDS.to_string()])
            .args([&scene.tag, &via]);
        let client = Client::start(&nodes, Node::A, &command)?;
        let a = nodes.agent(Node::A, &[client.pid(), second.pid()])?;
        let b = nodes.agent(Node::B, &[first.pid(), third.pid()])?;
        nodes.connected()?;
        let chain = [client.pid(), first.pid(), second.pid(), third.pid()];
        client.finish()?;
        let spans = ended(scene, &nodes, a, b)?;
        for pair in chain.windows(2) {
            Tally::of(&spans, &pair[..1], &pair[1..])?.check(THREADS * ROUNDS)?;
        }
        Ok(())
    })
}

/// An agent is killed and comes back while requests go on: what was lost is missing, and nothing is wrong.
#[test]
fn an_agent_that_comes_back() -> Result<()> {
    on_scene(&[Group::Go, Group::Python, Group::Load], |scene| {
        const THREADS: usize = 8;
        let nodes = Nodes::make(scene, "10.92.0")?;
        let server = go(scene, &nodes, Node::B, 8081)?;
        let command = client(scene, &server.url(), THREADS, 0, 0.1, "");
        let mut client = Client::start(&nodes, Node::A, &command)?;
        let a = nodes.agent(Node::A, &[client.pid()])?;
        let b = nodes.agent(Node::B, &[server.pid()])?;
        nodes.connected()?;
        client.go()?;
        std::thread::sleep(Duration::from_secs(2));
        let before =
            Spans::of_json_lines(&b.kill()?)?.filter(|span| span.path().contains(&scene.tag));
        std::thread::sleep(Duration::from_secs(1));
        let b = nodes.agent(Node::B, &[server.pid()])?;
        nodes.connected()?;
        let again_ns = now_ns()?;
        std::thread::sleep(Duration::from_secs(3));
        let pid = client.pid();
        client.finish()?;
        let spans = ended(scene, &nodes, a, b)?;
        let all = Spans([before.0.clone(), spans.0.clone()].concat());
        let tally = Tally::of(&all, &[pid], &[server.pid()])?;
        ensure!(tally.wrong == 0 && before.len() > 50, "{tally:?}");
        let later = spans.filter(|span| span.start_ns > again_ns);
        let later = Spans([later.servers().0, spans.clients().0].concat());
        let tally = Tally::of(&later, &[pid], &[server.pid()])?;
        ensure!(tally.all() > 100, "{tally:?}");
        tally.check(tally.all())
    })
}

fn now_ns() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_nanos())?)
}

/// Opens connections and says nonsense, or nothing.
const STRANGER: &str = r#"
import os, socket, sys
host, port = sys.argv[1:]
held = []
for number in range(200):
    try:
        one = socket.create_connection((host, int(port)), timeout=5)
        if number % 4 == 0: held.append(one)
        elif number % 4 == 1: one.sendall(b"\x16\x03\x01" + os.urandom(500))
        elif number % 4 == 2: one.sendall(b"weftpeer" + os.urandom(5000))
        else: one.close()
    except OSError: pass
"#;

/// Who has another secret, or says nonsense, is told nothing and believed nothing; it keeps nobody out.
#[test]
fn strangers_on_the_network() -> Result<()> {
    on_scene(&[Group::Go, Group::Python, Group::Load], |scene| {
        const REQUESTS: usize = 20;
        let nodes = Nodes::make(scene, "10.93.0")?;
        let server = go(scene, &nodes, Node::B, 8081)?;
        let clients = [
            client(scene, &server.url(), 1, REQUESTS, 0.01, "?false"),
            client(scene, &server.url(), 2, REQUESTS, 0.01, "?true"),
        ];
        let mut clients = clients
            .iter()
            .map(|command| Client::start(&nodes, Node::A, command))
            .collect::<Result<Vec<_>>>()?;
        let pids: Vec<u32> = clients.iter().map(Client::pid).collect();
        let secret = std::env::temp_dir().join(format!("{}.other", scene.tag));
        std::fs::write(&secret, "another secret of a test, long enough too\n")?;
        let b = nodes.agent(Node::B, &[server.pid()])?;
        let false_one = nodes.agent_with(Node::A, &pids, &secret.display().to_string());
        std::fs::remove_file(&secret)?;
        let false_one = false_one?;
        let mut stranger = programs::python(&scene.workloads, STRANGER);
        stranger.args([nodes.address(Node::B), weft_e2e::nodes::PEERS.to_string()]);
        nodes.run(Node::A, &stranger)?;
        clients.remove(0).finish()?;
        std::thread::sleep(Duration::from_millis(2500));
        let figures = nodes.figures(Node::B)?;
        let connections = |result| figures.sum("weft_peer_connections_total", result);
        let refused = connections("tls") + connections("busy");
        let asked = figures.sum("weft_flow_asks_sent_total", "");
        ensure!(
            refused > 50.0 && asked == 0.0,
            "{refused} refused, {asked} asked"
        );
        let unlinked = Spans::of_json_lines(&false_one.stop()?)?;
        let a = nodes.agent(Node::A, &pids)?;
        nodes.connected()?;
        clients.remove(0).finish()?;
        let spans = ended(scene, &nodes, a, b)?;
        let mut all = Spans([unlinked.0, spans.0].concat());
        let first = all.filter(|span| pids[0] == span.pid() && span.path().contains(&scene.tag));
        first.count(REQUESTS)?;
        // Their paths are those of the first thread of the second client.
        let missing = all.servers().filter(|span| span.parent.is_none());
        missing.count(REQUESTS)?;
        all.0.retain(|span| {
            span.pid() != pids[0] && !missing.0.iter().any(|other| other.span_id == span.span_id)
        });
        Tally::of(&all, &pids[1..], &[server.pid()])?.check(2 * REQUESTS)
    })
}

/// The client's node translates addresses: of the service that is asked for, or of the pod that asks.
#[test]
fn translated_addresses() -> Result<()> {
    let groups = [Group::Web, Group::Python, Group::Load, Group::Network];
    on_scene(&groups, |scene| {
        const THREADS: usize = 8;
        const ROUNDS: usize = 10;
        const SERVICE: &str = "10.96.0.10";
        const POD: &str = "10.244.0.7";
        let nodes = Nodes::make(scene, "10.94.0")?;
        let (a, b) = (nodes.address(Node::A), nodes.address(Node::B));
        let ip = |arguments: &[&str]| {
            let mut ip = Command::new("ip");
            ip.args(arguments);
            nodes.run(Node::A, &ip)
        };
        ip(&["address", "add", &format!("{POD}/32"), "dev", "lo"])?;
        ip(&["route", "add", "10.96.0.0/16", "via", &b])?;
        let rules = format!(
            "table ip nat {{
               chain output {{
                 type nat hook output priority -100
                 ip daddr {SERVICE} tcp dport 80 dnat to {b}:8081
                 ip daddr {SERVICE} tcp dport 443 dnat to {b}:8443
               }}
               chain postrouting {{
                 type nat hook postrouting priority 100
                 ip saddr {POD} snat to {a}
               }}
             }}"
        );
        let mut nft = scene.workloads.command("/usr/sbin/nft");
        nft.arg(&rules);
        nodes.run(Node::A, &nft)?;
        let answers = || Nginx::new().directive("location / { return 200 '{}'; }");
        let plain = nginx(scene, &nodes, Node::B, 8081, answers())?;
        let tls = nginx(scene, &nodes, Node::B, 8443, answers().tls()?)?;
        let (http, https) = (plain.url(), tls.url().replace("http://", "https://"));
        let (service, secure_service) = (
            format!("http://{SERVICE}:80"),
            format!("https://{SERVICE}:443"),
        );
        let ways = [
            (service.as_str(), None, true),
            (&secure_service, None, true),
            (&http, Some(POD), true),
            (&https, Some(POD), true),
            // Neither end is the same: no evidence.
            (&service, Some(POD), false),
            (&secure_service, Some(POD), false),
        ];
        let mut clients = Vec::new();
        for (number, (url, source, _)) in ways.iter().enumerate() {
            let mut python = programs::python(&scene.workloads, CLIENT);
            python
                .args([
                    url,
                    THREADS.to_string().as_str(),
                    &ROUNDS.to_string(),
                    "0.02",
                ])
                .args([&format!("{}-{number}", scene.tag), ""])
                .args(source);
            clients.push(Client::start(&nodes, Node::A, &python)?);
        }
        let pids: Vec<u32> = clients.iter().map(Client::pid).collect();
        let servers = [plain.pids(), tls.pids()].concat();
        let agents = (
            nodes.agent(Node::A, &pids)?,
            nodes.agent(Node::B, &servers)?,
        );
        nodes.connected()?;
        for client in clients {
            client.finish()?;
        }
        let spans = ended(scene, &nodes, agents.0, agents.1)?;
        for (number, (url, source, linked)) in ways.iter().enumerate() {
            let of_way = format!("/hop/{}-{number}-", scene.tag);
            let spans = spans.filter(|span| span.path().starts_with(&of_way));
            let tally = Tally::of(&spans, &pids, &servers)?;
            if *linked {
                let way = || format!("{url} from {source:?}");
                tally.check(THREADS * ROUNDS).with_context(way)?;
            } else {
                ensure!(tally.missing == THREADS * ROUNDS, "{tally:?}");
            }
        }
        Ok(())
    })
}
