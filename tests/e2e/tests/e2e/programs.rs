//! Every request to every server gives exactly one right server span, whose parent is the client's.

use anyhow::{Result, ensure};
use weft_e2e::{Kind, Scene, Span, on_scene};
use weft_workloads::programs::{
    Apache, BusyBoxHttpd, Express, Go, Gunicorn, HttpServer, Java, Nginx, PhpFpm, Program, Puma,
};
use weft_workloads::{Group, Listen, Running};

/// Whether a call made while handling a request can be linked by the thread that makes it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handling {
    BlockingWorker,
    /// One thread may read the request and another handle it and answer.
    Pool,
    EventLoop,
    /// The runtime tells for which task the call is made.
    Task,
}

#[test]
fn gunicorn_sync() -> Result<()> {
    application(
        Group::Python,
        &Gunicorn::sync("sync"),
        Handling::BlockingWorker,
    )
}

#[test]
fn gunicorn_threads() -> Result<()> {
    application(
        Group::Python,
        &Gunicorn::threads("threads", 4),
        Handling::BlockingWorker,
    )
}

#[test]
fn puma() -> Result<()> {
    application(Group::Ruby, &Puma::new("puma"), Handling::Pool)
}

#[test]
fn apache_prefork() -> Result<()> {
    application(Group::Php, &Apache::default(), Handling::BlockingWorker)
}

#[test]
fn jdk_http_server() -> Result<()> {
    application(Group::Java, &Java::new("java"), Handling::BlockingWorker)
}

#[test]
fn express() -> Result<()> {
    application(Group::Node, &Express::new("express"), Handling::EventLoop)
}

#[test]
fn go_net_http() -> Result<()> {
    application(Group::Go, &Go::new("go"), Handling::Task)
}

#[test]
fn php_fpm_behind_nginx() -> Result<()> {
    on_scene(&[Group::Php, Group::Load], |scene| {
        let fpm = scene.workloads.spawn(&PhpFpm::default())?;
        let nginx = scene
            .workloads
            .spawn(&Nginx::new().fastcgi("/", fpm.listen()))?;
        let weft = scene.weft()?.start()?;
        let requests = Requests::make(scene, &nginx)?;
        let spans = scene.finish(weft)?;
        requests.check(&spans, &nginx)?;
        // FastCGI is no HTTP: between nginx and PHP there is nothing to report.
        ensure!(spans.of(&fpm.pids()).is_empty(), "spans of PHP:\n{spans}");
        Ok(())
    })
}

/// nginx -> FastCGI -> PHP -> a second server: what PHP calls is below nginx's request.
#[test]
fn calls_of_php_fpm() -> Result<()> {
    on_scene(&[Group::Php, Group::Python, Group::Load], |scene| {
        let second = scene.workloads.spawn(&Gunicorn::sync("second"))?;
        let socket = format!("/scratch/{}.sock", scene.tag);
        let listens = [None, Some(Listen::Unix(socket.into()))];
        let mut chains = Vec::new();
        for listen in listens {
            let fpm = PhpFpm {
                listen,
                ..PhpFpm::default()
            };
            let fpm = scene.workloads.spawn(&fpm)?;
            let nginx = Nginx::new().fastcgi("/", fpm.listen());
            let nginx = scene.workloads.spawn(&nginx)?;
            chains.push((nginx, fpm));
        }
        let weft = scene.weft()?.start()?;
        let ids: Vec<String> = (0..20).map(|number| scene.id(number)).collect();
        for (index, id) in ids.iter().enumerate() {
            let url = chains[index % 2].0.url();
            scene.curl(&[&format!("{url}/hop/{id}?via={}", second.url())])?;
        }
        let pids: Vec<_> = chains
            .iter()
            .map(|(nginx, fpm)| (nginx.pids(), fpm.pids()))
            .collect();
        let spans = scene.finish(weft)?;
        for (index, id) in ids.iter().enumerate() {
            let (nginx, fpm) = &pids[index % 2];
            let spans = spans.at(&format!("/hop/{id}"));
            let front = spans.of(nginx).servers();
            let call = spans.of(fpm).clients();
            let (front, call) = (front.one()?, call.one()?);
            call.check(&[("weft.link", "thread")])?;
            ensure!(call.is_child_of(front), "PHP's call:\n{spans}");
            spans.of(nginx).clients().count(0)?;
            spans.of(fpm).servers().count(0)?;
        }
        Ok(())
    })
}

