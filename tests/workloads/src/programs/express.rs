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
}

impl Express {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
            script: format!("{}/node/hop.js", apps::DIR),
        }
    }
}

impl Program for Express {
    fn name(&self) -> &str {
        "express"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        Launch::new(listen, ["/usr/bin/node", &self.script]).hosted(&self.service)
    }
}
