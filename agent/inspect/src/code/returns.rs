//! The instructions at which a call's outcome is read.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions};

use super::graph::{Graph, Kind, Node, Proof};
use super::values::{ALL, Registers, Width};
use super::{Place, class};
use crate::elf::Image;
use crate::{Class, Register};

/// Ends of functions are short: what is longer is not an end.
const MAX_STEPS: usize = 256;
/// Of one function, over all that is tried.
const MAX_STEPS_IN_ALL: usize = 50_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Every call that returns passes exactly one.
    Sites(Vec<Place>),
    Probe,
    /// The same, or it ends in the function that starts there.
    Either(Vec<Place>, Place),
}

/// The register that holds the returned value, and where.
pub(super) fn choose(image: &Image<'_>, graph: &Graph) -> (Register, Chosen) {
    let ends: Vec<usize> = graph.all(Kind::Return).collect();
    let whole = graph.proof == Proof::Whole && !ends.is_empty();
    let mut steps = MAX_STEPS_IN_ALL;
    if whole
        && graph.tails.is_empty()
        && let Some((value, sites)) = ALL
            .into_iter()
            .filter(|&register| register != Register::Rsp)
            .find_map(|register| Some((register, cheap(graph, &ends, register, &mut steps)?)))
    {
        return (value, Chosen::Sites(sites));
    }
    let chosen = if graph.node(graph.start()).class == Class::Emulated {
        Chosen::Probe
    } else {
        let sites = ends.iter().map(|&end| Place::of(graph.node(end))).collect();
        match graph.tails.len() {
            0 if whole => Chosen::Sites(sites),
            _ => tail(image, graph).map_or(Chosen::Probe, |tail| Chosen::Either(sites, tail)),
        }
    };
    (Register::Rax, chosen)
}

/// The start of the only function that this one ends in, if it is a cheap place and not called
/// before.
fn tail(image: &Image<'_>, graph: &Graph) -> Option<Place> {
    let mut tails = graph.tails.iter().copied();
    let address = tails.next().filter(|_| graph.proof == Proof::Whole)?;
    let place = Place::at(image, address)?;
    let called = graph
        .nodes()
        .iter()
        .any(|node| node.kind == Kind::Call(Some(address)));
    (tails.next().is_none() && !called && place.class == Class::Emulated).then_some(place)
}

/// Cheap instructions of which every way to an end passes exactly one while the value to be
/// returned stands in this register.
fn cheap(graph: &Graph, ends: &[usize], value: Register, steps: &mut usize) -> Option<Vec<Place>> {
    let valid: BTreeSet<usize> = (0..graph.nodes().len())
        .filter(|&at| graph.node(at).class == Class::Emulated)
        .filter(|&at| is_value_kept(graph, at, value, steps))
        .collect();
    let chosen = last_before(graph, ends, &valid)?;
    let behind = chosen
        .iter()
        .flat_map(|&at| graph.node(at).next.iter().copied());
    let meets_another = reach(graph, behind).any(|at| chosen.contains(&at));
    (!meets_another).then(|| chosen.iter().map(|&at| Place::of(graph.node(at))).collect())
}

/// Whether on every way from this instruction to an end what stands in the register is what is
/// returned.
fn is_value_kept(graph: &Graph, from: usize, value: Register, steps: &mut usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut work = vec![(from, Registers::one(value))];
    while let Some((at, held)) = work.pop() {
        if !seen.insert((at, held)) {
            continue;
        }
        if *steps == 0 {
            return false;
        }
        *steps -= 1;
        let node = graph.node(at);
        let held = held.after(node.effect, Width::Lower);
        if seen.len() > MAX_STEPS || held.is_empty() {
            return false;
        }
        match node.kind {
            Kind::Return if !held.contains(Register::Rax) => return false,
            Kind::Leave => return false,
            _ => work.extend(node.next.iter().map(|&next| (next, held))),
        }
    }
    true
}

/// Walks back from the ends: the first of `valid` on each way. `None` when a way has none.
fn last_before(graph: &Graph, ends: &[usize], valid: &BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    let mut chosen = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut work = ends.to_vec();
    while let Some(at) = work.pop() {
        if !seen.insert(at) {
            continue;
        }
        if valid.contains(&at) {
            chosen.insert(at);
            continue;
        }
        if at == graph.start() {
            return None;
        }
        work.extend(&graph.node(at).previous);
    }
    Some(chosen)
}

/// Everything that can be reached from there.
fn reach(graph: &Graph, from: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let mut seen = BTreeSet::new();
    let mut work: Vec<usize> = from.collect();
    while let Some(at) = work.pop() {
        if seen.insert(at) {
            work.extend(&graph.node(at).next);
        }
    }
    seen.into_iter()
}

// === impl Place ===

impl Place {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            address: node.address,
            class: node.class,
        }
    }

    /// The first instruction there.
    fn at(image: &Image<'_>, address: u64) -> Option<Self> {
        let code = image.code(address)?;
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        Some(Self {
            address,
            class: class(&code[..instruction.len()]),
        })
    }
}
