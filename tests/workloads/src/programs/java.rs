use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// The application on the JDK's own `HttpServer`: a pool of blocking threads.
#[derive(Clone, Debug)]
pub struct Java {
    pub listen: Option<Listen>,
    pub service: String,
}

impl Java {
    pub fn new(service: &str) -> Self {
        Self {
            listen: None,
            service: service.to_owned(),
        }
    }
}

impl Program for Java {
    fn name(&self) -> &str {
        "java"
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let classes = format!("{}/java", apps::DIR);
        Launch::new(
            listen,
            [
                "/usr/bin/java",
                "-XX:+UseSerialGC",
                "-Xmx256m",
                "-cp",
                &classes,
                "Hop",
            ],
        )
        .hosted(&self.service)
    }
}
