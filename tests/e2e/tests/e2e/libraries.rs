//! How TLS libraries are found: in whatever file, however late, once for all who use it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::figures::with_metrics;
use weft_e2e::{Scene, WeftCommand, on_scene};
use weft_workloads::programs::{Nginx, Tls};
use weft_workloads::{Group, Running};

/// Every request to it is answered.
fn nginx(scene: &Scene) -> Result<Running> {
    let nginx = Nginx::new().tls()?;
    scene
        .workloads
        .spawn(&nginx.directive("location / { return 200 'ok\n'; }"))
}

/// Libraries that hide: under another name in a wheel, static in a shared object, stripped.
#[test]
fn why_names_what_a_process_has() -> Result<()> {
    const CODE: &str =
        "import psycopg, confluent_kafka, grpc, sys; print('up', flush=True); sys.stdin.read()";
    const PATH: &str =
        "/srv/pypi/psycopg:/srv/pypi/psycopg-binary:/srv/pypi/confluent-kafka:/srv/pypi/grpcio";
    // A part of the file's name, and what is said of it.
    const LIBRARIES: [(&str, &str); 3] = [
        ("psycopg_binary.libs/libssl-", "TLS: OpenSSL 3"),
        ("confluent_kafka.libs/librdkafka-", "TLS: OpenSSL 3"),
        ("grpc/_cython/cygrpc", "TLS: BoringSSL, by its code"),
    ];
    on_scene(&[Group::Python, Group::Pypi], |scene| {
        let mut child = scene
            .workloads
            .command("/usr/bin/python3")
            .args(["-c", CODE])
            .env("PYTHONPATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = child.stdout.take().context("no output")?;
        weft_e2e::raw::read_until(&mut output, "\n")?;
        let said = WeftCommand::new(["why", &child.id().to_string()])?.output()?;
        drop(child.stdin.take());
        child.wait()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        for (file, what) in LIBRARIES {
            let mut lines = said.lines().skip_while(|line| !line.contains(file));
            let head = lines.next().unwrap_or_default();
            ensure!(
                head.contains(what) && head.contains("build "),
                "{file}: {said}"
            );
            let functions: Vec<_> = lines
                .take_while(|line| line.trim_start().starts_with(['r', 'w']))
                .collect();
            for does in ["reads", "writes"] {
                let told = functions.iter().any(|line| {
                    line.trim_start().starts_with(does) && line.ends_with("ns a call here")
                });
                ensure!(told, "{file}: {does}: {said}");
            }
        }
        Ok(())
    })
}

/// One set of probes, and one look into each file, for a thousand processes.
#[test]
fn a_thousand_processes_share_one_library() -> Result<()> {
    const PROCESSES: usize = 1000;
    // All wait for the same end of input.
    const ALL: &str = "exec 3<&0; i=0; while [ $i -lt 1000 ]; do \
                       LD_PRELOAD=libssl.so.3 /bin/sh -c 'read line' <&3 & i=$((i + 1)); done; echo up; wait";
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = nginx(scene)?;
        let (weft, metrics) = with_metrics(scene, "")?;
        let before = metrics.read()?;
        let mut many = scene
            .workloads
            .command("/bin/sh")
            .args(["-c", ALL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = many.stdout.take().context("no output")?;
        weft_e2e::raw::read_until(&mut output, "\n")?;
        // The last look at a new process.
        std::thread::sleep(Duration::from_secs(2));
        let after = metrics.read()?;
        let status = Command::new("pgrep")
            .args(["-c", "-P", &many.id().to_string()])
            .output()?;
        let running = String::from_utf8_lossy(&status.stdout)
            .trim()
            .parse()
            .unwrap_or(0);
        let url = format!("https://{}/{}", server.listen().text(), scene.tag);
        scene.curl(&["--insecure", "--http1.1", &url])?;
        drop(many.stdin.take());
        many.wait()?;
        let grown = |name| after.sum(name, "") - before.sum(name, "");
        let (inspected, watched) = (
            grown("weft_tls_files_inspected_total"),
            grown("weft_tls_files_watched"),
        );
        eprintln!(
            "{running} processes: {inspected} more files looked into, {watched} more watched"
        );
        ensure!(running == PROCESSES, "{running} processes run");
        // Of theirs: the shell and what is loaded. Others begin programs here, too.
        ensure!(
            inspected < 100.0 && watched < 10.0,
            "{inspected} files looked into, {watched} watched"
        );
        let spans = scene.finish(weft)?;
        spans.clients().one()?;
        spans.servers().one()?;
        Ok(())
    })
}

#[test]
fn a_library_that_is_loaded_late() -> Result<()> {
    const CODE: &str = "
import socket, sys
plain, secret, path = sys.argv[1:4]
host, port = plain.split(':')
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b'GET /plain HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n')
    while connection.recv(4096):
        pass
assert 'libssl' not in open('/proc/self/maps').read(), 'too early'
import http.client, ssl
connection = http.client.HTTPSConnection(secret, context=ssl._create_unverified_context())
connection.request('GET', path)
connection.getresponse().read()
";
    on_scene(&[Group::Web, Group::Python], |scene| {
        let answer = "location / { return 200 'ok\n'; }";
        let plain = scene.workloads.spawn(&Nginx::new().directive(answer))?;
        let secret = nginx(scene)?;
        let weft = scene.weft()?.start()?;
        let path = format!("/{}", scene.id("late"));
        let (plain, secret) = (plain.listen().text(), secret.listen().text());
        scene.python(CODE, &[&plain, &secret, &path])?;
        let spans = scene.finish(weft)?;
        let at = spans.at(&path);
        ensure!(
            at.servers().one()?.is_child_of(at.clients().one()?),
            "{spans}"
        );
        Ok(())
    })
}

