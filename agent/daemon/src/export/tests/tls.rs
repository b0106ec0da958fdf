//! Both protocols over TLS, to a collector whose authority only the configuration knows.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject as _},
    },
};

use super::collector::{
    Collector, Mood, answer, config, dropped, eventually, exported, figure, spans, start,
};
use crate::config::Protocol;

struct Tls {
    address: SocketAddr,
    certificate: PathBuf,
    _runtime: Runtime,
}

fn serve(protocol: Protocol, collector: Collector) -> Tls {
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    let name = format!("weft-tls-{}-{protocol:?}.pem", std::process::id());
    let certificate = std::env::temp_dir().join(name);
    std::fs::write(&certificate, cert.pem()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(server));

    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, collector) = (acceptor.clone(), collector.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let (stream, server) = (
                    TokioIo::new(stream),
                    auto::Builder::new(TokioExecutor::new()),
                );
                // The client may go in the middle: the counters tell what arrived.
                let _ended = match protocol {
                    Protocol::Grpc => {
                        let service = TraceServiceServer::new(collector);
                        let service = tonic::service::Routes::new(service);
                        server
                            .serve_connection(stream, TowerToHyperService::new(service))
                            .await
                    }
                    Protocol::HttpProtobuf => {
                        let service = hyper::service::service_fn(move |request| {
                            answer(collector.clone(), request)
                        });
                        server.serve_connection(stream, service).await
                    }
                };
            });
        }
    });
    Tls {
        address,
        certificate,
        _runtime: runtime,
    }
}

#[track_caller]
fn check(protocol: Protocol) {
    let collector = Collector::new(Mood::Accept);
    let server = serve(protocol, collector.clone());
    let mut config = config(server.address);
    let endpoint = format!("https://localhost:{}", server.address.port());
    config.otlp.endpoint = Some(endpoint.parse().unwrap());
    config.otlp.protocol = protocol;
    config.otlp.certificate = Some(server.certificate.clone());
    let (exports, registry) = start(&config);
    exports.sink().submit(spans(3));
    exports.finish();
    assert_eq!((collector.taken(), exported(&registry)), (3, 3));

    // Nobody vouches for it.
    config.otlp.certificate = None;
    config.otlp.retry.give_up = Duration::from_millis(200);
    let (exports, registry) = start(&config);
    exports.sink().submit(spans(2));
    eventually("giving up", || dropped(&registry, "") == 2);
    assert!(figure(&registry, "weft_export_requests_total", "") > 0);
    exports.finish();
    assert_eq!(collector.taken(), 3);
    std::fs::remove_file(&server.certificate).unwrap();
}

#[test]
fn grpc() {
    check(Protocol::Grpc);
}

#[test]
fn http() {
    check(Protocol::HttpProtobuf);
}
