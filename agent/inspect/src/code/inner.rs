//! The function that a thin one hands its arguments to.

use super::ARGUMENTS;
use super::graph::{Graph, Kind};
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
    let mut held = ARGUMENTS.map(Registers::one);
    let mut at = graph.start();
    for _ in 0..MAX_INSTRUCTIONS {
        let node = graph.node(at);
        let target = match node.kind {
            Kind::Call(target) => Some(target?),
            Kind::Leave => Some(node.instruction.near_branch_target()),
            _ => None,
        };
        if let Some(address) = target {
            return Some(Inner {
                address,
                arguments: held.map(|held| {
                    ARGUMENTS
                        .into_iter()
                        .find(|&register| held.contains(register))
                }),
            });
        }
        held = held.map(|held| held.after(node.effect, Width::Lower));
        at = *node.next.first()?;
    }
    None
}
