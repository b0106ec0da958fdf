use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// The Express application on Node: one thread, an event loop.
#[derive(Clone, Debug)]
pub struct Express {
    pub listen: Option<Listen>,
    pub service: String,
}

impl Express {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
        }
    }
}

impl Program for Express {
    fn name(&self) -> &str {
        "express"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let script = format!("{}/node/hop.js", apps::DIR);
        Launch::new(listen, ["/usr/bin/node", &script]).hosted(&self.service)
    }
}
