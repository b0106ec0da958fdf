//! The driver's record against a stand-in that is known to the byte.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use weft_truth::client::Reuse;
use weft_truth::driver::Driver;
use weft_truth::scenario::{ALL_CALLS, Call, Protocol, Scenario};
use weft_truth::topology::{Limits, Node, Role, Route, Topology};
use weft_truth::truth::{Attach, Cell, IdSpace, Model, Process, ProgramInfo, Status};

#[tokio::test]
async fn every_call_is_recorded() {
    let driver = driver(stand_in().await);
    let scenario = scenario(ALL_CALLS);
    for (clients, reuse) in [(1, Reuse::Keep), (8, Reuse::Never)] {
        let cell = Cell {
            scenario: 0,
            attach: Attach::Early,
            clients,
        };
        let mut pool = driver.pool(&scenario, clients, reuse);
        driver
            .drive(&mut pool, &scenario, cell, 2 * ALL_CALLS.len())
            .await;
    }
    assert!(driver.failures().is_empty(), "{:?}", driver.failures());
    let requests = driver.requests();
    assert_eq!(requests.len(), 4 * ALL_CALLS.len());
    for request in requests {
        let exchanges = request.exchanges.unwrap();
        let [client, server] = exchanges.as_slice() else {
            panic!("{exchanges:?}")
        };
        assert_eq!(client.process, Process::Pid(std::process::id()));
        assert_eq!((client.parent, server.parent), (None, Some(0)));
        let failed = client.path.starts_with("/fail/");
        assert_eq!(
            client.status,
            Some(Status::Http(if failed { 500 } else { 200 }))
        );
        assert!(request.sent <= request.answered);
    }
}

#[tokio::test]
async fn warming_up_is_not_scored() {
    let driver = driver(stand_in().await);
    let scenario = scenario(&[Call::Hop]);
    let cell = Cell {
        scenario: 0,
        attach: Attach::Late,
        clients: 2,
    };
    let mut pool = driver.pool(&scenario, 2, Reuse::Keep);
    driver.warm(&mut pool, &scenario, cell).await;
    let requests = driver.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.exchanges.is_none()));
}

#[tokio::test]
async fn an_application_that_mixes_ids_is_a_failure() {
    let mixing = Router::new().route("/hop/{id}", get(async || answer("another")));
    let driver = driver(serve(mixing).await);
    let scenario = scenario(&[Call::Hop]);
    let cell = Cell {
        scenario: 0,
        attach: Attach::Early,
        clients: 1,
    };
    let mut pool = driver.pool(&scenario, 1, Reuse::Keep);
    driver.drive(&mut pool, &scenario, cell, 1).await;
    assert_eq!(driver.failures().len(), 1);
    assert_eq!(driver.requests()[0].exchanges, None);
}

fn driver(address: SocketAddr) -> Driver {
    let node = |name: &str, role| Node {
        info: ProgramInfo {
            name: name.to_owned(),
            model: Model::Interleaved,
        },
        address,
        scheme: "http",
        role,
        roots: vec![],
        limits: Limits::NONE,
    };
    let mut topology = Topology::new(node("driver", Role::Plain));
    topology.add(node("stand-in", Role::App));
    Driver::new(IdSpace::new(1), topology)
}

fn scenario(calls: &'static [Call]) -> Arc<Scenario> {
    let entry = weft_truth::truth::Program(1);
    Arc::new(Scenario {
        name: "test",
        protocol: Protocol::Http1,
        routes: vec![Route { entry, via: vec![] }],
        calls,
    })
}

async fn stand_in() -> SocketAddr {
    let bytes = async |Path((bytes, _)): Path<(usize, String)>| "x".repeat(bytes);
    let failure =
        async |Path(id): Path<String>| (http::StatusCode::INTERNAL_SERVER_ERROR, answer(&id));
    let answers = Router::new()
        .route("/hop/{id}", get(async |Path(id): Path<String>| answer(&id)))
        .route(
            "/slow/{ms}/{id}",
            get(async |Path((_, id)): Path<(u32, String)>| answer(&id)),
        )
        .route("/fail/{id}", get(failure))
        .route("/body/{bytes}/{id}", get(bytes))
        .route("/chunked/{bytes}/{id}", get(bytes))
        .route(
            "/upload/{id}",
            post(async |Path(id): Path<String>, _: bytes::Bytes| answer(&id)),
        );
    serve(answers).await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

fn answer(id: &str) -> String {
    format!(r#"{{"service":"stand-in","pid":1,"id":"{id}","next":null}}"#)
}
