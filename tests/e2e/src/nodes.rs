//! Two nodes: name spaces with nothing in common but the wire between them, an agent on each that looks at its own processes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::network::Pair;
use crate::{Kind, Scene, Span, Spans, Weft, WeftCommand};

pub const PEERS: u16 = 4319;
const FIGURES: u16 = 9464;

/// Node `a` at `.1`, node `b` at `.2` of one network.
pub struct Nodes<'a> {
    scene: &'a Scene,
    pub pair: Pair,
    network: String,
    secret: PathBuf,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    A,
    B,
}

impl<'a> Nodes<'a> {
    /// `network`: the first three numbers of its addresses.
    pub fn make(scene: &'a Scene, network: &str) -> Result<Self> {
        let pair = Pair::make(&scene.tag, network)?;
        let secret = std::env::temp_dir().join(format!("{}.secret", scene.tag));
        std::fs::write(&secret, "a secret of a test, long enough to be one\n")?;
        Ok(Self {
            scene,
            pair,
            network: network.to_owned(),
            secret,
        })
    }

    pub fn space(&self, node: Node) -> &str {
        match node {
            Node::A => &self.pair.client,
            Node::B => &self.pair.server,
        }
    }

    pub fn address(&self, node: Node) -> String {
        let number = match node {
            Node::A => 1,
            Node::B => 2,
        };
        format!("{}.{number}", self.network)
    }

    /// An agent that looks at these processes, and tells its spans on standard output; both connect to each other.
    pub fn agent(&self, node: Node, pids: &[u32]) -> Result<Weft> {
        self.agent_with(node, pids, &self.secret.display().to_string())
    }

    /// The same with another secret.
    pub fn agent_with(&self, node: Node, pids: &[u32], secret: &str) -> Result<Weft> {
        let other = match node {
            Node::A => Node::B,
            Node::B => Node::A,
        };
        let (own, other) = (self.address(node), self.address(other));
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let file = std::env::temp_dir().join(format!("{}-{node:?}.yaml", self.scene.tag));
        std::fs::write(
            &file,
            format!(
                "socket: null\nselection:\n  pids: [{}]\nmetrics:\n  listen: {own}:{FIGURES}\npeers:\n  listen: {own}:{PEERS}\n  \
                 connect: ['{other}:{PEERS}']\n  secret_file: {secret}\nbatch:\n  delay: 50ms\n",
                pids.join(", ")
            ),
        )?;
        let weft = WeftCommand::new(["run", "--output", "json"])?
            .args(["--config", &file.display().to_string()])
            .within(self.space(node))
            .start();
        std::fs::remove_file(&file)?;
        weft
    }

    /// Waits until the two have found each other.
    pub fn connected(&self) -> Result<()> {
        for _ in 0..100 {
            let connected =
                |node| -> Result<bool> { Ok(self.figure(node, "weft_peers_connected", "")? > 0.0) };
            if connected(Node::A)? && connected(Node::B)? {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        anyhow::bail!("the agents do not find each other")
    }

    /// Sum of an agent's own figure over all label sets that hold this piece of text.
    pub fn figure(&self, node: Node, name: &str, label: &str) -> Result<f64> {
        Ok(self.figures(node)?.sum(name, label))
    }

    pub fn figures(&self, node: Node) -> Result<crate::figures::Figures> {
        let mut curl = weft_workloads::programs::curl(&self.scene.workloads);
        curl.arg(format!("http://{}:{FIGURES}/metrics", self.address(node)));
        let output = Pair::within(self.space(node), &curl).output()?;
        Ok(crate::figures::Figures(String::from_utf8(output.stdout)?))
    }

    /// Prints what links have cost, and gives their number.
    pub fn cost(&self) -> Result<usize> {
        let (mut links, mut bytes, mut waited_us) = (0.0, 0.0, 0.0);
        for node in [Node::A, Node::B] {
            let figures = self.figures(node)?;
            links += figures.sum("weft_flow_asks_total", "linked");
            bytes += figures.sum("weft_peer_bytes_total", "sent");
            waited_us += figures.sum("weft_flow_asks_wait_microseconds_total", "");
            // What became of those that have led to no link.
            let counted = figures.0.lines().filter(|line| {
                let of_questions = ["weft_flow_asks_total", "weft_flow_questions_total"];
                of_questions.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
            });
            let counted: Vec<_> = counted.collect();
            writeln!(std::io::stderr(), "{node:?}: {}", counted.join(", "))?;
        }
        writeln!(
            std::io::stderr(),
            "links between nodes: {links}, {:.1} bytes each (TLS included, of both directions), answered after {:.2} ms on average",
            bytes / links,
            waited_us / links / 1000.0
        )?;
        Ok(links as usize)
    }

    /// A command on a node.
    pub fn run(&self, node: Node, command: &Command) -> Result<String> {
        let output = Pair::within(self.space(node), command).output()?;
        ensure!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        std::fs::remove_file(&self.secret).ok();
    }
}

/// Requests that went from processes of one node to processes of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: usize,
    /// The server's span begins a trace.
    pub missing: usize,
    /// It hangs on another one than its client's.
    pub wrong: usize,
}

impl Tally {
    /// Compares what was sent by `clients` and read by `servers`: each path names one request.
    pub fn of(spans: &Spans, clients: &[u32], servers: &[u32]) -> Result<Self> {
        let mut sent = std::collections::HashMap::new();
        let calls = spans.of(clients).clients();
        for span in &calls.0 {
            sent.insert(span.path().to_owned(), span);
        }
        let mut tally = Self::default();
        for span in &spans.of(servers).servers().0 {
            let client = sent.get(span.path());
            let client: &Span = client.with_context(|| format!("no client of {span}"))?;
            ensure!(client.kind == Kind::Client);
            match &span.parent {
                Some(_) if span.is_child_of(client) => tally.right += 1,
                Some(_) => tally.wrong += 1,
                None => tally.missing += 1,
            }
        }
        Ok(tally)
    }

    pub fn all(&self) -> usize {
        self.right + self.missing + self.wrong
    }

    /// None is wrong, and of a thousand one may be missing.
    pub fn check(&self, expected: usize) -> Result<()> {
        ensure!(self.all() == expected, "{expected} requests, {self:?}");
        ensure!(self.wrong == 0, "{self:?}");
        ensure!(self.missing * 1000 <= expected, "{self:?}");
        Ok(())
    }
}
