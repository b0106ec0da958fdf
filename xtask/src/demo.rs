//! A small shop of unmodified services, traced.
//!
//! ```text
//! curl -> nginx -> storefront -> catalog -> stock
//!                      |-> recommendations
//!                      `-> payment
//! ```

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weft_workloads::programs::{Apache, Express, Gunicorn, Nginx, Puma, WithEnvironment, curl};
use weft_workloads::{APPS, Group, Running, Workloads};

use crate::build::{self, Profile};
use crate::host;
use crate::step::step;

const GROUPS: [Group; 6] = [
    Group::Web,
    Group::Python,
    Group::Php,
    Group::Ruby,
    Group::Node,
    Group::Load,
];
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const READY_LIMIT: Duration = Duration::from_secs(30);
/// A finished trace is shown within two seconds of its end.
const UNTIL_SHOWN: Duration = Duration::from_millis(2500);

/// What customers do, and what to look at.
const VISITS: [(&str, &str, &str); 3] = [
    (
        "GET",
        "/products/7",
        "a page put together from three services",
    ),
    ("POST", "/checkout/7", "slow: the bank takes a second"),
    ("POST", "/refunds/13", "failing: the bank answers 503"),
];

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let keep = match arguments {
        [] => false,
        [flag] if flag == "--keep" => true,
        _ => bail!("`demo` takes `--keep` or nothing"),
    };
    host::prepare()?;
    let program = build::weft(Profile::Release)?;
    let workloads = step("making sure that the shop's programs are there", || {
        Workloads::ensure(&GROUPS)
    })?;
    let shop = step(
        "opening the shop: nginx, Flask, httpbin, Apache with PHP, Sinatra, Express",
        || Shop::open(&workloads),
    )?;
    let mut weft = Weft::start(&program, &shop)?;
    for (method, path, about) in VISITS {
        println!("\n\u{25b6} {method} {path}  ({about})\n");
        curl(&workloads)
            .args([
                "--request",
                method,
                "--output",
                "/dev/null",
                &format!("{}{path}", shop.url()),
            ])
            .status()
            .context("cannot run curl")?;
        thread::sleep(UNTIL_SHOWN);
    }
    if keep {
        println!(
            "\nThe shop is open: curl {}/products/1 in another terminal. Ctrl-C closes it.",
            shop.url()
        );
        weft.wait()?;
    } else {
        weft.stop()?;
        println!(
            "\nNothing in these programs was changed. nginx serves many requests on one thread: which of its calls belongs \
             to which is not known yet, and weft does not guess, so they begin traces of their own.\n\
             `cargo xtask demo --keep` leaves the shop open; \
             with {ENDPOINT}=http://localhost:4317 set, the traces go to a Collector or Jaeger as well."
        );
    }
    Ok(())
}

/// The services, each a third party's program; ends when dropped, nginx first.
struct Shop {
    nginx: Running,
    behind: Vec<Running>,
}

impl Shop {
    fn open(workloads: &Workloads) -> Result<Self> {
        let dir = |name: &str| format!("{APPS}/shop/{name}");
        let payment = workloads.spawn(&Gunicorn::httpbin("payment"))?;
        let stock = workloads.spawn(&Puma {
            dir: dir("stock"),
            ..Puma::new("stock")
        })?;
        let recommendations = workloads.spawn(&Express {
            script: format!("{}/recommendations.js", dir("recommendations")),
            ..Express::new("recommendations")
        })?;
        let catalog = workloads.spawn(&WithEnvironment::new(
            Apache {
                root: Some(dir("catalog")),
                ..Apache::default()
            },
            &[
                ("STOCK_URL", &stock.url()),
                ("OTEL_SERVICE_NAME", "catalog"),
            ],
        ))?;
        let storefront = workloads.spawn(&WithEnvironment::new(
            Gunicorn {
                application: "storefront:app".to_owned(),
                dir: dir("storefront"),
                ..Gunicorn::threads("storefront", 4)
            },
            &[
                ("CATALOG_URL", &catalog.url()),
                ("RECOMMENDATIONS_URL", &recommendations.url()),
                ("PAYMENT_URL", &payment.url()),
            ],
        ))?;
        let nginx = Nginx::new().proxy_named("storefront", "/", &storefront.url());
        let nginx = workloads.spawn(&nginx)?;
        Ok(Self {
            nginx,
            behind: vec![storefront, catalog, recommendations, stock, payment],
        })
    }

    fn url(&self) -> String {
        self.nginx.url()
    }

    fn pids(&self) -> Vec<u32> {
        let services = std::iter::once(&self.nginx).chain(&self.behind);
        services.flat_map(Running::pids).collect()
    }
}

/// weft, showing what it sees of the shop on this terminal.
struct Weft {
    child: Child,
}

impl Weft {
    fn start(program: &Path, shop: &Shop) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["run", "--output", "console", "--exe", "curl"]);
        for pid in shop.pids() {
            command.args(["--pid", &pid.to_string()]);
        }
        if std::env::var_os(ENDPOINT).is_some_and(|value| !value.is_empty()) {
            command.args(["--output", "otlp"]);
        }
        eprintln!("==> starting weft for the shop's processes and curl");
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run weft")?;
        let stderr = child.stderr.take().context("weft has no standard error")?;
        let ready = forward_until_ready(stderr);
        let weft = Self { child };
        if ready.recv_timeout(READY_LIMIT).is_err() {
            bail!("weft did not become ready");
        }
        Ok(weft)
    }

    /// Until it ends by itself, or by the terminal's Ctrl-C.
    fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .context("cannot run kill")?;
        let status = self.wait()?;
        if !status.success() {
            bail!("weft ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Weft {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop().ok();
        }
    }
}

/// Shows what weft says; gives a word when it says that it is ready, hangs up when it ends before.
fn forward_until_ready(stderr: impl Read + Send + 'static) -> Receiver<()> {
    let (say, ready) = channel();
    thread::spawn(move || {
        let mut say = Some(say);
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("{line}");
            if line == "weft: ready" {
                say.take().map(|say| say.send(()));
            }
        }
    });
    ready
}
