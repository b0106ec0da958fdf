//! The function that a thin one hands its arguments to.

use std::collections::BTreeSet;

use super::ARGUMENTS;
use super::graph::{Graph, Kind, Node};
use super::values::{Registers, Width};
use crate::Register;

/// Thin functions call within that many instructions.
const MAX_INSTRUCTIONS: usize = 64;

/// The first function that is called on the way on which no branch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    pub(crate) address: u64,
    /// In which argument of the inner function each of the outer one's stands, if it does.
    pub(crate) arguments: [Option<Register>; ARGUMENTS.len()],
}

pub(crate) fn inner(graph: &Graph) -> Option<Inner> {
    let mut held = Held::new();
    let mut at = graph.start();
    for _ in 0..MAX_INSTRUCTIONS {
        let node = graph.node(at);
        match called(node) {
            Called::Function(address) => return Some(held.inner(address)),
            Called::Unknown => return None,
            Called::Nothing => {}
        }
        held = held.after(node);
        at = *node.next.first()?;
    }
    None
}

/// The functions that are called first, on any way.
pub(crate) fn inners(graph: &Graph) -> Vec<Inner> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut work = vec![(graph.start(), Held::new())];
    while let Some((at, held)) = work.pop() {
        if seen.len() == MAX_INSTRUCTIONS || !seen.insert(at) {
            continue;
        }
        let node = graph.node(at);
        match called(node) {
            Called::Function(address) => found.push(held.inner(address)),
            Called::Unknown => {}
            Called::Nothing => {
                let held = held.after(node);
                work.extend(node.next.iter().map(|&next| (next, held)));
            }
        }
    }
    found
}

enum Called {
    Function(u64),
    Unknown,
    Nothing,
}

fn called(node: &Node) -> Called {
    match node.kind {
        Kind::Call(target) => target.map_or(Called::Unknown, Called::Function),
        Kind::Leave => Called::Function(node.instruction.near_branch_target()),
        _ => Called::Nothing,
    }
}

/// In which registers each of the arguments stands.
#[derive(Clone, Copy)]
struct Held([Registers; ARGUMENTS.len()]);

// === impl Held ===

impl Held {
    fn new() -> Self {
        Self(ARGUMENTS.map(Registers::one))
    }

    fn after(self, node: &Node) -> Self {
        Self(self.0.map(|held| held.after(node.effect, Width::Lower)))
    }

    fn inner(self, address: u64) -> Inner {
        let stands = |held: Registers| {
            let mut registers = ARGUMENTS.into_iter();
            registers.find(|&register| held.contains(register))
        };
        Inner {
            address,
            arguments: self.0.map(stands),
        }
    }
}
