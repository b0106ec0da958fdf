//! Servers that work on many requests at once: each call is linked to the request that it was made for, told by
//! the id in both paths.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::{Scene, Spans, on_scene};
use weft_workloads::Group;
use weft_workloads::programs::{Tasks, TasksKind};

const CLIENTS: usize = 32;
const ROUNDS: usize = 10;

#[test]
fn aiohttp() -> Result<()> {
    linked(TasksKind::Aiohttp)
}

#[test]
fn uvicorn() -> Result<()> {
    linked(TasksKind::Uvicorn)
}

#[test]
fn uvicorn_on_uvloop() -> Result<()> {
    linked(TasksKind::Uvloop)
}

#[test]
fn hypercorn() -> Result<()> {
    linked(TasksKind::Hypercorn)
}

#[test]
fn gevent() -> Result<()> {
    linked(TasksKind::Gevent)
}

#[test]
fn goroutines_before_1_21() -> Result<()> {
    linked(TasksKind::Goroutines)
}

#[test]
fn virtual_threads() -> Result<()> {
    linked(TasksKind::VirtualThreads)
}

#[test]
fn http_client_of_the_jdk() -> Result<()> {
    linked(TasksKind::HttpClient)
}

#[test]
fn http_client_of_a_newer_jdk() -> Result<()> {
    linked(TasksKind::HttpClientNew)
}

#[test]
fn tokio() -> Result<()> {
    linked(TasksKind::Tokio)
}

#[test]
fn tokio_on_one_thread() -> Result<()> {
    linked(TasksKind::TokioAlone)
}

#[test]
fn tokio_stripped() -> Result<()> {
    linked(TasksKind::TokioStripped)
}

#[test]
fn node_agent() -> Result<()> {
    linked(TasksKind::Agent)
}

#[test]
fn node_fetch() -> Result<()> {
    linked(TasksKind::Fetch)
}

#[test]
fn node_pool() -> Result<()> {
    linked(TasksKind::Pool)
}

#[test]
fn node_worker() -> Result<()> {
    linked(TasksKind::Worker)
}

#[test]
fn tornado() -> Result<()> {
    not_wrong(TasksKind::Tornado)
}

#[test]
fn node_queue() -> Result<()> {
    not_wrong(TasksKind::Queue)
}

#[test]
fn node_batch() -> Result<()> {
    not_wrong(TasksKind::Batch)
}

/// Calls wait in a queue and are begun by others: some are linked, none to another request.
fn not_wrong(kind: TasksKind) -> Result<()> {
    on_scene(&[Group::Tasks], |scene| {
        let links = links(&asked(scene, kind)?)?;
        ensure!(told(&links) > 0, "linked by {links:?}");
        Ok(())
    })
}

/// Spans of a server that all clients have asked.
fn asked(scene: &Scene, kind: TasksKind) -> Result<Spans> {
    let backend = scene.workloads.spawn(&Tasks::backend())?;
    let server = scene
        .workloads
        .spawn(&Tasks::before(&backend.url(), kind))?;
    let weft = scene.weft()?.start()?;
    ask(scene, &server, || Ok(()))?;
    let pids = server.pids();
    let spans = scene.finish(weft)?.of(&pids);
    spans.servers().count(CLIENTS * ROUNDS)?;
    Ok(spans)
}

fn linked(kind: TasksKind) -> Result<()> {
    let groups = match kind {
        TasksKind::VirtualThreads | TasksKind::HttpClient | TasksKind::HttpClientNew => {
            &[Group::Tasks, Group::Java][..]
        }
        TasksKind::Goroutines => &[Group::Tasks, Group::Go],
        TasksKind::Tokio | TasksKind::TokioAlone | TasksKind::TokioStripped => &[Group::Rust],
        _ => &[Group::Tasks],
    };
    on_scene(groups, |scene| early(scene, kind)).context("early")?;
    on_scene(groups, |scene| late(scene, kind)).context("late")
}

/// Every call is linked.
fn early(scene: &Scene, kind: TasksKind) -> Result<()> {
    let spans = asked(scene, kind)?;
    let links = links(&spans)?;
    if matches!(kind, TasksKind::HttpClient | TasksKind::HttpClientNew) {
        return by_wakes(&spans);
    }
    let all = [1, 2, 3, 1, 1];
    let linked = match kind {
        // Who has started a thread is not known.
        TasksKind::VirtualThreads => [1, 2, 0, 0, 0],
        _ => all,
    };
    let sum = |ways: [usize; 5]| -> usize {
        let ways_of_all = (0..CLIENTS * ROUNDS).map(|it| (it / ROUNDS + it % ROUNDS) % 5);
        ways_of_all.map(|way| ways[way]).sum()
    };
    let untold = links.get("none").copied().unwrap_or(0);
    let untellable = sum(all) - sum(linked);
    let missed = untold.saturating_sub(untellable);
    ensure!(
        told(&links) + untold == sum(all)
            && untold >= untellable
            && missed <= may_miss(kind, sum(all)),
        "{} calls, linked by {links:?}",
        sum(all)
    );
    Ok(())
}

