use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// Gunicorn: our Flask application, or any other that a package brings.
#[derive(Clone, Debug)]
pub struct Gunicorn {
    pub listen: Option<Listen>,
    pub service: String,
    pub worker: Worker,
    pub workers: u32,
    /// `module:variable`
    pub application: String,
    /// Directory of the application's module; none for an installed one.
    pub dir: String,
}

/// How Gunicorn handles a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// One request at a time for each process.
    Sync,
    /// Blocking threads.
    Threads(u32),
}

impl Gunicorn {
    pub fn sync(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
            worker: Worker::Sync,
            workers: 2,
            application: "hop:app".to_owned(),
            dir: format!("{}/python", apps::DIR),
        }
    }

    pub fn threads(service: &str, threads: u32) -> Self {
        Self {
            worker: Worker::Threads(threads),
            workers: 1,
            ..Self::sync(service)
        }
    }

    /// httpbin, a third party's whole service: `/delay/<s>`, `/status/<code>`, `/anything/...`.
    pub fn httpbin(service: &str) -> Self {
        Self {
            application: "httpbin:app".to_owned(),
            dir: "/".to_owned(),
            ..Self::sync(service)
        }
    }
}

impl Program for Gunicorn {
    fn name(&self) -> &str {
        "gunicorn"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let workers = self.workers.to_string();
        let bind = listen.text();
        let mut arguments: Vec<String> = [
            "/usr/bin/gunicorn",
            "--bind",
            &bind,
            "--workers",
            &workers,
            "--chdir",
            &self.dir,
        ]
        .map(str::to_owned)
        .to_vec();
        if let Worker::Threads(threads) = self.worker {
            arguments.extend(
                [
                    "--worker-class",
                    "gthread",
                    "--keep-alive",
                    "30",
                    "--threads",
                ]
                .map(str::to_owned),
            );
            arguments.push(threads.to_string());
        }
        arguments.extend(["--worker-tmp-dir", "/dev/shm", "--timeout", "60"].map(str::to_owned));
        arguments.push(self.application.clone());
        Ok(Launch::new(listen, arguments)
            .env("SERVICE", &self.service)
            .dir(&self.dir))
    }
}
