//! How many requests, by how many clients, and who is there first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::{Agent, AgentCommand, AgentError};
use crate::client::Reuse;
use crate::driver::{Driver, Pool};
use crate::scenario::Scenario;
use crate::sink::Sink;
use crate::truth::{Attach, Cell, Sharing};

#[derive(Debug)]
pub struct Plan<'a> {
    pub driver: &'a Driver,
    /// Numbers of concurrent clients, one after the other.
    pub clients: &'a [usize],
    /// The same of those that share a connection.
    pub streams: &'a [usize],
    pub amount: Amount,
    /// Time for the agent to export before it is asked to end.
    pub linger: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Full,
    /// A fifth, for every change.
    Quick,
}

/// A scenario and its index.
pub type Numbered = (usize, Arc<Scenario>);

/// How the agent ended.
pub type Ended = Result<(), AgentError>;

impl Plan<'_> {
    /// All scenarios under one agent that was there before the programs.
    pub async fn early(&self, scenarios: &[Numbered], agent: Agent) -> Ended {
        for (index, scenario) in scenarios {
            let mut kept = self.driver.pool(scenario, self.most(scenario), Reuse::Keep);
            self.drive(*index, scenario, Attach::Early, &mut kept).await;
        }
        self.stop(agent).await
    }

    /// The connections first, then the agent, then the requests that count. Scenarios of few connections
    /// share an agent.
    pub async fn late(
        &self,
        scenarios: &[Numbered],
        agent: &AgentCommand,
        sink: &Sink,
    ) -> Result<Vec<Ended>, AgentError> {
        let mut ended = Vec::new();
        let (own, streams): (Vec<_>, Vec<_>) = scenarios
            .iter()
            .partition(|(_, scenario)| scenario.protocol.sharing() == Sharing::Own);
        let alone = own.into_iter().map(|scenario| vec![scenario]);
        for together in alone.chain([streams]).filter(|some| !some.is_empty()) {
            let attach = Attach::Late;
            let mut pools = Vec::new();
            for (index, scenario) in &together {
                let clients = self.most(scenario);
                let mut kept = self.driver.pool(scenario, clients, Reuse::Keep);
                let cell = Cell {
                    scenario: *index,
                    attach,
                    clients,
                };
                self.driver.warm(&mut kept, scenario, cell).await;
                pools.push(kept);
            }
            let agent = agent.start(&sink.endpoint()).await?;
            for ((index, scenario), kept) in together.iter().zip(&mut pools) {
                self.drive(*index, scenario, attach, kept).await;
            }
            ended.push(self.stop(agent).await);
        }
        Ok(ended)
    }

    async fn drive(&self, index: usize, scenario: &Arc<Scenario>, attach: Attach, kept: &mut Pool) {
        let limits = scenario.limits(&self.driver.topology);
        let begin = Instant::now();
        for clients in self.numbers(scenario).iter().copied() {
            let requests = self.requests(clients);
            let cell = Cell {
                scenario: index,
                attach,
                clients,
            };
            // Where clients are too many to keep their connections, all open one for each
            // request; else a few do.
            let fresh = if clients <= limits.kept {
                self.driver.drive(kept, scenario, cell, requests).await;
                requests / 4
            } else {
                requests
            };
            let mut pool = self
                .driver
                .pool(scenario, clients.min(limits.clients), Reuse::Never);
            self.driver.drive(&mut pool, scenario, cell, fresh).await;
        }
        let took = begin.elapsed().as_secs_f64();
        eprintln!("truth: {attach:5} {:17} {took:5.1} s", scenario.name);
    }

    async fn stop(&self, agent: Agent) -> Ended {
        tokio::time::sleep(self.linger).await;
        agent.stop().await
    }

    fn numbers(&self, scenario: &Scenario) -> &[usize] {
        match scenario.protocol.sharing() {
            Sharing::Own => self.clients,
            Sharing::Streams => self.streams,
        }
    }

    /// Connections that the scenario's clients may keep.
    fn most(&self, scenario: &Scenario) -> usize {
        let limits = scenario.limits(&self.driver.topology);
        let most = self.numbers(scenario).iter().copied().max().unwrap_or(1);
        most.min(limits.clients).min(limits.kept)
    }

    fn requests(&self, clients: usize) -> usize {
        let full = (60 * clients).clamp(100, 1000);
        match self.amount {
            Amount::Full => full,
            Amount::Quick => (full / 5).max(clients * 2),
        }
    }
}
