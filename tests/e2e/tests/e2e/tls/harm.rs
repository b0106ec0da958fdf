//! What programs can tell of probes in their libraries: nothing.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use weft_e2e::on_scene;
use weft_workloads::programs::{Load, Nginx, Tls, curl, wrk};
use weft_workloads::{Group, Running};

use super::https;

/// The kernel's time for all probes. One by one, it is that of twenty on some kernels.
const TAKEN_OUT_WITHIN_MS: u64 = 2000;
/// With a look into a large file that is under way.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn attached_and_detached_under_full_load() -> Result<()> {
    const BYTES: usize = 4 << 20;
    const ROUNDS: usize = 6;
    const READERS: usize = 3;
    on_scene(&[Group::Web, Group::Load], |scene| {
        let body: Vec<u8> = (0..BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect();
        let server = scene
            .workloads
            .spawn(&Nginx::new().tls()?.file("large", body.clone()))?;
        let load = wrk(&scene.workloads)
            .args(["-t1", "-c16", "-d60s", &https(&server)])
            .stdout(Stdio::piped())
            .spawn()?;
        let over = AtomicBool::new(false);
        let read = || -> Result<usize> {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                let output = curl(&scene.workloads)
                    .args(["--insecure", "--http1.1"])
                    .arg(format!("{}/large", https(&server)))
                    .output()?;
                ensure!(output.status.success(), "curl: {}", output.status);
                ensure!(output.stdout == body, "other bytes came");
                times += 1;
            }
            Ok(times)
        };
        let (said, times) = std::thread::scope(|scope| -> Result<_> {
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
            let rounds = || -> Result<String> {
                let mut said = String::new();
                for round in 0..ROUNDS {
                    let mut weft = scene.weft()?.start()?;
                    std::thread::sleep(Duration::from_millis(300));
                    if round % 2 == 0 {
                        weft.kill()?;
                        continue;
                    }
                    weft.signal(Signal::TERM)?;
                    weft.wait(ENDS_WITHIN)?;
                    said = weft.errors();
                }
                Ok(said)
            };
            let said = rounds();
            over.store(true, Ordering::Relaxed);
            let mut times = 0;
            for reader in readers {
                times += reader.join().ok().context("a reader panicked")??;
            }
            Ok((said?, times))
        })?;
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(load.id())?).context("no process")?,
            Signal::INT,
        )?;
        let load = load.wait_with_output()?;
        let load = String::from_utf8_lossy(&load.stdout).into_owned();
        ensure!(
            load.contains("requests in") && !load.contains("Socket errors"),
            "wrk saw errors: {load}"
        );
        ensure!(times >= READERS, "only {times} files were read");
        taken_out(&said)?;
        Ok(())
    })
}

/// The probes of many libraries, all of them in use, do not keep weft from ending.
#[test]
fn many_libraries_are_let_go_at_once() -> Result<()> {
    const KINDS: [Tls; 5] = [
        Tls::PythonThreads,
        Tls::Node,
        Tls::Node14,
        Tls::Bun,
        Tls::Go,
    ];
    const FOR_EVER: Load = Load {
        connections: 4,
        requests: 1 << 30,
    };
    /// One by one, these would take twice as long as there is.
    const PROBES: u64 = 36;
    let groups = KINDS.iter().flat_map(|kind| kind.groups()).copied();
    on_scene(&groups.collect::<Vec<_>>(), |scene| {
        let mut running = Vec::new();
        for kind in KINDS {
            let server = scene.workloads.spawn(&kind)?;
            let mut client = kind
                .client(&scene.workloads, server.listen(), &scene.tag, FOR_EVER)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut output = client.stdout.take().context("no output")?;
            weft_e2e::raw::read_until(&mut output, "\n")?;
            drop(client.stdin.take());
            running.push((Ended(client), output, server));
        }
        let mut weft = scene.weft()?.start()?;
        weft.signal(Signal::TERM)?;
        weft.wait(ENDS_WITHIN)?;
        let said = weft.errors();
        ensure!(taken_out(&said)? >= PROBES, "{said}");
        for (Ended(client), _, _) in &mut running {
            ensure!(client.try_wait()?.is_none(), "a client has ended");
        }
        Ok(())
    })
}

/// How many probes there were, which have gone in time.
fn taken_out(said: &str) -> Result<u64> {
    let parts = said.split_once(" probes in libraries were taken out in ");
    let (before, after) = parts.with_context(|| said.to_owned())?;
    let number = |word: Option<&str>| word.unwrap_or_default().parse::<u64>();
    let ms = number(after.split(' ').next())?;
    ensure!(ms <= TAKEN_OUT_WITHIN_MS, "{said}");
    Ok(number(before.rsplit(' ').next())?)
}

/// Killed when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A handler for the very signal that a breakpoint raises where no probe stands.
#[test]
fn a_program_keeps_its_own_breakpoints() -> Result<()> {
    const CODE: &str = r#"
import ctypes, http.client, mmap, signal, ssl, sys
traps = []
signal.signal(signal.SIGTRAP, lambda *_: traps.append(1))
# int3; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\xcc\xc3")
breakpoint = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=ssl._create_unverified_context())
told = []
for number in range(20):
    connection.request("GET", f"{sys.argv[2]}/{number}")
    connection.getresponse().read()
    told.append(len(traps))
    breakpoint()
print(told == list(range(20)), len(traps))
"#;
    on_scene(&[Group::Web, Group::Load, Group::Python], |scene| {
        let server = echo(scene)?;
        let weft = scene.weft()?.start()?;
        let port = server.listen().port().to_string();
        // A library that nobody used before is found while its first connection already speaks.
        for path in ["/first".to_owned(), format!("/{}", scene.tag)] {
            let said = scene.python(CODE, &[&port, &path])?;
            ensure!(said == "True 20\n", "{said}");
        }
        let spans = scene.finish(weft)?;
        let (inner, outer) = (spans.servers().len(), spans.clients().len());
        ensure!((inner, outer) == (20, 20), "{inner} and {outer}:\n{spans}");
        Ok(())
    })
}

/// What the kernel does at a probe may be a system call of the program's (335: `uretprobe`, 336: `uprobe`), which the
/// program's own filter knows nothing of.
#[test]
fn a_program_with_a_filter_for_its_system_calls_lives() -> Result<()> {
    const CODE: &str = r#"
import ctypes, os, struct, sys
steps = [(0x20, 0, 0, 0), (0x15, 2, 0, 335), (0x15, 1, 0, 336), (0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x80000000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"#;
    // OpenSSL and GnuTLS.
    const CLIENTS: [&[&str]; 2] = [
        &["/usr/bin/curl", "--silent", "--insecure", "--http1.1"],
        &["/usr/bin/wget", "-q", "--no-check-certificate", "-O", "-"],
    ];
    on_scene(&[Group::Web, Group::Load, Group::Python], |scene| {
        let server = echo(scene)?;
        let weft = scene.weft()?.start()?;
        for client in CLIENTS {
            for path in ["first", &scene.tag] {
                let url = format!("{}/{path}", https(&server));
                let said = scene.python(CODE, &[client, &[url.as_str()]].concat())?;
                ensure!(said == "ok", "{client:?}: {said}");
            }
        }
        let spans = scene.finish(weft)?;
        let clients = spans.clients().len();
        ensure!(clients == CLIENTS.len(), "{clients}:\n{spans}");
        Ok(())
    })
}

fn echo(scene: &weft_e2e::Scene) -> Result<Running> {
    scene.workloads.spawn(
        &Nginx::new()
            .tls()?
            .directive("location / { return 200 ok; }"),
    )
}
