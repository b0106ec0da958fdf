use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place};

/// Redis without persistence: traffic that is not HTTP.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    pub listen: Option<Listen>,
}

impl Program for Redis {
    fn name(&self) -> &str {
        "redis"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let port = listen.port().to_string();
        let mut arguments: Vec<String> = [
            "/usr/bin/redis-server",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port,
        ]
        .map(str::to_owned)
        .to_vec();
        match &listen {
            Listen::Tcp(address) => {
                arguments.extend(["--bind".to_owned(), address.ip().to_string()]);
            }
            Listen::Unix(path) => {
                arguments.extend(["--unixsocket".to_owned(), path.display().to_string()]);
            }
        }
        Ok(Launch::new(listen, arguments).dir(place.inside()))
    }
}
