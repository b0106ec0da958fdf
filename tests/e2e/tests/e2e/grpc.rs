//! gRPC calls of all kinds, many at once on one connection: a span on each side, with the call's status and messages.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use weft_e2e::{Kind, Scene, Span, Spans, on_scene};
use weft_workloads::programs::{Calls, Grpc, GrpcKind, Nginx, Security};
use weft_workloads::{Group, Listen};

/// Whether the connection, and what its ends have told each other, is older than weft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    Early,
    Late,
}

const CALLS: Calls = Calls {
    workers: 8,
    rounds: 5,
};

#[test]
fn python() -> Result<()> {
    pair(GrpcKind::Python, GrpcKind::Python, Security::Plaintext)
}

#[test]
fn go() -> Result<()> {
    pair(GrpcKind::Go, GrpcKind::Go, Security::Plaintext)
}

#[test]
fn go_over_tls() -> Result<()> {
    pair(GrpcKind::Go, GrpcKind::Go, Security::Tls)
}

#[test]
fn go_calls_python() -> Result<()> {
    pair(GrpcKind::Python, GrpcKind::Go, Security::Plaintext)
}

/// nginx gives a call up by closing its connection to the server.
#[test]
fn through_nginx() -> Result<()> {
    on_scene(&[Group::Grpc, Group::Web], |scene| {
        let grpc = Grpc::new(GrpcKind::Go, Security::Plaintext)?;
        let server = scene.workloads.spawn(&grpc)?;
        let nginx = Nginx::new().http2().grpc("/", &server.listen().text());
        let proxy = scene.workloads.spawn(&nginx)?;
        let weft = scene.weft()?.start()?;
        Client::connected(scene, &grpc, GrpcKind::Go, proxy.listen())?.finish()?;
        let spans = scene.finish(weft)?;
        let mut by_method = by_method(&spans);
        for method in Call::methods(&scene.tag) {
            let call = Call::of(&method)?;
            let at = Spans(by_method.remove(method.as_str()).unwrap_or_default());
            for side in [at.servers(), at.clients()] {
                side.count(2 * call.times).with_context(|| method.clone())?;
            }
            for span in &at.0 {
                call.check(span)?;
            }
        }
        Ok(())
    })
}

fn pair(server: GrpcKind, client: GrpcKind, security: Security) -> Result<()> {
    for attach in [Attach::Early, Attach::Late] {
        on_scene(&[Group::Grpc], |scene| {
            attached(scene, server, client, security, attach)
        })
        .with_context(|| format!("{attach:?}"))?;
    }
    Ok(())
}

fn attached(
    scene: &Scene,
    server: GrpcKind,
    client: GrpcKind,
    security: Security,
    attach: Attach,
) -> Result<()> {
    let grpc = Grpc::new(server, security)?;
    let running = scene.workloads.spawn(&grpc)?;
    let mut weft = None;
    if attach == Attach::Early {
        weft = Some(scene.weft()?.start()?);
    }
    let mut client = Client::connected(scene, &grpc, client, running.listen())?;
    let weft = match weft {
        Some(weft) => weft,
        None => scene.weft()?.start()?,
    };
    client.finish()?;
    let mut pids = running.pids();
    pids.push(client.pid);
    match attach {
        Attach::Early => complete(&scene.finish(weft)?, &scene.tag),
        Attach::Late => {
            scene.finish(weft)?;
            true_as_far_as_known(&scene.sink.spans("").of(&pids), &scene.tag)
        }
    }
}

/// A client that has its connection.
struct Client {
    child: std::process::Child,
    pid: u32,
}

impl Client {
    fn connected(scene: &Scene, grpc: &Grpc, kind: GrpcKind, to: &Listen) -> Result<Self> {
        let mut child = grpc
            .client(kind, &scene.workloads, to, &scene.tag, CALLS)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = child.stdout.take().context("no output")?;
        weft_e2e::raw::read_until(&mut output, "connected\n")?;
        let pid = child.id();
        Ok(Self { child, pid })
    }

    fn finish(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the client failed");
        Ok(())
    }
}

/// What is known of a call by its method's name.
struct Call {
    code: &'static str,
    requests: u32,
    responses: u32,
    /// How often it is made.
    times: usize,
}

impl Call {
    fn of(method: &str) -> Result<Self> {
        let (_, name) = method.rsplit_once('/').context("no method")?;
        let [kind, argument, worker, _] = name.split('-').collect::<Vec<_>>()[..] else {
            bail!("{name} is no method of the test")
        };
        let count = argument.parse()?;
        let (code, requests, responses) = match (kind, argument) {
            ("Unary", _) => ("OK", 1, 1),
            ("Download", _) => ("OK", 1, count),
            ("Upload", _) => ("OK", count, 1),
            ("Talk", _) => ("OK", count, count),
            ("Fail", "5") => ("NOT_FOUND", 1, 0),
            ("Fail", "13") => ("INTERNAL", 1, 0),
            ("Deadline", _) => ("DEADLINE_EXCEEDED", 1, 0),
            ("Cancel", _) => ("CANCELLED", 1, 0),
            _ => bail!("{name} is no method of the test"),
        };
        let times = if worker == "first" { 2 } else { 1 };
        Ok(Self {
            code,
            requests,
            responses,
            times,
        })
    }