/// As after an upgrade of the package.
#[test]
fn a_file_that_is_deleted() -> Result<()> {
    on_scene(&[Group::Npm, Group::Load], |scene| {
        let root = scene.workloads.root().to_owned();
        let program = root.join("srv/npm/node14/bin/node");
        let away = program.with_extension("away");
        let server = scene.workloads.spawn(&Tls::Node14)?;
        // A copy takes its name; what runs is a file without one.
        fs::copy(&program, &away)?;
        fs::rename(&away, &program)?;
        let weft = scene.weft()?.start()?;
        let url = format!("https://{}/{}", server.listen().text(), scene.tag);
        scene.curl(&["--insecure", "--http1.1", &url])?;
        let pid = server.pids().first().copied().context("no process")?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        ensure!(maps.contains("node (deleted)"), "not deleted: {maps}");
        let spans = scene.finish(weft)?;
        spans
            .servers()
            .one()?
            .check(&[("url.scheme", "https"), ("weft.link", "wire-position")])?;
        Ok(())
    })
}

/// Runs curl in a container-like overlay over the test's root directory, which has not changed anything but what `prepare` does.
fn curl_in_overlay(scene: &Scene, prepare: &str, arguments: &[String]) -> Result<()> {
    const MOUNT: &str = "set -e; root=$1; place=$2; mount -t tmpfs tmpfs $place; \
        mkdir $place/upper $place/work $place/root; \
        mount -t overlay overlay -o lowerdir=$root,upperdir=$place/upper,workdir=$place/work $place/root; \
        eval \"$3\"; mount --rbind /proc $place/root/proc; \
        mount --rbind /dev $place/root/dev; shift 3; exec chroot $place/root \"$@\"";
    let place = std::env::temp_dir().join(format!("{}-overlay", scene.tag));
    fs::create_dir_all(&place)?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", MOUNT, "sh"])
        .arg(scene.workloads.root())
        .arg(&place)
        .arg(prepare)
        .args(["/usr/bin/curl", "--silent", "--insecure", "--http1.1"])
        .args(arguments)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "curl in an overlay: {status}");
    fs::remove_dir(&place)?;
    Ok(())
}

/// They share the files below their overlays, where the probes stand: one set for all.
#[test]
fn containers_of_one_image() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = nginx(scene)?;
        let (weft, metrics) = with_metrics(scene, "")?;
        let watched = || Ok::<_, anyhow::Error>(metrics.read()?.sum("weft_tls_files_watched", ""));
        let before = watched()?;
        let url = format!("https://{}/{}", server.listen().text(), scene.tag);
        for container in 0..3 {
            curl_in_overlay(scene, "", &[format!("{url}-{container}")])?;
            let now = watched()?;
            ensure!(now == before, "{before} files were watched, now {now}");
        }
        let spans = scene.finish(weft)?;
        for container in 0..3 {
            let at = spans.at(&format!("/{}-{container}", scene.tag));
            ensure!(
                at.servers().one()?.is_child_of(at.clients().one()?),
                "{spans}"
            );
        }
        Ok(())
    })
}

/// A file that a container has changed is one of its own.
#[test]
fn files_of_an_overlay() -> Result<()> {
    const CHANGE: &str = "touch $place/root/usr/lib/x86_64-linux-gnu/libssl.so.3";
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = nginx(scene)?;
        let weft = scene.weft()?.start()?;
        let url = format!("https://{}/{}", server.listen().text(), scene.tag);
        for number in 0..2 {
            // Nobody has used this library yet: by the time of the second request it is watched.
            let rate = ["--rate".to_owned(), "5/s".to_owned()];
            let urls = [format!("{url}-first"), format!("{url}-{number}")];
            curl_in_overlay(scene, CHANGE, &[rate, urls].concat())?;
        }
        let spans = scene.finish(weft)?;
        // Of the first request the client may come before the probes; the server may not.
        let first = spans.at(&format!("/{}-first", scene.tag));
        first.servers().count(2)?;
        let linked = first.filter(|span| span.link() == "wire-position");
        ensure!(linked.servers().len() == first.clients().len(), "{first}");
        for number in 0..2 {
            let at = spans.at(&format!("/{}-{number}", scene.tag));
            ensure!(
                at.servers().one()?.is_child_of(at.clients().one()?),
                "{spans}"
            );
        }
        Ok(())
    })
}
