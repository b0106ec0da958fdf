use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// Puma with a Sinatra application: blocking threads.
#[derive(Clone, Debug)]
pub struct Puma {
    pub listen: Option<Listen>,
    pub service: String,
    pub threads: u32,
    /// Directory of `config.ru`, as Puma sees it.
    pub dir: String,
}

impl Puma {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
            threads: 8,
            dir: format!("{}/ruby", apps::DIR),
        }
    }
}

impl Program for Puma {
    fn name(&self) -> &str {
        "puma"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let bind = match &listen {
            Listen::Tcp(address) => format!("tcp://{address}"),
            Listen::Unix(path) => format!("unix://{}", path.display()),
        };
        let threads = format!("{0}:{0}", self.threads);
        Ok(Launch::new(
            listen,
            [
                "/usr/bin/puma",
                "--environment",
                "production",
                "--threads",
                &threads,
                "--bind",
                &bind,
            ],
        )
        .env("SERVICE", &self.service)
        .dir(&self.dir))
    }
}