    /// All methods of the client, see `apps/grpc/client.py`.
    fn methods(tag: &str) -> Vec<String> {
        let mut methods = vec![format!("{tag}.Echo/Unary-0-first-0")];
        for worker in 0..CALLS.workers {
            for number in 0..CALLS.rounds {
                let all = [
                    "Unary-0",
                    "Download-3",
                    "Upload-4",
                    "Talk-2",
                    "Fail-5",
                    "Fail-13",
                ];
                let once = ["Deadline-0", "Cancel-0"];
                let kinds = all.iter().chain(once.iter().filter(|_| number == 0));
                methods.extend(kinds.map(|kind| format!("{tag}.Echo/{kind}-{worker}-{number}")));
            }
        }
        methods
    }

    /// Everything that a whole span says of the call.
    fn check(&self, span: &Span) -> Result<()> {
        self.check_code(span)?;
        let (requests, responses) = (self.requests.to_string(), self.responses.to_string());
        span.check(&[
            ("rpc.system.name", "grpc"),
            ("network.protocol.version", "2"),
            ("http.request.method", ""),
            ("weft.partial", ""),
        ])?;
        // Counted as far as each end's last frame was seen in order.
        for (key, count) in [
            ("weft.rpc.request.messages", &requests),
            ("weft.rpc.response.messages", &responses),
        ] {
            if span.has(key) {
                span.check(&[(key, count)])?;
            }
        }
        ensure!(span.name == span.path(), "not named as its method:\n{span}");
        Ok(())
    }

    fn check_code(&self, span: &Span) -> Result<()> {
        let code = span.get("rpc.response.status_code");
        // Only the client's library knows which of the two it was.
        let either =
            self.code == "DEADLINE_EXCEEDED" && span.kind == Kind::Server && code == "CANCELLED";
        ensure!(either || code == self.code, "not {}:\n{span}", self.code);
        let is_error = match span.kind {
            Kind::Client => code != "OK",
            _ => ["INTERNAL", "DEADLINE_EXCEEDED"].contains(&code),
        };
        ensure!(span.is_error == is_error, "error status:\n{span}");
        span.check(&[("error.type", if is_error { code } else { "" })])
            .map(drop)
    }
}

/// Each call once on both ends, linked, with all that is to be told of it.
fn complete(spans: &Spans, tag: &str) -> Result<()> {
    let mut by_method = by_method(spans);
    for method in Call::methods(tag) {
        let call = Call::of(&method)?;
        let at = Spans(by_method.remove(method.as_str()).unwrap_or_default());
        let (servers, clients) = (at.servers(), at.clients());
        servers
            .count(call.times)
            .and(clients.count(call.times))
            .with_context(|| method.clone())?;
        for client in &clients.0 {
            let children = servers.filter(|server| server.is_child_of(client));
            children.one()?.check(&[("weft.link", "wire-position")])?;
        }
        for span in &at.0 {
            call.check(span)?;
        }
    }
    ensure!(
        by_method.is_empty(),
        "calls that nobody made: {:?}",
        by_method.keys()
    );
    Ok(())
}

/// No call twice; whatever the spans say is true, and what they cannot know they say.
fn true_as_far_as_known(spans: &Spans, tag: &str) -> Result<()> {
    let methods = Call::methods(tag);
    let mut whole = 0;
    for side in [spans.servers(), spans.clients()] {
        // The first call's first time was before weft; what is in flight while weft finds its way in may be missing.
        ensure!(
            side.len() <= methods.len() && side.len() * 4 >= methods.len() * 3,
            "{} spans of {} calls",
            side.len(),
            methods.len()
        );
        for (path, found) in by_method(&side) {
            // Without its content's type it is a POST.
            let path = path.trim_start_matches('/');
            if path.is_empty() {
                for span in &found {
                    ensure!(
                        span.get("weft.partial").contains("request_head"),
                        "does not say that its method is unknown:\n{span}"
                    );
                }
                continue;
            }
            ensure!(
                methods.iter().any(|method| method == path),
                "no such call: {path}"
            );
            ensure!(found.len() == 1, "{path} twice:\n{}", Spans(found));
            for span in &found {
                let call = Call::of(path)?;
                if span.has("rpc.response.status_code") {
                    call.check_code(span)?;
                }
                ensure!(
                    span.has("rpc.system.name")
                        || span.get("weft.partial").contains("request_head"),
                    "does not say that it may be a call:\n{span}"
                );
                whole += usize::from(call.check(span).is_ok());
            }
        }
    }
    for server in &spans.servers().0 {
        let parents = spans.clients().filter(|client| server.is_child_of(client));
        if parents.is_empty() {
            continue;
        }
        let parent = parents.one()?;
        // A call whose content's type is unknown is a POST of its path.
        let [inner, outer] = [server, parent].map(|span| span.path().trim_start_matches('/'));
        ensure!(
            inner.is_empty() || outer.is_empty() || inner == outer,
            "linked to another call:\n{server}\n{parent}"
        );
    }
    eprintln!(
        "late: {} spans of {} calls' two ends, {whole} of them whole",
        spans.len(),
        methods.len()
    );
    Ok(())
}

fn by_method(spans: &Spans) -> BTreeMap<&str, Vec<Span>> {
    let mut by_method = BTreeMap::<&str, Vec<Span>>::new();
    for span in &spans.0 {
        by_method.entry(span.path()).or_default().push(span.clone());
    }
    by_method
}
