//! Who is traced, changed while weft runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use weft_e2e::figures::Metrics;
use weft_e2e::{Scene, Weft, WeftCommand, on_scene, skip};
use weft_workloads::programs::{HttpServer, Nginx};
use weft_workloads::{Group, free_port, programs};

/// From the change of the file to its effect.
const EFFECT: Duration = Duration::from_secs(2);

/// weft with a configuration that a test writes again.
struct Governed {
    weft: Weft,
    file: PathBuf,
    socket: PathBuf,
    metrics: Metrics,
}

impl Governed {
    fn start(scene: &Scene, selection: &str) -> Result<Self> {
        let port = free_port([127, 0, 0, 1].into())?;
        let file = std::env::temp_dir().join(format!("{}.yaml", scene.tag));
        let socket = std::env::temp_dir().join(format!("{}.sock", scene.tag));
        write(&file, &socket, port, selection)?;
        let weft = scene
            .weft()?
            .args(["--config", &file.display().to_string()])
            .start()?;
        Ok(Self {
            weft,
            file,
            socket,
            metrics: Metrics::at(([127, 0, 0, 1], port).into()),
        })
    }

    /// Other rules, by the change of the file alone or by the signal, too.
    fn change(&self, selection: &str, signal: Option<Signal>) -> Result<()> {
        let port = self.metrics.address().port();
        write(&self.file, &self.socket, port, selection)?;
        signal.map_or(Ok(()), |signal| self.weft.signal(signal))
    }

    /// Kernel programs that are attached: by links, and to instructions of programs.
    fn attached(&self) -> Result<(usize, usize)> {
        let mut counts = (0, 0);
        for entry in fs::read_dir(format!("/proc/{}/fd", self.weft.pid()))?.flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            counts.0 += usize::from(target.contains("bpf_link") || target.contains("bpf-link"));
            counts.1 += usize::from(target.contains("[perf_event]"));
        }
        Ok(counts)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let file = self.file.display().to_string();
        let command = WeftCommand::new(arguments.iter().copied())?;
        let output = command.args(["--config", &file]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Governed {
    fn drop(&mut self) {
        fs::remove_file(&self.file).ok();
    }
}

fn write(file: &Path, socket: &Path, port: u16, selection: &str) -> Result<()> {
    // As mounted ConfigMaps are replaced: by another file under the same name.
    let new = file.with_extension("new");
    let socket = socket.display();
    fs::write(
        &new,
        format!(
            "socket: {socket}\nmetrics: {{listen: '127.0.0.1:{port}'}}\nselection: {selection}\n"
        ),
    )?;
    Ok(fs::rename(&new, file)?)
}

fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begin.elapsed())
}

fn nginx(scene: &Scene) -> Result<weft_workloads::Running> {
    scene
        .workloads
        .spawn(&Nginx::new().directive("location / { return 200 ok; }"))
}

