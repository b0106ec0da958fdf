//! A function's instructions and the ways between them.

mod read;

use std::collections::BTreeSet;

use iced_x86::Instruction;

use super::values::Effect;
use crate::Class;

/// All instructions that are reached from a function's start.
#[derive(Debug)]
pub(crate) struct Graph {
    /// By address.
    nodes: Vec<Node>,
    start: usize,
    /// Whether these are all the ways through the function.
    pub(crate) proof: Proof,
    /// Where it leaves by a jump: addresses outside, that are called in its stead.
    pub(crate) tails: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Whole,
    /// Jumps whose targets stand in a register: a table of cases, or a call in its stead.
    Indirect,
    /// Too long, undecodable, or its end is not known.
    Broken,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: u64,
    pub(crate) class: Class,
    pub(crate) kind: Kind,
    pub(crate) effect: Effect,
    pub(crate) instruction: Instruction,
    /// Indices; not those that end in the stack protector's complaint.
    pub(crate) next: Vec<usize>,
    pub(crate) previous: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Jump,
    Branch,
    /// With the function's address when the instruction says it.
    Call(Option<u64>),
    Return,
    /// A jump that is not followed.
    Leave,
    Stop,
}

/// What is read of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `None` where nothing tells how long it is.
    bytes: Option<u64>,
}

// === impl Graph ===

impl Graph {
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Indices of the nodes of this kind.
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = usize> {
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(_, node)| node.kind == kind)
            .map(|(index, _)| index)
    }

    /// The instructions that every call passes first, in order, as far as none of them can be
    /// reached a second time. The last may be a branch or a call.
    pub(crate) fn straight(&self) -> impl Iterator<Item = &Node> {
        let mut at = Some(self.start);
        let mut expected = 0;
        std::iter::from_fn(move || {
            let node = &self.nodes[at?];
            if node.previous.len() != expected {
                return None;
            }
            expected = 1;
            at = match node.kind {
                Kind::Plain | Kind::Jump => node.next.first().copied(),
                _ => None,
            };
            Some(node)
        })
    }
}

// === impl Limits ===

impl Limits {
    /// As a symbol table says: 0 is unknown.
    pub(crate) fn from_size(bytes: u64) -> Self {
        Self {
            bytes: (bytes > 0).then_some(bytes),
        }
    }

    pub(crate) fn bytes(self) -> Option<u64> {
        self.bytes
    }
}
