use std::fmt::Write as _;

use anyhow::Result;

use super::{Certificate, Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// nginx with one worker process, configured by the body of its `server` block.
#[derive(Clone, Debug, Default)]
pub struct Nginx {
    pub listen: Option<Listen>,
    /// Directives inside `server { }`.
    server: String,
    /// Directives inside `http { }`.
    http: String,
    upstreams: u32,
    certificate: Option<Certificate>,
    http2: bool,
    files: Vec<(String, Vec<u8>)>,
}

impl Nginx {
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes a path prefix on, over kept connections; `to` is `http://host:port`, `https://host:port` or `http://unix:/path`.
    #[must_use]
    pub fn proxy(self, prefix: &str, to: &str) -> Self {
        let name = format!("upstream{}", self.upstreams);
        self.proxy_named(&name, prefix, to)
    }

    /// The same with a name of its own for the group of servers: what nginx sends as `Host`.
    #[must_use]
    pub fn proxy_named(mut self, name: &str, prefix: &str, to: &str) -> Self {
        let (scheme, server) = to.split_once("://").unwrap_or(("http", to));
        self.upstreams += 1;
        // Writing into a String cannot fail.
        let _ = writeln!(
            self.http,
            "upstream {name} {{ server {server}; keepalive 8; }}"
        );
        // With a path after the name nginx would rewrite; without one the target goes through as it came.
        let _ = writeln!(
            self.server,
            "location {prefix} {{ proxy_pass {scheme}://{name}; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}"
        );
        self
    }

    /// Gives everything to the PHP application behind this FastCGI address.
    #[must_use]
    pub fn fastcgi(mut self, prefix: &str, to: &Listen) -> Self {
        let _ = writeln!(
            self.server,
            "location {prefix} {{ include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {}/php/index.php; fastcgi_pass {}; }}",
            apps::DIR,
            to.text()
        );
        self
    }

    /// Any other directive of the `server` block, for instance a `location`.
    #[must_use]
    pub fn directive(mut self, text: &str) -> Self {
        self.server.push_str(text);
        self.server.push('\n');
        self
    }

    /// A file to be served at `/<name>`.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), bytes));
        self
    }

    /// Speaks TLS, with a certificate made for this.
    pub fn tls(mut self) -> Result<Self> {
        self.certificate = Some(Certificate::of_loopback()?);
        Ok(self)
    }

    /// Speaks HTTP/2: in plaintext nothing else, over TLS with who asks for it.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Passes gRPC on, over kept connections; `to` is `host:port`.
    #[must_use]
    pub fn grpc(mut self, prefix: &str, to: &str) -> Self {
        let _ = writeln!(self.http, "upstream calls {{ server {to}; keepalive 8; }}");
        let _ = writeln!(
            self.server,
            "location {prefix} {{ grpc_pass grpc://calls; }}"
        );
        self
    }

    #[must_use]
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen = Some(listen);
        self
    }
}

impl Program for Nginx {
    fn name(&self) -> &str {
        "nginx"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        for (name, bytes) in &self.files {
            place.write(&format!("www/{name}"), bytes)?;
        }
        let (ssl, keys) = match &self.certificate {
            None => ("", String::new()),
            Some(certificate) => {
                let (certificate, key) = certificate.write(place)?;
                let keys = format!("ssl_certificate {certificate};\nssl_certificate_key {key};\n");
                ("ssl ", keys)
            }
        };
        let text = format!(
            r#"daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr;
user root root;
events {{ worker_connections 4096; }}
http {{
include /etc/nginx/mime.types;
access_log off;
keepalive_requests 1000000;
http2_max_concurrent_streams 1000;
client_max_body_size 0;
client_body_temp_path {dir}/body;
proxy_temp_path {dir}/proxy;
fastcgi_temp_path {dir}/fastcgi;
uwsgi_temp_path {dir}/uwsgi;
scgi_temp_path {dir}/scgi;
{http}server {{
listen {listen} {ssl}{http2}backlog=4096;
root {dir}/www;
{keys}{server}}}
}}
"#,
            dir = place.inside().display(),
            http = self.http,
            listen = listen.text(),
            server = self.server,
            http2 = if self.http2 { "http2 " } else { "" },
        );
        place.write("www/index.html", "<p>It works.</p>\n")?;
        let file = place.write("nginx.conf", text)?;
        Ok(Launch::new(
            listen,
            [
                "/usr/sbin/nginx",
                "-c",
                &file,
                "-e",
                "stderr",
                "-p",
                &place.path(""),
            ],
        ))
    }
}
