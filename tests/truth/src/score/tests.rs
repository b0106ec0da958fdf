//! Planted faults must be found, and nothing else.

use std::collections::HashMap;
use std::time::SystemTime;

use http::Method;

use super::judge::unix_ns;
use super::*;
use crate::truth::{
    Attach, Exchange, IdSpace, LinkClass, Model, Process, ProgramInfo, Request, ScenarioInfo,
    Sharing, Status,
};

const DRIVER: Program = Program(0);
const PROXY: Program = Program(1);
const APP: Program = Program(2);
const BACKEND: Program = Program(3);
/// Expected spans of one request.
const SPANS: usize = 6;

#[test]
fn a_perfect_agent() {
    let truth = truth(10);
    let score = score(&truth, &perfect(&truth));
    let total = score.total();
    assert_eq!((total.expected, total.found), (60, 60));
    assert_eq!(
        total.roots,
        Links {
            right: 10,
            missed: 0,
            wrong: 0
        }
    );
    assert_eq!(
        total.hops,
        Links {
            right: 30,
            missed: 0,
            wrong: 0
        }
    );
    assert_eq!(
        total.in_process,
        Links {
            right: 20,
            missed: 0,
            wrong: 0
        }
    );
    assert!(score.examples.is_empty(), "{:?}", score.examples);
}

#[test]
fn a_missing_span() {
    planted(
        |spans| drop(spans.remove(5)),
        |tally| {
            tally.found -= 1;
            tally.hops.right -= 1;
        },
        0,
    );
}

#[test]
fn a_missing_span_in_between() {
    // Its child may hang under the nearest cause, or under nothing, or under what never came.
    for (parent, right, missed) in [(Some(0), 1, 0), (None, 0, 1), (Some(1), 0, 1)] {
        planted(
            |spans| {
                spans[2].parent = parent.map(|parent: usize| spans[parent].span_id.clone());
                drop(spans.remove(1));
            },
            |tally| {
                tally.found -= 1;
                tally.hops.right -= 1;
                tally.in_process.right -= 1;
                tally.in_process.right += right;
                tally.in_process.missed += missed;
            },
            0,
        );
    }
}

#[test]
fn a_missed_link() {
    planted(
        |spans| {
            spans[4].parent = None;
            for span in &mut spans[4..6] {
                span.trace_id = vec![0xee; 16];
            }
        },
        |tally| {
            tally.in_process.right -= 1;
            tally.in_process.missed += 1;
        },
        0,
    );
}

#[test]
fn a_wrong_link() {
    planted(
        |spans| spans[4].parent = Some(spans[1].span_id.clone()),
        |tally| {
            tally.in_process.right -= 1;
            tally.in_process.wrong += 1;
        },
        0,
    );
}

#[test]
fn a_parent_nobody_knows() {
    planted(
        |spans| spans[4].parent = Some(vec![9; 8]),
        |tally| {
            tally.in_process.right -= 1;
            tally.in_process.wrong += 1;
        },
        0,
    );
}

#[test]
fn a_root_with_a_parent() {
    planted(
        |spans| spans[0].parent = Some(vec![9; 8]),
        |tally| {
            tally.roots.right -= 1;
            tally.roots.wrong += 1;
        },
        0,
    );
}

#[test]
fn a_right_parent_in_another_trace() {
    planted(
        |spans| spans[5].trace_id = vec![0xee; 16],
        |tally| {
            tally.hops.right -= 1;
            tally.hops.wrong += 1;
        },
        0,
    );
}

#[test]
fn a_swapped_pair() {
    // The application's calls of two requests hang under each other's server spans.
    planted(
        |spans| {
            let (first, second) = (4, SPANS + 4);
            let parent = spans[first].parent.clone();
            spans[first].parent = spans[second].parent.clone();
            spans[second].parent = parent;
            let trace = spans[0].trace_id.clone();
            for index in [4, 5] {
                spans[index].trace_id = spans[SPANS].trace_id.clone();
                spans[SPANS + index].trace_id = trace.clone();
            }
        },
        |tally| {
            tally.in_process.right -= 2;
            tally.in_process.wrong += 2;
        },
        2,
    );
}

#[test]
fn a_mixed_trace() {
    planted(
        |spans| {
            let trace = spans[0].trace_id.clone();
            for span in &mut spans[SPANS..2 * SPANS] {
                span.trace_id = trace.clone();
            }
        },
        |_| {},
        1,
    );
}

#[test]
fn a_duplicate() {
    planted(
        |spans| {
            let mut again = spans[3].clone();
            again.span_id = vec![9; 8];
            spans.push(again);
        },
        |tally| tally.duplicates += 1,
        0,
    );
}

#[test]
fn an_unexpected_span() {
    planted(
        |spans| {
            // The backend did not call anybody.
            let mut invented = spans[4].clone();
            invented.pid = Some(300);
            invented.span_id = vec![9; 8];
            spans.push(invented);
        },
        |tally| tally.unexpected += 1,
        0,
    );
}

#[test]
fn a_span_of_the_wrong_process() {
    planted(
        |spans| spans[5].pid = Some(201),
        |tally| {
            tally.found -= 1;
            tally.hops.right -= 1;
            tally.unexpected += 1;
        },
        0,
    );
}

#[test]
fn wrong_fields() {
    planted(
        |spans| {
            spans[1].method = Some("POST".to_owned());
            spans[2].status = Some(Status::Http(502));
            spans[3].status = None;
            spans[4].start_ns = 1;
            spans[5].end_ns = u64::MAX;
        },
        |tally| {
            tally.wrong_method += 1;
            tally.wrong_status += 2;
            tally.wrong_time += 2;
        },
        0,
    );
}