#[test]
fn rules_take_effect_while_it_runs() -> Result<()> {
    on_scene(&[Group::Web, Group::Python], |scene| {
        let server = nginx(scene)?;
        let program = scene.workloads.spawn(&HttpServer::default())?;
        let (one, other) = (server.url(), program.url());
        // By its executable, and by its command line.
        let first = "{rules: [{include: {exe: nginx}}]}";
        let second = "{rules: [{include: {args: '*-m http.server*'}}]}";
        let mut governed = Governed::start(scene, first)?;
        let get = |url: &str, name: &str| scene.curl(&["-s", &format!("{url}/{}", scene.id(name))]);
        get(&one, "a")?;
        get(&other, "b")?;
        scene.sink.wait(&scene.tag, 1, Duration::from_secs(5))?;

        governed.change(second, None)?;
        let took = within(EFFECT, "the other server is traced", || {
            get(&other, "c")?;
            std::thread::sleep(Duration::from_millis(50));
            Ok(governed.weft.errors().contains("the policy has changed"))
        })?;
        eprintln!("policy: a changed file took effect after {took:?}");
        get(&one, "d")?;
        get(&other, "e")?;

        governed.change("{rulez: []}", Some(Signal::HUP))?;
        within(EFFECT, "the error is told of", || {
            let errors = governed.weft.errors();
            Ok(errors.contains("the configuration stays as it was") && errors.contains("rulez"))
        })?;
        get(&other, "f")?;

        governed.change("{default: exclude}", Some(Signal::HUP))?;
        let took = within(
            EFFECT,
            "all that sees sockets and libraries is taken out",
            || {
                // What tells of processes stays: fork, exec and exit.
                Ok(governed.attached()? == (3, 0))
            },
        )?;
        eprintln!("policy: nothing but what tells of processes was attached after {took:?}");
        get(&other, "g")?;
        let spans = scene.sink.spans(&scene.tag);
        ensure!(governed.weft.is_running(), "{}", governed.weft.errors());
        let names = |name: &str| spans.servers().at(&format!("/{}", scene.id(name))).len();
        let seen: Vec<usize> = ["a", "b", "d", "g"]
            .iter()
            .map(|name| names(name))
            .collect();
        governed.change(first, Some(Signal::HUP))?;
        within(EFFECT, "tracing begins again", || {
            get(&one, "h")?;
            std::thread::sleep(Duration::from_millis(50));
            Ok(governed.attached()?.0 > 3)
        })?;
        get(&one, "i")?;
        std::thread::sleep(Duration::from_millis(1500));
        let spans = scene.sink.spans(&scene.tag).servers();
        let names = |name: &str| spans.at(&format!("/{}", scene.id(name))).len();
        ensure!(seen == [1, 0, 0, 0], "a, b, d, g: {seen:?}");
        let seen: Vec<usize> = ["e", "f", "i", "g"]
            .iter()
            .map(|name| names(name))
            .collect();
        ensure!(seen == [1, 1, 1, 0], "e, f, i, g: {seen:?}");
        Ok(())
    })
}

#[test]
fn a_new_program_is_judged_before_its_first_request() -> Result<()> {
    const REQUESTS: usize = 40;
    on_scene(&[Group::Web], |scene| {
        let server = nginx(scene)?;
        let governed = Governed::start(scene, "{rules: [{include: {exe: curl}}]}")?;
        for number in 0..REQUESTS {
            let name = scene.id(number);
            scene.curl(&["-s", &format!("{}/{name}", server.url())])?;
        }
        let spans = scene
            .sink
            .wait(&scene.tag, REQUESTS, Duration::from_secs(5))?;
        ensure!(spans.servers().is_empty(), "nginx was not asked for");
        ensure!(
            spans.clients().len() == REQUESTS,
            "{}",
            spans.clients().len()
        );
        drop(governed);
        Ok(())
    })
}

#[test]
fn a_container_is_known_by_its_cgroup() -> Result<()> {
    on_scene(&[Group::Web], |scene| {
        let Some(group) = Container::make(scene)? else {
            return skip("no control group can be made");
        };
        let selection = format!(
            "{{rules: [{{include: {{container: '{}*'}}}}]}}",
            &group.id[..12]
        );
        let governed = Governed::start(scene, &selection)?;
        let server = nginx(scene)?;
        let url = format!("{}/{}", server.url(), scene.id("container"));
        let mut inside = programs::curl(&scene.workloads);
        inside.args(["-s", &url]);
        let mut shell = std::process::Command::new("sh");
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec \"$@\"",
            group.path.display()
        );
        shell.args(["-c", &script, "sh"]).arg(inside.get_program());
        let output = shell.args(inside.get_args()).output()?;
        ensure!(output.status.success(), "{output:?}");
        scene.curl(&["-s", &url])?;
        let spans = scene.sink.wait(&scene.tag, 1, Duration::from_secs(5))?;
        std::thread::sleep(Duration::from_millis(700));
        let spans = if spans.is_empty() {
            spans
        } else {
            scene.sink.spans(&scene.tag)
        };
        let span = spans.one()?;
        ensure!(span.resource("container.id") == group.id, "{span:?}");
        ensure!(
            span.resource("container.runtime.name") == "docker",
            "{span:?}"
        );
        drop(governed);
        Ok(())
    })
}

