//! Node.js: whose callbacks and reactions run on a thread.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind};
use weft_inspect::Node;

use super::places_at;
use crate::bpf::{Hook, Place};

pub(super) fn places(node: &Node) -> Vec<Place> {
    let Node {
        ids: _,
        function_context: _,
        undefined: _,
        one_shot: _,
        bias: _,
        variant,
        wrap_ids: _,
        enters,
        enters_wrap,
        leaves,
        drained,
        asked,
        then,
        reacts,
        scavenged,
        compacted,
        submits,
        sends,
        problems: _,
    } = node;
    let enter = if *variant {
        Hook::NodeEntersVariant
    } else {
        Hook::NodeEnters
    };
    // What makes a thread known comes last: until then nothing is noted.
    [
        places_at(Hook::NodeCompacted, compacted),
        places_at(Hook::NodeScavenged, scavenged),
        places_at(Hook::NodeReacts, reacts),
        places_at(Hook::NodeAsked, asked),
        places_at(Hook::NodeThen, then),
        places_at(Hook::NodeSent, sends),
        places_at(Hook::NodeSending, sends),
        places_at(Hook::NodeSubmitted, submits),
        places_at(Hook::NodeSubmitting, submits),
        places_at(Hook::NodeDrained, drained),
        places_at(Hook::NodeLeaves, leaves),
        places_at(Hook::NodeEntersWrap, enters_wrap),
        places_at(enter, enters),
    ]
    .concat()
}

/// Adds what the kernel programs need to know of a process that has the file's code at `code` less the
/// code's offset in the file.
pub(super) fn add_to(facts: &mut Runtime, node: &Node, code: u64) {
    facts.kind = RuntimeKind::Node as u32;
    facts.id = node.ids;
    facts.parent = node.wrap_ids;
    facts.function_context = node.function_context;
    facts.undefined = node.undefined;
    for (fact, class) in facts.one_shot.iter_mut().zip(&node.one_shot) {
        *fact = code.wrapping_add(class.wrapping_sub(node.bias));
    }
}

/// In words.
pub(super) struct Told<'a>(pub(super) &'a Node);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node.js: callbacks and reactions of promises are told apart")?;
        if !self.0.submits.is_empty() {
            f.write_str(", and calls over HTTP/2")?;
        }
        for problem in &self.0.problems {
            write!(f, "; {}", problem.0)?;
        }
        Ok(())
    }
}
