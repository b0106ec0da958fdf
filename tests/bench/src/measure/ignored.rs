//! A program that weft does not understand: how much slower are its socket calls?

use anyhow::Result;

use crate::lab::{Beside, Lab, Sampler};
use crate::load::pingpong::{self, Ends};
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::prometheus::OwnFigures;

const ENDS: [(&str, Ends); 2] = [
    ("both ends in one thread", Ends::OneThread),
    ("two threads", Ends::TwoThreads),
];

#[derive(Default)]
struct Pair {
    without: Turn,
    with: Turn,
}

#[derive(Default)]
struct Turn {
    ns_per_call: Samples,
    rounds_per_second: Samples,
}

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut pairs: [Pair; ENDS.len()] = Default::default();
    let mut own = OwnFigures::default();
    // Short runs on a busy machine: more rounds than elsewhere.
    for _ in 0..plan.rounds * 2 {
        for (beside, turn) in [
            (Beside::Nothing, Pair::without as fn(&mut Pair) -> &mut Turn),
            (Beside::Weft(Sampler::All), Pair::with),
        ] {
            let traced = lab.start(beside)?;
            for ((_, ends), pair) in ENDS.iter().zip(&mut pairs) {
                turn(pair).add(pingpong::run(*ends, plan.pingpong)?);
            }
            if let Some(traced) = traced {
                own = traced.figures();
                traced.stop()?;
            }
        }
    }
    let mut table = Table::new(
        "one byte to and fro over loopback TCP, muted: four socket calls a round trip",
        &[
            "",
            "ns/call without",
            "ns/call with",
            "more ns/call",
            "round trips/s without",
            "change %",
        ],
    );
    for ((name, _), pair) in ENDS.iter().zip(&pairs) {
        let Pair { without, with } = pair;
        table.row(
            *name,
            [
                Cell::from(&without.ns_per_call),
                Cell::from(&with.ns_per_call),
                with.ns_per_call.less(&without.ns_per_call).into(),
                Cell::from(&without.rounds_per_second),
                with.rounds_per_second
                    .change_from(&without.rounds_per_second)
                    .into(),
            ],
        );
    }
    table.note(format!(
        "last round: {} of {} calls were seen as muted",
        own.kernel_event("calls_muted"),
        own.kernel_event("calls_seen"),
    ));
    report.own_figures.insert("ignored".to_owned(), own);
    report.tables.push(table);
    Ok(())
}

// === impl Pair ===

impl Pair {
    fn without(&mut self) -> &mut Turn {
        &mut self.without
    }

    fn with(&mut self) -> &mut Turn {
        &mut self.with
    }
}

// === impl Turn ===

impl Turn {
    fn add(&mut self, figures: pingpong::Figures) {
        self.ns_per_call.push(figures.ns_per_call());
        self.rounds_per_second.push(figures.rounds_per_second());
    }
}