/// A control group named as a container's is.
struct Container {
    path: PathBuf,
    id: String,
}

impl Container {
    fn make(scene: &Scene) -> Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"));
        let Some(root) = root.and_then(|fields| fields.get(1).copied()) else {
            return Ok(None);
        };
        let mut id: String = scene
            .tag
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        id.extend(std::iter::repeat_n('0', 64));
        id.truncate(64);
        let path = Path::new(root).join(format!("docker-{id}.scope"));
        Ok(fs::create_dir_all(&path)
            .is_ok()
            .then_some(Self { path, id }))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        fs::remove_dir(&self.path).ok();
    }
}

#[test]
fn status_and_why_tell_of_pids_and_services() -> Result<()> {
    on_scene(&[Group::Web], |scene| {
        let server = nginx(scene)?;
        let governed = Governed::start(scene, "{rules: [{include: {exe: nginx}}]}")?;
        scene.curl(&["-s", &format!("{}/{}", server.url(), scene.id("x"))])?;
        scene.sink.wait(&scene.tag, 1, Duration::from_secs(5))?;
        let status: serde_json::Value =
            serde_json::from_str(&governed.ask(&["status", "--json"])?)?;
        let traced = status["traced"].as_array().context("no list")?;
        let pids: BTreeSet<u64> = traced.iter().filter_map(|it| it["pid"].as_u64()).collect();
        let its: BTreeSet<u64> = server.pids().into_iter().map(u64::from).collect();
        ensure!(its.is_subset(&pids), "{its:?} of {pids:?}");
        let spans: u64 = traced.iter().filter_map(|it| it["spans"].as_u64()).sum();
        ensure!(spans >= 1, "{status}");
        let rule = traced[0]["rule"].as_str().unwrap_or_default();
        ensure!(
            rule.contains("selection.rules, 1: include exe `nginx`"),
            "{rule}"
        );
        let text = governed.ask(&["status"])?;
        ensure!(text.contains("processes are traced"), "{text}");
        let text = governed.ask(&["why", "nginx"])?;
        for pid in &its {
            ensure!(text.contains(&format!("{pid} ")), "{text} lacks {pid}");
        }
        ensure!(text.contains("yes: selection.rules, 1"), "{text}");
        let told: serde_json::Value = serde_json::from_str(&governed.ask(&[
            "why",
            &governed.weft.pid().to_string(),
            "--json",
        ])?)?;
        ensure!(
            told["selected"] == false && told["rule"] == "it is weft itself",
            "{told}"
        );
        Ok(())
    })
}

/// Programs that come and go are not kept when nobody has asked for them.
#[test]
fn short_lived_processes_leave_nothing() -> Result<()> {
    const PROCESSES: usize = 10_000;
    on_scene(&[], |scene| {
        let governed = Governed::start(scene, "{rules: [{include: {exe: no-such-program}}]}")?;
        let churn = |count: usize| {
            let script = format!("i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done");
            std::process::Command::new("sh")
                .args(["-c", &script])
                .status()
        };
        let settled = || {
            std::thread::sleep(Duration::from_millis(500));
            governed.metrics.read()
        };
        churn(500)?;
        let before = settled()?;
        churn(PROCESSES)?;
        let after = settled()?;
        let grown = |name: &str| after.sum(name, "") - before.sum(name, "");
        let (kept, bytes) = (
            grown("weft_processes"),
            grown("weft_process_resident_memory_bytes"),
        );
        eprintln!(
            "policy: after {PROCESSES} processes {kept} more are kept, {bytes} bytes more resident"
        );
        ensure!(kept < 200.0, "{kept} processes are kept");
        ensure!(bytes < 4e6, "{bytes} bytes more are resident");
        Ok(())
    })
}
