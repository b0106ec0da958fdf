use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place};

/// `python3 -m http.server` on a directory with one page.
#[derive(Clone, Debug, Default)]
pub struct HttpServer {
    pub listen: Option<Listen>,
}

impl Program for HttpServer {
    fn name(&self) -> &str {
        "http.server"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        place.write("www/index.html", "<p>It works.</p>\n")?;
        let address = match &listen {
            Listen::Tcp(address) => address.ip().to_string(),
            Listen::Unix(_) => anyhow::bail!("http.server has no unix sockets"),
        };
        let port = listen.port().to_string();
        let www = place.path("www");
        let arguments = [
            "/usr/bin/python3",
            "-m",
            "http.server",
            "--bind",
            &address,
            "--directory",
            &www,
            &port,
        ];
        Ok(Launch::new(listen, arguments))
    }
}
