//! weft's own figures arrive at a collector.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    config::{Config, Output},
    export::Exports,
    telemetry::Registry,
};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportMetricsServiceRequest>>>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[test]
fn figures_arrive_by_grpc() {
    let collector = Collector::default();
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let service = MetricsServiceServer::new(collector.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let mut config = Config {
        outputs: vec![Output::Otlp],
        ..Config::default()
    };
    config.otlp.endpoint = Some(format!("http://{address}").parse().unwrap());
    config.metrics.interval = Some(Duration::from_millis(200));
    let registry = Registry::default();
    let exports = Exports::start(&config, &registry, || {}).unwrap();
    registry
        .counter(
            "weft_late_total",
            "A figure that came late.",
            &[("reason", "x")],
        )
        .add(5);

    let named = |request: &ExportMetricsServiceRequest| {
        let group = &request.resource_metrics[0];
        let service = group
            .resource
            .as_ref()
            .unwrap()
            .attributes
            .iter()
            .any(|pair| {
                pair.key == "service.name"
                    && pair.value.as_ref().unwrap().value
                        == Some(Value::StringValue("weft".to_owned()))
            });
        let late = group.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        service
            && late
                .into_iter()
                .any(|metric| metric.name == "weft_late_total")
    };
    let start = Instant::now();
    while !collector.0.lock().unwrap().iter().any(named) {
        assert!(start.elapsed() < Duration::from_secs(30), "no figures came");
        std::thread::sleep(Duration::from_millis(20));
    }
    exports.finish();
}
