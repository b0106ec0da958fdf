//! The instruction at which a call's arguments are read.

use super::Place;
use super::graph::{Graph, Kind, Proof};
use super::values::{Registers, Width};
use crate::{Class, Register};
use iced_x86::Mnemonic;

/// The first cheap instruction that every call passes once while its arguments stand in registers,
/// and the registers; else the function's first instruction.
pub(super) fn choose(graph: &Graph, arguments: &[Register]) -> (Place, Vec<Register>) {
    let first = graph.node(graph.start());
    let mut held: Vec<Registers> = arguments.iter().map(|&one| Registers::one(one)).collect();
    for node in graph.straight().take(proved(graph)) {
        let at: Option<Vec<Register>> = held
            .iter()
            .zip(arguments)
            .map(|(registers, &original)| registers.prefer(original))
            .collect();
        let Some(at) = at else {
            break;
        };
        if node.class == Class::Emulated {
            return (Place::of(node), at);
        }
        if node.kind == Kind::Plain {
            for registers in &mut held {
                *registers = registers.after(node.effect, Width::All);
            }
        }
    }
    (Place::of(first), arguments.to_vec())
}

/// How many instructions of the straight path cannot be a jump's target that is not known: those up
/// to the last that makes room on the stack, for a jump behind it would do that twice.
fn proved(graph: &Graph) -> usize {
    match graph.proof {
        Proof::Whole => usize::MAX,
        Proof::Broken | Proof::Indirect => {
            let opens = |node: &super::graph::Node| match node.instruction.mnemonic() {
                Mnemonic::Push => true,
                Mnemonic::Sub => node.effect.writes.contains(Register::Rsp),
                _ => false,
            };
            let straight: Vec<_> = graph.straight().collect();
            straight
                .iter()
                .rposition(|node| opens(node))
                .map_or(1, |last| last + 1)
        }
    }
}
