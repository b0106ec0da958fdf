//! Where in a function's code a probe belongs.

mod class;
mod entry;
mod extents;
mod graph;
mod inner;
mod returns;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use crate::elf::Image;
use crate::{Class, Register, Return, Site};

pub(crate) use class::class;
pub(crate) use extents::Extents;
pub(crate) use graph::{Graph, Kind, Limits, Node, Proof};
pub(crate) use inner::{inner, inners};
pub(crate) use sweep::{calls, instructions, pointers, stores};
pub(crate) use values::{ALL, Registers, Width, general};

/// The registers that hold a C function's arguments (System V ABI).
pub(crate) const ARGUMENTS: [Register; 6] = [
    Register::Rdi,
    Register::Rsi,
    Register::Rdx,
    Register::Rcx,
    Register::R8,
    Register::R9,
];

/// The sites of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sites {
    pub(crate) entry: Site,
    /// Where the arguments stand at the entry site, in the order asked for.
    pub(crate) arguments: Vec<Register>,
    pub(crate) returns: Return,
    /// Where the returned value stands at the return sites.
    pub(crate) value: Register,
}

/// An instruction that a probe may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: u64,
    class: Class,
}

/// The sites of the function of these limits, whose arguments stand in these registers at its
/// start. `None` when there is no code.
pub(crate) fn sites(
    image: &Image<'_>,
    address: u64,
    limits: Limits,
    arguments: &[Register],
) -> Option<Sites> {
    let graph = Graph::read(image, address, limits)?;
    let site = |place: Place| {
        Some(Site {
            offset: image.offset(place.address)?,
            class: place.class,
        })
    };
    let all = |places: Vec<Place>| places.into_iter().map(site).collect::<Option<_>>();
    let (entry, arguments) = entry::choose(&graph, arguments);
    let (value, returns) = returns::choose(image, &graph);
    Some(Sites {
        entry: site(entry)?,
        arguments,
        returns: match returns {
            returns::Chosen::Sites(places) => Return::Sites(all(places)?),
            returns::Chosen::Probe => Return::Probe {
                function: site(Place::of(graph.node(graph.start())))?,
            },
            returns::Chosen::Either(places, tail) => Return::Either {
                sites: all(places)?,
                function: site(tail)?,
            },
        },
        value,
    })
}
