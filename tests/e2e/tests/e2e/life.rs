//! Start, end, and what is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::{WeftCommand, on_scene, skip};
use weft_workloads::Group;
use weft_workloads::programs::{Nginx, wrk};

#[test]
fn ready_then_a_clean_end() -> Result<()> {
    on_scene(&[], |scene| {
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
            let mut weft = scene.weft()?.start()?;
            eprintln!("ready after {:?}", weft.ready_after);
            weft.signal(signal)?;
            let status = weft.wait(Duration::from_secs(10))?;
            ensure!(
                status.success(),
                "{status} after {signal:?}:\n{}",
                weft.errors()
            );
        }
        Ok(())
    })
}

#[test]
fn a_duration_ends_it() -> Result<()> {
    on_scene(&[], |scene| {
        let mut weft = scene.weft()?.args(["--duration", "1"]).start()?;
        let status = weft.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "{status}:\n{}", weft.errors());
        Ok(())
    })
}

#[test]
fn usage_errors_give_2() -> Result<()> {
    on_scene(&[], |scene| {
        fails_with(
            2,
            WeftCommand::new(["run", "--no-such-flag"])?,
            &["--no-such-flag"],
        )?;
        fails_with(
            2,
            WeftCommand::new(["run", "--output", "paper"])?,
            &["paper", "console"],
        )?;
        fails_with(
            2,
            scene
                .weft()?
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            &["carrier-pigeon", "grpc"],
        )?;
        let file = std::env::temp_dir().join(format!("{}.yaml", scene.tag));
        fs::write(&file, "outptu: [json]\n")?;
        let path = file.display().to_string();
        let result = fails_with(
            2,
            WeftCommand::new(["run", "--config", &path])?,
            &["outptu", "output", "1"],
        );
        fs::remove_file(file)?;
        result?;
        fails_with(
            2,
            WeftCommand::new(["run", "--config", "/nowhere.yaml"])?,
            &["/nowhere.yaml"],
        )
    })
}

#[test]
fn without_privileges_it_gives_3() -> Result<()> {
    on_scene(&[], |_| {
        let path = weft_e2e::weft_binary()?;
        // A copy: the directories above the original may be closed to others.
        let copy = std::env::temp_dir().join(format!("weft-{}", std::process::id()));
        fs::copy(&path, &copy)?;
        let output = std::process::Command::new("timeout")
            .args(["--kill-after=5", "30", "setpriv"])
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--bounding-set=-all",
                "--inh-caps=-all",
            ])
            .arg(&copy)
            .arg("run")
            .output()?;
        fs::remove_file(&copy)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(3), "{}: {said}", output.status);
        ensure!(
            said.contains("CAP_") || said.contains("root"),
            "does not say what is missing: {said}"
        );
        Ok(())
    })
}

#[test]
fn help_and_doctor_answer() -> Result<()> {
    on_scene(&[], |_| {
        for arguments in [
            vec!["--help"],
            vec!["run", "--help"],
            vec!["doctor"],
            vec!["run", "--check"],
        ] {
            let output = WeftCommand::new(arguments.clone())?.output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.success() && !output.stdout.is_empty(),
                "{arguments:?} gave {}: {said}",
                output.status
            );
        }
        Ok(())
    })
}

/// The kernel lists every loaded program to whoever holds a descriptor of it: none must live on in another process or be pinned.
#[test]
fn killed_it_leaves_nothing_behind() -> Result<()> {
    on_scene(&[], |scene| {
        let weft = scene.weft()?.start()?;
        let held = bpf_programs_of(weft.pid())?;
        ensure!(
            !held.is_empty(),
            "no kernel program is held by weft: the test sees nothing"
        );
        let pins_before = pins();
        weft.kill()?;
        std::thread::sleep(Duration::from_millis(500));
        let mut others = BTreeSet::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            if let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                others.extend(bpf_programs_of(pid).unwrap_or_default());
            }
        }
        let left: Vec<_> = held.intersection(&others).collect();
        ensure!(left.is_empty(), "programs {left:?} are still held");
        ensure!(
            pins() == pins_before && pins().is_empty(),
            "something is pinned: {:?}",
            pins()
        );
        match loaded_programs(scene)? {
            Some(loaded) => {
                let left: Vec<_> = held.intersection(&loaded).collect();
                ensure!(left.is_empty(), "programs {left:?} are still loaded");
                Ok(())
            }
            None => skip("no bpftool: only descriptors and pins were looked at"),
        }
    })
}

#[test]
fn restarted_under_load() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let url = format!("{}/{}", server.url(), scene.tag);
        let load = wrk(&scene.workloads)
            .args(["-t1", "-c8", "-d20s", "--latency", &url])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        for _ in 0..2 {
            let weft = scene.weft()?.start()?;
            std::thread::sleep(Duration::from_millis(700));
            weft.kill()?;
        }
        let before = scene.sink.spans(&scene.tag).len();
        let weft = scene.weft()?.start()?;
        let output = load.wait_with_output()?;
        let spans = scene.finish(weft)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(said.contains(" requests in "), "wrk failed: {said}");
        ensure!(
            !said.contains("Socket errors") && !said.contains("Non-2xx"),
            "the clients saw errors: {said}"
        );
        ensure!(spans.len() > before, "the last weft saw nothing");
        Ok(())
    })
}

fn fails_with(code: i32, command: WeftCommand, words: &[&str]) -> Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "{} and not {code}: {said}",
        output.status
    );
    for word in words {
        ensure!(said.contains(word), "{word:?} is not named in: {said}");
    }
    Ok(())
}

/// Numbers of the kernel programs that a process holds, directly or by a link, see proc_pid_fdinfo(5).
fn bpf_programs_of(pid: u32) -> Result<BTreeSet<u32>> {
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .context("no such process")?
        .flatten()
    {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let number = |line: &str| {
            line.strip_prefix("prog_id:")
                .and_then(|rest| rest.trim().parse::<u32>().ok())
        };
        programs.extend(text.lines().filter_map(number));
    }
    Ok(programs)
}

fn pins() -> Vec<String> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("weft"))
        .collect()
}

/// All programs the kernel holds; nothing without `bpftool`.
fn loaded_programs(scene: &weft_e2e::Scene) -> Result<Option<BTreeSet<u32>>> {
    let output = scene
        .workloads
        .command("/usr/sbin/bpftool")
        .args(["--json", "prog", "list"])
        .output()?;
    if !output.status.success() {
        return Ok(None);
    }
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let number = |program: &serde_json::Value| program.get("id")?.as_u64()?.try_into().ok();
    Ok(Some(list.iter().filter_map(number).collect()))
}