/// Who wakes whom tells most calls of threads that wait for them; of what waits in queues, and is sent by whoever comes
/// to it, the fewest.
fn by_wakes(spans: &Spans) -> Result<()> {
    let calls = spans.clients().0;
    let told = |way: &str| {
        let of = calls.iter().filter(|call| call.path().starts_with(way));
        let told = of.clone().filter(|call| call.link() != "none").count();
        (told, of.count())
    };
    for (way, share) in [("/one-", 2), ("/two-", 2), ("/three-", 4)] {
        let (told, calls) = told(way);
        ensure!(
            calls > 0 && told * share >= calls,
            "{told} of {calls} calls of {way} are linked"
        );
    }
    Ok(())
}

/// Connections and what serves them are older than weft: nothing is wrong, and what is read from then on is
/// linked where a request has a task of its own.
fn late(scene: &Scene, kind: TasksKind) -> Result<()> {
    let backend = scene.workloads.spawn(&Tasks::backend())?;
    let server = scene
        .workloads
        .spawn(&Tasks::before(&backend.url(), kind))?;
    let mut weft = None;
    ask(scene, &server, || {
        weft = Some(scene.weft()?.start()?);
        Ok(())
    })?;
    let pids = server.pids();
    let spans = scene.finish(weft.context("weft was not started")?)?;
    let links = links(&spans.of(&pids))?;
    let untold = links.get("none").copied().unwrap_or(0);
    // A task that was made with its connection is not known.
    let of_connections = matches!(kind, TasksKind::Aiohttp | TasksKind::Hypercorn);
    let known = matches!(
        kind,
        TasksKind::VirtualThreads | TasksKind::HttpClient | TasksKind::HttpClientNew
    ) || untold <= may_miss(kind, told(&links).saturating_add(untold));
    ensure!(
        of_connections || (told(&links) > 0 && known),
        "linked by {links:?}"
    );
    Ok(())
}

/// Of so many calls. A message that a connection's task gets while it looks for one may as well be one that it
/// gets to later: for whom the next request is sent is not known then. In Node.js a call from a queue of the program's
/// is linked by what its response goes on with, which is believed when it has agreed with the rest a few times, and
/// for the first calls there is no rest.
fn may_miss(kind: TasksKind, calls: usize) -> usize {
    match kind {
        TasksKind::Tokio | TasksKind::TokioAlone | TasksKind::TokioStripped => calls / 100,
        TasksKind::Agent | TasksKind::Fetch | TasksKind::Pool | TasksKind::Worker => calls / 10,
        _ => 0,
    }
}

/// What is linked by tasks. uvloop may send later what a task has given to it.
fn told(links: &BTreeMap<String, usize>) -> usize {
    let of = |link: &str| links.get(link).copied().unwrap_or(0);
    of("async-context") + of("hand-off")
}

/// The clients ask; `half` runs when they have done so for the half of it.
fn ask(
    scene: &Scene,
    server: &weft_workloads::Running,
    half: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut clients = Tasks::clients(
        &scene.workloads,
        server.listen(),
        &scene.tag,
        CLIENTS,
        ROUNDS,
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()?;
    let mut output = clients.stdout.take().context("no output")?;
    weft_e2e::raw::read_until(&mut output, "half\n")?;
    half()?;
    let mut input = clients.stdin.take().context("no input")?;
    input.write_all(b"go\n")?;
    ensure!(clients.wait()?.success(), "the clients failed");
    Ok(())
}

/// How many calls of a server are linked by each kind of evidence. Fails where one is linked to another
/// request's.
fn links(spans: &Spans) -> Result<BTreeMap<String, usize>> {
    let id = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut links = BTreeMap::new();
    let servers: BTreeMap<_, _> = spans
        .servers()
        .0
        .into_iter()
        .map(|span| (span.span_id.clone(), span))
        .collect();
    for call in spans.clients().0 {
        *links.entry(call.link().to_owned()).or_default() += 1;
        if call.link() == "none" {
            continue;
        }
        let parent = call.parent.as_ref().and_then(|parent| servers.get(parent));
        let parent = parent.with_context(|| format!("no parent of\n{call}"))?;
        ensure!(
            id(parent.path()) == id(call.path()) && call.is_child_of(parent),
            "a wrong link:\n{call}\nto\n{parent}"
        );
    }
    Ok(links)
}
