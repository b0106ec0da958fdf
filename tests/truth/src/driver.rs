//! Sends the requests of a scenario and writes down what really happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::client::{Answer, Client, ClientError, Outgoing, Reuse};
use crate::scenario::{Call, Scenario};
use crate::topology::{Answered, Hop, Topology};
use crate::truth::{Cell, Exchange, IdSpace, Request, RequestId, Status};

/// Cheap to clone: all clones write the same record.
#[derive(Clone, Debug)]
pub struct Driver {
    pub ids: IdSpace,
    pub topology: Arc<Topology>,
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    /// By [`RequestId`].
    requests: Vec<Request>,
    /// Requests that went wrong, by what went wrong.
    failures: BTreeMap<String, u64>,
}

/// The connections of one scenario: for each client one to each route's entry.
#[derive(Debug)]
pub struct Pool {
    clients: Vec<Vec<Client>>,
}

/// What one client needs to know.
#[derive(Clone, Debug)]
struct Task {
    driver: Driver,
    scenario: Arc<Scenario>,
    vias: Arc<[String]>,
    cell: Cell,
    scored: Scored,
    /// Requests begun so far by all clients, of `total`.
    begun: Arc<AtomicUsize>,
    total: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scored {
    Yes,
    /// Sent before the agent was there.
    No,
}

/// Tries of one request on kept connections that turn out closed.
const STALE_TRIES: usize = 4;

impl Driver {
    pub fn new(ids: IdSpace, topology: Topology) -> Self {
        Self {
            ids,
            topology: Arc::new(topology),
            record: Arc::default(),
        }
    }

    pub fn pool(&self, scenario: &Scenario, clients: usize, reuse: Reuse) -> Pool {
        let mut pool: Vec<Vec<Client>> = (0..clients).map(|_| vec![]).collect();
        for route in &scenario.routes {
            let entry = self.topology.node(route.entry).address;
            let to_entry = Client::pool(scenario.protocol, entry, reuse, clients);
            for (connections, client) in pool.iter_mut().zip(to_entry) {
                connections.push(client);
            }
        }
        Pool { clients: pool }
    }

    /// Opens all connections of the pool, and those behind, by using them.
    pub async fn warm(&self, pool: &mut Pool, scenario: &Arc<Scenario>, cell: Cell) {
        let total = pool.clients.len() * scenario.routes.len() * 2;
        self.run(&mut pool.clients, scenario, cell, total, Scored::No)
            .await;
    }

    /// `total` requests by the first `cell.clients` clients of the pool.
    pub async fn drive(&self, pool: &mut Pool, scenario: &Arc<Scenario>, cell: Cell, total: usize) {
        let clients = cell.clients.min(pool.clients.len());
        self.run(
            &mut pool.clients[..clients],
            scenario,
            cell,
            total,
            Scored::Yes,
        )
        .await;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.locked().requests.clone()
    }

    /// Requests that got no answer or a wrong one, by what went wrong.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.locked().failures.clone()
    }