#[test]
fn strangers_and_void_requests() {
    let mut truth = truth(3);
    let mut spans = perfect(&truth);
    truth.requests[1].exchanges = None;
    spans[0].target = "/health".to_owned();
    let score = score(&truth, &spans);
    assert_eq!((score.strangers, score.void), (1, 1));
    let total = score.total();
    assert_eq!((total.expected, total.found, total.unexpected), (12, 11, 0));
}

/// Plants a fault into a perfect agent's spans; exactly the change given must come out.
#[track_caller]
fn planted(fault: impl Fn(&mut Vec<Span>), change: impl Fn(&mut Tally), mixed: u64) {
    let truth = truth(4);
    let mut spans = perfect(&truth);
    let mut expected = score(&truth, &spans).total();
    fault(&mut spans);
    change(&mut expected);
    let found = score(&truth, &spans);
    assert_eq!(found.total(), expected, "{:#?}", found.examples);
    assert_eq!(found.mixed, mixed);
}

/// driver → proxy (pid 100) → application (pids 200 and 201) → backend (pid 300)
fn truth(requests: u32) -> Truth {
    let ids = IdSpace::new(0xabcd_0123);
    let cell = Cell {
        scenario: 0,
        attach: Attach::Early,
        clients: 1,
    };
    let now = SystemTime::now();
    let request = |id: u32| {
        let path = format!("/hop/{}", ids.text(RequestId(id)));
        let app = Process::Pid(200 + id % 2);
        let steps = [
            (DRIVER, Kind::Client, Process::Pid(1), LinkClass::Root),
            (PROXY, Kind::Server, Process::Unnamed, LinkClass::Hop),
            (PROXY, Kind::Client, Process::Unnamed, LinkClass::InProcess),
            (APP, Kind::Server, app, LinkClass::Hop),
            (APP, Kind::Client, app, LinkClass::InProcess),
            (BACKEND, Kind::Server, Process::Pid(300), LinkClass::Hop),
        ];
        let exchange = |(index, (program, kind, process, link))| Exchange {
            program,
            kind,
            process,
            method: Method::GET,
            path: path.clone(),
            status: Some(Status::Http(200)),
            parent: usize::checked_sub(index, 1),
            link,
        };
        let exchanges = steps.into_iter().enumerate().map(exchange).collect();
        Request {
            cell,
            exchanges: Some(exchanges),
            sent: now,
            answered: now,
        }
    };
    let program = |name: &str| ProgramInfo {
        name: name.to_owned(),
        model: Model::Blocking,
    };
    Truth {
        requests: (0..requests).map(request).collect(),
        programs: ["driver", "proxy", "app", "backend"].map(program).to_vec(),
        scenarios: vec![ScenarioInfo {
            name: "test".to_owned(),
            sharing: Sharing::Streams,
        }],
        members: HashMap::from([
            (1, DRIVER),
            (100, PROXY),
            (200, APP),
            (201, APP),
            (300, BACKEND),
        ]),
        ids,
    }
}

/// What an agent without fault would export.
fn perfect(truth: &Truth) -> Vec<Span> {
    let mut spans = Vec::new();
    for (number, request) in truth.requests.iter().enumerate() {
        let id = |index: usize| (1000 + number * SPANS + index).to_be_bytes().to_vec();
        for (index, exchange) in request.exchanges.iter().flatten().enumerate() {
            let pid = match exchange.process {
                Process::Pid(pid) => pid,
                Process::Unnamed => 100,
            };
            spans.push(Span {
                trace_id: [id(0), id(0)].concat(),
                span_id: id(index),
                parent: exchange.parent.map(id),
                kind: Some(exchange.kind),
                pid: Some(pid),
                service: String::new(),
                target: format!("http://127.0.0.1{}?via=", exchange.path),
                named: true,
                partial: false,
                method: Some(exchange.method.to_string()),
                status: exchange.status.clone(),
                start_ns: unix_ns(Some(request.sent)),
                end_ns: unix_ns(Some(request.answered)),
                notes: String::new(),
            });
        }
    }
    spans
}

/// Of streams that are older than the agent, a span may not know what was asked for, if it says so.
#[test]
fn a_nameless_span() {
    let mut truth = truth(4);
    for request in &mut truth.requests {
        request.cell.attach = Attach::Late;
    }
    let check = |parent: usize, change: fn(&mut Tally)| {
        let mut spans = perfect(&truth);
        let mut expected = score(&truth, &spans).total();
        spans[4].target = "GET".to_owned();
        (spans[4].named, spans[4].partial) = (false, true);
        spans[5].parent = Some(spans[parent].span_id.clone());
        expected.found -= 1;
        expected.nameless += 1;
        expected.in_process.right -= 1;
        change(&mut expected);
        let found = score(&truth, &spans);
        assert_eq!(found.total(), expected, "{:#?}", found.examples);
    };
    check(4, |_| {});
    check(2, |tally| {
        tally.hops.right -= 1;
        tally.hops.wrong += 1;
    });
    // A span that knows less than it should.
    let mut spans = perfect(&truth);
    spans[4].status = None;
    assert_eq!(score(&truth, &spans).total().wrong_status, 1);
    spans[4].partial = true;
    assert_eq!(score(&truth, &spans).total().wrong_status, 0);
}