#[test]
fn nginx_static_files() -> Result<()> {
    files(Group::Web, &Nginx::new(), "nginx")
}

#[test]
fn python_http_server() -> Result<()> {
    files(Group::Python, &HttpServer::default(), "http.server")
}

#[test]
fn busybox_httpd() -> Result<()> {
    files(Group::Web, &BusyBoxHttpd::default(), "httpd")
}

/// The whole contract of the applications, and one call to a second server, early and late.
fn application(group: Group, program: &dyn Program, handling: Handling) -> Result<()> {
    on_scene(&[group, Group::Python, Group::Load], |scene| {
        // Late: all processes and the pools of their workers are older than weft.
        let second = scene.workloads.spawn(&Gunicorn::sync("second"))?;
        let late = scene.workloads.spawn(program)?;
        let weft = scene.weft()?.start()?;
        let requests = Requests::make(scene, &late)?;
        let hop = scene.id("hop-late");
        scene.curl(&[&format!("{}/hop/{hop}?via={}", late.url(), second.url())])?;

        // Early: weft sees them start.
        let early = scene.workloads.spawn(program)?;
        let early_hop = scene.id("hop-early");
        scene.curl(&[&format!(
            "{}/hop/{early_hop}?via={}",
            early.url(),
            second.url()
        )])?;

        let (late_pids, early_pids) = (late.pids(), early.pids());
        let spans = scene.finish(weft)?;
        requests.check(&spans, &late)?;
        for (id, pids) in [(hop, late_pids), (early_hop, early_pids)] {
            let spans = spans.at(&format!("/hop/{id}"));
            let server = spans.of(&pids).servers();
            let client = spans.of(&pids).clients();
            let (server, client) = (server.one()?, client.one()?);
            let below = spans.of(&second.pids()).servers();
            let below = below.one()?;
            below.check(&[("weft.link", "wire-position")])?;
            ensure!(
                below.is_child_of(client),
                "the second server's span is not below the call:\n{spans}"
            );
            ensure!(
                server.start_ns <= client.start_ns && client.end_ns <= server.end_ns,
                "the call is not within:\n{spans}"
            );
            match handling {
                Handling::BlockingWorker => {
                    client.check(&[("weft.link", "thread")])?;
                    ensure!(
                        client.is_child_of(server),
                        "the call is not below the request:\n{spans}"
                    );
                }
                Handling::Task => {
                    client.check(&[("weft.link", "hand-off")])?;
                    ensure!(
                        client.is_child_of(server),
                        "the call is not below the request:\n{spans}"
                    );
                }
                Handling::Pool => {
                    ensure!(
                        matches!(client.link(), "thread" | "hand-off")
                            && client.is_child_of(server),
                        "the call is not below the request:\n{spans}"
                    );
                }
                Handling::EventLoop => {
                    client.check(&[("weft.link", "none")])?;
                    ensure!(client.parent.is_none(), "a guessed parent:\n{spans}");
                }
            }
        }
        Ok(())
    })
}

/// Programs that serve files only.
fn files(group: Group, program: &dyn Program, service: &str) -> Result<()> {
    on_scene(&[group, Group::Load], |scene| {
        let server = scene.workloads.spawn(program)?;
        let weft = scene.weft()?.start()?;
        let ids: Vec<String> = (0..8).map(|number| scene.id(number)).collect();
        for id in &ids {
            scene.curl(&[
                &format!("{}/index.html?{id}", server.url()),
                "-o",
                "/dev/null",
            ])?;
            scene.curl(&[&format!("{}/missing-{id}", server.url()), "-o", "/dev/null"])?;
            scene.curl(&[
                "--head",
                &format!("{}/head-{id}", server.url()),
                "-o",
                "/dev/null",
            ])?;
        }
        let pids = server.pids();
        std::thread::sleep(std::time::Duration::from_millis(200));
        weft.stop()?;
        let found = scene.sink.spans("/index.html");
        let tagged = scene.sink.spans(&scene.tag);
        for id in &ids {
            let page = found.filter(|span| span.get("url.query") == id.as_str());
            let page = page.servers();
            let page = page.one()?;
            page.check(&[
                ("http.request.method", "GET"),
                ("http.response.status_code", "200"),
                ("http.response.body.size", "17"),
            ])?;
            ensure!(
                !page.is_error && page.service() == service,
                "not as it should be:\n{page}"
            );
            let missing = tagged.at(&format!("/missing-{id}"));
            missing
                .servers()
                .one()?
                .check(&[("http.response.status_code", "404"), ("error.type", "")])?;
            missing
                .clients()
                .one()?
                .check(&[("http.response.status_code", "404"), ("error.type", "404")])?;
            let head = tagged.at(&format!("/head-{id}"));
            head.servers().one()?.check(&[
                ("http.request.method", "HEAD"),
                ("http.response.status_code", "404"),
            ])?;
        }
        // BusyBox forks for each connection: its spans are of other processes.
        if service != "httpd" {
            found.of(&pids).servers().count(ids.len())?;
        }
        Ok(())
    })
}