    async fn run(
        &self,
        clients: &mut [Vec<Client>],
        scenario: &Arc<Scenario>,
        cell: Cell,
        total: usize,
        scored: Scored,
    ) {
        let vias = scenario
            .routes
            .iter()
            .map(|route| self.topology.via(route))
            .collect();
        let task = Task {
            driver: self.clone(),
            scenario: scenario.clone(),
            vias,
            cell,
            scored,
            begun: Arc::default(),
            total,
        };
        let mut tasks = JoinSet::new();
        for (index, client) in clients.iter_mut().enumerate() {
            let (task, connections) = (task.clone(), std::mem::take(client));
            tasks.spawn(async move { (index, task.run(connections).await) });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((index, connections)) => clients[index] = connections,
                Err(error) => self.fail(format!("a client of the driver ended: {error}")),
            }
        }
    }

    fn begin(&self, cell: Cell) -> RequestId {
        let mut record = self.locked();
        let id = u32::try_from(record.requests.len()).unwrap_or(u32::MAX);
        let sent = SystemTime::now();
        record.requests.push(Request {
            cell,
            exchanges: None,
            sent,
            answered: sent,
        });
        RequestId(id)
    }

    fn end(&self, id: RequestId, exchanges: Option<Vec<Exchange>>) {
        if let Some(request) = self.locked().requests.get_mut(id.0 as usize) {
            request.exchanges = exchanges;
            request.answered = SystemTime::now();
        }
    }

    fn fail(&self, what: String) {
        *self.locked().failures.entry(what).or_default() += 1;
    }

    fn locked(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    async fn run(self, mut connections: Vec<Client>) -> Vec<Client> {
        let (routes, calls) = (connections.len(), self.scenario.calls.len());
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return connections;
            }
            let (route, call) = (number % routes, self.scenario.calls[number % calls]);
            self.request(&mut connections[route], route, call).await;
        }
    }

    /// One request; a new one, with an id of its own, when the connection was closed under it.
    async fn request(&self, client: &mut Client, route: usize, call: Call) {
        let driver = &self.driver;
        for _ in 0..STALE_TRIES {
            let id = driver.begin(self.cell);
            let text = driver.ids.text(id);
            let path = call.path(&text);
            let via = if call.is_hop() {
                self.vias[route].as_str()
            } else {
                ""
            };
            let target = match call {
                Call::Hop if !via.is_empty() => format!("{path}?via={via}"),
                _ => path.clone(),
            };
            let outgoing = Outgoing {
                method: call.method(),
                target,
                body: Bytes::from(vec![b'u'; call.upload()]),
                messages: match call {
                    Call::Rpc(rpc) => rpc.sent,
                    _ => 1,
                },
                via: via.to_owned(),
            };
            match client.send(outgoing).await {
                Ok(answer) => {
                    let exchanges = self.exchanges(&text, &path, route, call, &answer);
                    let exchanges = exchanges.map_err(|error| driver.fail(error)).ok();
                    driver.end(id, exchanges.filter(|_| self.scored == Scored::Yes));
                    return;
                }
                Err(ClientError::Stale(_)) => driver.end(id, None),
                Err(error) => {
                    driver.end(id, None);
                    driver.fail(format!("{}: {error}", self.scenario.name));
                    return;
                }
            }
        }
        driver.fail(format!(
            "{}: every connection was closed under the request",
            self.scenario.name
        ));
    }

    fn exchanges(
        &self,
        id: &str,
        path: &str,
        route: usize,
        call: Call,
        answer: &Answer,
    ) -> Result<Vec<Exchange>, String> {
        let topology = &self.driver.topology;
        let route = &self.scenario.routes[route];
        let name = self.scenario.name;
        let hop = match call {
            Call::Body { bytes } | Call::Chunked { bytes } => {
                let got = answer.body.len();
                if answer.status == Status::Http(200) && got != bytes {
                    return Err(format!("{name}: a body of {got} instead of {bytes} bytes"));
                }
                None
            }
            Call::Rpc(rpc) if answer.messages != rpc.answered => {
                return Err(format!("{name}: {call:?} answered with {answer:?}"));
            }
            Call::Rpc(_) if !call.is_hop() => None,
            _ if !self.scenario.tells(topology) => None,
            _ => {
                let hop = serde_json::from_slice::<Hop>(&answer.body);
                let status = &answer.status;
                Some(hop.map_err(|_| format!("{name}: {call:?} answered with {status:?}"))?)
            }
        };
        let mut route = route.clone();
        if !call.is_hop() {
            route.via.clear();
        }
        let (status, hop) = (answer.status.clone(), hop.as_ref());
        let answered = Answered {
            id,
            method: call.method(),
            path,
            status,
            hop,
        };
        topology
            .exchanges(&route, &answered)
            .map_err(|mismatch| format!("{name}: {mismatch}"))
    }
}
