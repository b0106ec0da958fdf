use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// The Go `net/http` application: a goroutine for each connection.
#[derive(Clone, Debug)]
pub struct Go {
    pub listen: Option<Listen>,
    pub service: String,
}

impl Go {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
        }
    }
}

impl Program for Go {
    fn name(&self) -> &str {
        "go"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        Launch::new(listen, [format!("{}/go/hop", apps::DIR)]).hosted(&self.service)
    }
}
