//! Each program starts, answers the common contract and ends. Needs root; the first run fetches packages.

use anyhow::Result;
use weft_workloads::programs::{
    Apache, BusyBoxHttpd, Express, Go, Gunicorn, HaProxy, HttpServer, Java, Nginx, PhpFpm, Puma,
    Redis, curl,
};
use weft_workloads::{Group, Listen, Running, Workloads};

#[test]
fn programs_start_answer_and_end() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return Ok(());
    }
    let workloads = Workloads::ensure(&Group::obtainable())?;
    let get = |url: String| -> Result<String> {
        let output = curl(&workloads)
            .arg("--fail-with-body")
            .arg(&url)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        anyhow::ensure!(
            output.status.success(),
            "{url}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    };

    let fpm = workloads.spawn(&PhpFpm::default())?;
    let hops: Vec<Running> = vec![
        workloads.spawn(&Gunicorn::sync("sync"))?,
        workloads.spawn(&Gunicorn::threads("threads", 4))?,
        workloads.spawn(&Express::new("express"))?,
        workloads.spawn(&Go::new("go"))?,
        workloads.spawn(&Java::new("java"))?,
        workloads.spawn(&Puma::new("puma"))?,
        workloads.spawn(&Apache::default())?,
        workloads.spawn(&Nginx::new().fastcgi("/", fpm.listen()))?,
    ];
    let via: Vec<String> = hops.iter().map(Running::url).collect();
    let inner = workloads.spawn(&Nginx::new().proxy("/", hops[0].url().as_str()))?;
    let front = workloads.spawn(&HaProxy::before(&inner.url()))?;
    let chain = get(format!("{}/hop/42?via={}", front.url(), via.join(",")))?;
    for service in [
        "sync", "threads", "express", "go", "java", "puma", "apache", "php-fpm",
    ] {
        assert!(
            chain.contains(&format!("\"{service}\"")),
            "{service} is missing in {chain}"
        );
    }

    for hop in &hops {
        let url = hop.url();
        assert!(
            get(format!("{url}/slow/5/1"))?.contains("\"id\""),
            "{}",
            hop.name()
        );
        assert_eq!(
            get(format!("{url}/body/2500/1"))?.len(),
            2500,
            "{}",
            hop.name()
        );
        assert_eq!(
            get(format!("{url}/chunked/2500/1"))?.len(),
            2500,
            "{}",
            hop.name()
        );
        let output = curl(&workloads)
            .args(["-d", "12345", &format!("{url}/upload/1")])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        assert!(
            text.replace(' ', "").contains("\"received\":5"),
            "{}: {text}",
            hop.name()
        );
        let output = curl(&workloads)
            .args([
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &format!("{url}/fail/1"),
            ])
            .output()?;
        assert_eq!(String::from_utf8(output.stdout)?, "500", "{}", hop.name());
    }

    for page in [
        workloads.spawn(&HttpServer::default())?,
        workloads.spawn(&BusyBoxHttpd::default())?,
    ] {
        assert!(
            get(format!("{}/index.html", page.url()))?.contains("It works"),
            "{}",
            page.name()
        );
    }
    let httpbin = workloads.spawn(&Gunicorn::httpbin("httpbin"))?;
    assert!(get(format!("{}/anything/7", httpbin.url()))?.contains("/anything/7"));

    let redis = workloads.spawn(&Redis::default())?;
    let pong = workloads
        .command("/usr/bin/redis-cli")
        .args(["-p", &redis.listen().port().to_string(), "ping"])
        .output()?;
    assert_eq!(pong.stdout, b"PONG\n");

    let six = workloads.spawn(&Nginx::new().listen(Listen::on("::1".parse()?)?))?;
    assert!(get(six.url())?.contains("It works"));

    let pids: Vec<u32> = hops.iter().flat_map(Running::pids).collect();
    assert!(pids.len() > hops.len(), "workers are counted too");
    drop(hops);
    for pid in pids {
        assert!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} lives on"
        );
    }
    Ok(())
}
