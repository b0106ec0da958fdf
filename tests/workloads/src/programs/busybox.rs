use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place};

/// BusyBox httpd on a directory with one page: a process for each connection.
#[derive(Clone, Debug, Default)]
pub struct BusyBoxHttpd {
    pub listen: Option<Listen>,
}

impl Program for BusyBoxHttpd {
    fn name(&self) -> &str {
        "busybox"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        place.write("www/index.html", "<p>It works.</p>\n")?;
        let address = listen.text();
        Ok(Launch::new(
            listen,
            [
                "/bin/busybox",
                "httpd",
                "-f",
                "-p",
                &address,
                "-h",
                &place.path("www"),
            ],
        ))
    }
}
