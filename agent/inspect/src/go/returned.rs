//! Where the number of bytes stands that a method returns, before it returns it.

mod holders;

use crate::code::{Graph, Kind, Node, Proof};
use crate::{Class, Direction, Outcome};
use holders::{Effect, Holders};

/// Never come back.
const ENDS: [&[u8]; 5] = [
    b"runtime.panic",
    b"runtime.goPanic",
    b"runtime.gopanic",
    b"runtime.throw",
    b"runtime.fatal",
];
/// Fill the reader's buffer.
const FILLS: [&[u8]; 2] = [b"runtime.memmove", b"bytes.(*Reader).Read"];
/// Loops in loops: each is one more.
const MAX_ROUNDS: usize = 32;
/// Instructions from a call's return to the site.
const MAX_STEPS: usize = 16;

/// The last cheap instruction that
/// - every call passes at most once,
/// - behind which, on all ways, what stands in that place is returned,
/// - and without which, on all ways, 0 is returned;
/// - and when it is passed, a reader's buffer is filled.
pub(super) fn site<'g, 't>(
    graph: &'g Graph,
    callee: &impl Fn(u64) -> Option<&'t [u8]>,
    direction: Direction,
) -> Option<(&'g Node, Outcome)> {
    if graph.proof != Proof::Whole || !graph.tails.is_empty() {
        return None;
    }
    let ways = Ways::new(graph, callee);
    let behind = ways.holders_behind()?;
    let is_filler = |node: &Node| match node.kind {
        Kind::Call(Some(target)) => callee(target).is_some_and(|name| FILLS.contains(&name)),
        _ => false,
    };
    let fillers: Vec<usize> = match direction {
        Direction::Read => (0..graph.nodes().len())
            .filter(|&at| is_filler(graph.node(at)))
            .collect(),
        Direction::Write => Vec::new(),
    };
    let returns_zero: Vec<bool> = (0..graph.nodes().len())
        .map(|at| ways.effects[at].zeroes(behind[at].as_ref()))
        .collect();
    let mut last: Option<(usize, Outcome)> = None;
    for (at, node) in graph.nodes().iter().enumerate() {
        if node.class != Class::Emulated || ways.next[at].is_empty() {
            continue;
        }
        let before = behind[at]
            .as_ref()
            .map(|behind| ways.effects[at].before(behind));
        let Some(outcome) = before.and_then(|holders| holders.outcome()) else {
            continue;
        };
        let later = ways.reach(ways.next[at], |_| false);
        if later[at] || fillers.iter().any(|&filler| later[filler]) {
            continue;
        }
        let without = ways.reach(&[graph.start()], |other| other == at || returns_zero[other]);
        if graph.all(Kind::Return).any(|end| without[end]) {
            continue;
        }
        // All valid ones lie on one way.
        if last.is_none_or(|(last, _)| !later[last]) {
            last = Some((at, outcome));
        }
    }
    last.map(|(at, outcome)| (graph.node(at), outcome))
}

/// The first cheap instruction behind a call, and where what it returned stands there.
pub(super) fn kept<'g>(graph: &'g Graph, call: &Node) -> Option<(&'g Node, Outcome)> {
    let mut holders = Holders::returned();
    let mut from = call;
    for _ in 0..MAX_STEPS {
        let &[next] = from.next.as_slice() else {
            return None;
        };
        let node = graph.node(next);
        if node.previous.len() != 1 {
            return None;
        }
        if node.class == Class::Emulated {
            return Some((node, holders.outcome()?));
        }
        if node.kind != Kind::Plain {
            return None;
        }
        holders = Effect::of(node).after(&holders);
        from = node;
    }
    None
}

/// A function's instructions, as a call that ends can pass them.
struct Ways<'g> {
    graph: &'g Graph,
    next: Vec<&'g [usize]>,
    effects: Vec<Effect>,
}

// === impl Ways ===

impl<'g> Ways<'g> {
    fn new<'t>(graph: &'g Graph, callee: &impl Fn(u64) -> Option<&'t [u8]>) -> Self {
        let comes_back = |node: &Node| match node.kind {
            Kind::Call(Some(target)) => {
                !callee(target).is_some_and(|name| ENDS.iter().any(|end| name.starts_with(end)))
            }
            _ => true,
        };
        let next = |node: &'g Node| match comes_back(node) {
            true => node.next.as_slice(),
            false => &[],
        };
        let mut effects: Vec<Effect> = graph.nodes().iter().map(Effect::of).collect();
        let shared: Vec<u64> = effects.iter().filter_map(Effect::shared).collect();
        effects.iter_mut().for_each(|effect| effect.forget(&shared));
        Self {
            graph,
            next: graph.nodes().iter().map(next).collect(),
            effects,
        }
    }

    /// For each instruction, the places in which, right behind it, stands what is returned on all
    /// ways from there. `None` from where no way leads to an end.
    fn holders_behind(&self) -> Option<Vec<Option<Holders>>> {
        let nodes = self.graph.nodes();
        let mut behind: Vec<Option<Holders>> = nodes
            .iter()
            .map(|node| (node.kind == Kind::Return).then(Holders::returned))
            .collect();
        // Places are only ever taken away, and against the flow is most of the way in one round.
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for at in (0..nodes.len())
                .rev()
                .filter(|&at| nodes[at].kind != Kind::Return)
            {
                let mut all: Option<Holders> = None;
                for &next in self.next[at] {
                    let Some(holders) = &behind[next] else {
                        continue;
                    };
                    let holders = match nodes[next].kind {
                        Kind::Return => holders.clone(),
                        _ => self.effects[next].before(holders),
                    };
                    all = Some(match all {
                        Some(all) => all.common(&holders),
                        None => holders,
                    });
                }
                changed |= behind[at] != all;
                behind[at] = all;
            }
            if !changed {
                return Some(behind);
            }
        }
        None
    }

    /// What is passed from there on, without what lies behind a `stop`.
    fn reach(&self, from: &[usize], stop: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut work = from.to_vec();
        while let Some(at) = work.pop() {
            if !reached[at] && !stop(at) {
                reached[at] = true;
                work.extend(self.next[at]);
            }
        }
        reached
    }
}
