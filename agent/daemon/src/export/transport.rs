//! Connections to a collector: one connector for gRPC and HTTP, with TLS, that resolves names
//! itself (a static program cannot use the C library's resolver).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hickory_resolver::{ResolverBuilder, TokioResolver, net::NetError};
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::config::Otlp;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", path.display())]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("{}: no certificate in it", path.display())]
    NoCertificate { path: PathBuf },
    #[error("a client certificate needs its key, and a key its certificate")]
    HalfIdentity,
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector<Resolve>>, Full<Bytes>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const USER_AGENT: &str = concat!("weft/", env!("CARGO_PKG_VERSION"));

/// Connects when first used, and again after a failure.
pub(crate) fn channel(uri: Uri, otlp: &Otlp) -> Result<Channel, Error> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(otlp)?)
        .https_or_http()
        .enable_http2()
        .wrap_connector(tcp());
    let endpoint = Endpoint::from(uri).connect_timeout(CONNECT_TIMEOUT);
    let endpoint = endpoint
        .user_agent(USER_AGENT)
        .unwrap_or_else(|_| Endpoint::from_static("http://localhost"));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

pub(crate) fn http_client(otlp: &Otlp) -> Result<HttpClient, Error> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(otlp)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp());
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector))
}

fn tcp() -> HttpConnector<Resolve> {
    let mut tcp = HttpConnector::new_with_resolver(Resolve::from_system());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    tcp
}

fn tls(otlp: &Otlp) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let trusting = match &otlp.certificate {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        // A container may come without certificates of its own.
        None => match builder.clone().with_native_roots() {
            Ok(builder) => builder,
            Err(_) => builder.with_webpki_roots(),
        },
    };
    match (&otlp.client_certificate, &otlp.client_key) {
        (None, None) => Ok(trusting.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::Certificate {
                path: key.clone(),
                source,
            })?;
            Ok(trusting.with_client_auth_cert(chain, key)?)
        }
        _ => Err(Error::HalfIdentity),
    }
}

fn authorities(path: &PathBuf) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(Error::NoCertificate { path: path.clone() });
    }
    Ok(store)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |source| Error::Certificate {
        path: path.clone(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)
}

/// Names to addresses by `/etc/hosts` and `/etc/resolv.conf`. Numbers do not come here.
#[derive(Clone)]
pub(crate) struct Resolve {
    /// `None`: there is no usable `/etc/resolv.conf`.
    resolver: Option<TokioResolver>,
}

impl Resolve {
    pub(crate) fn from_system() -> Self {
        let built = TokioResolver::builder_tokio().and_then(ResolverBuilder::build);
        if let Err(error) = &built {
            log::debug!("names cannot be resolved: {error}");
        }
        Self {
            resolver: built.ok(),
        }
    }

    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let resolver = match (name, &self.resolver) {
            ("localhost", _) => {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            (_, None) => return Err(io::Error::other("no usable /etc/resolv.conf")),
            (_, Some(resolver)) => resolver,
        };
        let unresolved =
            |error: NetError| io::Error::other(format!("`{name}` does not resolve: {error}"));
        let found = resolver.lookup_ip(name).await.map_err(unresolved)?;
        Ok(found.iter().collect())
    }
}

impl Service<Name> for Resolve {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolve = self.clone();
        Box::pin(async move {
            let addresses = resolve.addresses(name.as_str()).await?;
            let addresses: Vec<_> = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            Ok(addresses.into_iter())
        })
    }
}