/// One request of each kind, made by curl.
pub(crate) struct Requests {
    slow: String,
    failing: String,
    body: String,
    chunked: String,
    upload: String,
    many: Vec<String>,
}

impl Requests {
    pub(crate) fn make(scene: &Scene, server: &Running) -> Result<Self> {
        let path = |kind: &str| format!("/{kind}/{}", scene.id(kind.replace('/', "-")));
        let requests = Self {
            slow: path("slow/150"),
            failing: path("fail"),
            body: path("body/3000"),
            chunked: path("chunked/3000"),
            upload: path("upload"),
            many: (0..10)
                .map(|number| format!("/hop/{}", scene.id(number)))
                .collect(),
        };
        let url = |path: &str| format!("{}{path}", server.url());
        for path in [
            &requests.slow,
            &requests.failing,
            &requests.body,
            &requests.chunked,
        ] {
            scene.curl(&[&url(path)])?;
        }
        scene.curl(&["-d", "0123456789", &url(&requests.upload)])?;
        // One curl, one connection where the server keeps it.
        let urls: Vec<String> = requests.many.iter().map(|path| url(path)).collect();
        scene.curl(&urls.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(requests)
    }

    /// Exactly one server span and one client span for each, linked by wire position.
    pub(crate) fn check(&self, spans: &weft_e2e::Spans, server: &Running) -> Result<()> {
        let port = server.listen().port().to_string();
        let pair = |path: &str| -> Result<(Span, Span)> {
            let at = spans.at(path);
            let servers =
                at.filter(|span| span.kind == Kind::Server && span.get("server.port") == port);
            let clients = at.filter(|span| span.kind == Kind::Client && span.service() == "curl");
            let (server, client) = (servers.one()?, clients.one()?);
            server.check(&[
                ("weft.link", "wire-position"),
                ("weft.partial", ""),
                ("network.protocol.version", "1.1"),
            ])?;
            client.check(&[
                ("weft.link", "none"),
                ("server.address", "127.0.0.1"),
                ("server.port", &port),
            ])?;
            ensure!(
                server.is_child_of(client),
                "not below its client's:\n{server}\n{client}"
            );
            ensure!(
                client.start_ns <= server.start_ns,
                "the server began before its client:\n{server}\n{client}"
            );
            ensure!(server.end_ns > server.start_ns, "no duration:\n{server}");
            ensure!(
                server.get("user_agent.original").starts_with("curl/"),
                "no user agent:\n{server}"
            );
            Ok((server.clone(), client.clone()))
        };
        let get = [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("error.type", ""),
        ];

        let (slow, _) = pair(&self.slow)?;
        slow.check(&get)?;
        let lasted = (slow.end_ns - slow.start_ns) / 1_000_000;
        ensure!((150..600).contains(&lasted), "{lasted} ms:\n{slow}");

        let failed = [("http.response.status_code", "500"), ("error.type", "500")];
        let (failing, failing_client) = pair(&self.failing)?;
        failing.check(&failed)?;
        failing_client.check(&failed)?;
        ensure!(
            failing.is_error && failing_client.is_error,
            "no error status:\n{failing}\n{failing_client}"
        );

        let (body, body_client) = pair(&self.body)?;
        body.check(&get)?
            .check(&[("http.response.body.size", "3000")])?;
        body_client.check(&[("http.response.body.size", "3000")])?;
        ensure!(!body.is_error, "an error:\n{body}");

        let (chunked, _) = pair(&self.chunked)?;
        chunked
            .check(&get)?
            .check(&[("http.response.body.size", "3000")])?;

        let (upload, _) = pair(&self.upload)?;
        upload.check(&[
            ("http.request.method", "POST"),
            ("http.request.body.size", "10"),
        ])?;

        for path in &self.many {
            pair(path)?.0.check(&get)?;
        }
        Ok(())
    }
}
