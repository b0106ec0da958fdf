use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// An Express application on Node: one thread, an event loop.
#[derive(Clone, Debug)]
pub struct Express {
    pub listen: Option<Listen>,
    pub service: String,
    /// As Node sees it.
    pub script: String,
    /// Which Node.
    pub node: String,
}

impl Express {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
            script: format!("{}/node/hop.js", apps::DIR),
            node: "/usr/bin/node".to_owned(),
        }
    }

    /// On Node.js 22 as npm has it, with symbols. Needs [`Group::Npm`](crate::Group::Npm), too.
    pub fn with_symbols(service: &str) -> Self {
        Self {
            node: "/srv/npm/node22/bin/node".to_owned(),
            ..Self::new(service)
        }
    }
}

impl Program for Express {
    fn name(&self) -> &str {
        "express"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let launch = Launch::new(listen, [&*self.node, &self.script]).hosted(&self.service)?;
        // Where the archive's Node looks by itself.
        Ok(launch.env("NODE_PATH", "/usr/share/nodejs"))
    }
}
