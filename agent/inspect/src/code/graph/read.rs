//! Code becomes a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, Register as Name,
};

use super::{Graph, Kind, Limits, Node, Proof};
use crate::code::class;
use crate::code::values::Effect;
use crate::elf::Image;

/// The functions looked for have a tenth of that.
const MAX_INSTRUCTIONS: usize = 4096;
const MAX_FRAGMENT_INSTRUCTIONS: usize = 128;
const MAX_FRAGMENTS: usize = 8;
const MAX_TAILS: usize = 64;
/// Where the stack protector's secret stands: `fs:0x28`.
const STACK_GUARD: u64 = 0x28;

struct Reader<'a, 'i> {
    image: &'i Image<'a>,
    /// The function's body, then its fragments elsewhere.
    inside: Vec<Range<u64>>,
    found: BTreeMap<u64, Found>,
    work: Vec<u64>,
    tails: BTreeSet<u64>,
    proof: Proof,
}

struct Found {
    instruction: Instruction,
    class: crate::Class,
    kind: Kind,
    next: [Option<u64>; 2],
}

// === impl Graph ===

impl Graph {
    /// `None` when no instruction stands at the address.
    pub(crate) fn read(image: &Image<'_>, address: u64, limits: Limits) -> Option<Self> {
        let code = image.code(address)?;
        let most = limits.bytes.unwrap_or(u64::MAX).min(code.len() as u64);
        let mut reader = Reader {
            image,
            inside: std::iter::once(address..address.checked_add(most)?).collect(),
            found: BTreeMap::new(),
            work: vec![address],
            tails: BTreeSet::new(),
            proof: match limits.bytes {
                Some(_) => Proof::Whole,
                None => Proof::Broken,
            },
        };
        reader.read();
        reader
            .found
            .contains_key(&address)
            .then(|| reader.finish(address))
    }
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn read(&mut self) {
        while let Some(address) = self.work.pop() {
            self.read_run(address);
        }
        let (mut end, mut overlap) = (0, false);
        for found in self.found.values() {
            overlap |= found.instruction.ip() < end;
            end = found.instruction.next_ip();
        }
        if overlap {
            self.proof = Proof::Broken;
        }
    }

    /// Instructions one after the other, up to one that does not go on or is known.
    fn read_run(&mut self, address: u64) {
        let Some(code) = self.image.code(address) else {
            self.proof = Proof::Broken;
            return;
        };
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut guarded = false;
        while !self.found.contains_key(&decoder.ip()) {
            let at = decoder.ip();
            if self.found.len() == MAX_INSTRUCTIONS || !self.is_inside(at) {
                self.proof = Proof::Broken;
                return;
            }
            let start = decoder.position();
            let instruction = decoder.decode();
            if instruction.code() == Code::INVALID {
                self.proof = Proof::Broken;
                return;
            }
            let (kind, next) = self.follow(&instruction, guarded);
            guarded = checks_stack(&instruction);
            let goes_on = next[0] == Some(instruction.next_ip());
            self.work
                .extend(next[usize::from(goes_on)..].iter().flatten());
            let class = class(&code[start..decoder.position()]);
            self.found.insert(
                at,
                Found {
                    instruction,
                    class,
                    kind,
                    next,
                },
            );
            if !goes_on {
                return;
            }
        }
    }

    fn follow(&mut self, instruction: &Instruction, guarded: bool) -> (Kind, [Option<u64>; 2]) {
        let after = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next => (Kind::Plain, [Some(after), None]),
            FlowControl::Call | FlowControl::IndirectCall => {
                let target = instruction
                    .is_call_near()
                    .then(|| instruction.near_branch_target());
                // The last instruction of a function: it calls what does not return.
                let next = self.is_inside(after).then_some(after);
                (Kind::Call(target), [next, None])
            }
            FlowControl::UnconditionalBranch => {
                match self.local(instruction.near_branch_target()) {
                    Some(target) => (Kind::Jump, [Some(target), None]),
                    None => (Kind::Leave, [None, None]),
                }
            }
            FlowControl::ConditionalBranch => {
                let target = instruction.near_branch_target();
                match instruction.condition_code() {
                    ConditionCode::ne if guarded && self.is_call(target) => {
                        (Kind::Branch, [Some(after), None])
                    }
                    ConditionCode::e if guarded && self.is_call(after) => {
                        (Kind::Branch, [self.local(target), None])
                    }
                    _ => (Kind::Branch, [Some(after), self.local(target)]),
                }
            }
            FlowControl::IndirectBranch => {
                self.weaken();
                (Kind::Leave, [None, None])
            }
            FlowControl::Return => (Kind::Return, [None, None]),
            FlowControl::Interrupt | FlowControl::Exception => (Kind::Stop, [None, None]),
            FlowControl::XbeginXabortXend => {
                self.proof = Proof::Broken;
                (Kind::Stop, [None, None])
            }
        }
    }

    /// The target if it belongs to the function, as the parts do that compilers move away because
    /// they are seldom run.
    fn local(&mut self, target: u64) -> Option<u64> {
        if self.is_inside(target) {
            return Some(target);
        }
        if self.tails.contains(&target) {
            return None;
        }
        if self.tails.len() == MAX_TAILS {
            self.proof = Proof::Broken;
            return None;
        }
        match self.fragment(target) {
            Some(range) if self.inside.len() <= MAX_FRAGMENTS => {
                self.inside.push(range);
                Some(target)
            }
            _ => {
                self.tails.insert(target);
                None
            }
        }
    }

    /// A fragment is known by its coming back.
    fn fragment(&self, start: u64) -> Option<Range<u64>> {
        let body = &self.inside[0];
        let code = self.image.code(start)?;
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        for _ in 0..MAX_FRAGMENT_INSTRUCTIONS {
            let instruction = decoder.decode();
            match instruction.flow_control() {
                _ if instruction.code() == Code::INVALID => return None,
                FlowControl::UnconditionalBranch => {
                    let target = instruction.near_branch_target();
                    let back = body.contains(&target) && target != body.start;
                    return back.then(|| start..instruction.next_ip());
                }
                FlowControl::Return
                | FlowControl::IndirectBranch
                | FlowControl::Interrupt
                | FlowControl::Exception => return None,
                _ => {}
            }
        }
        None
    }

    fn is_inside(&self, address: u64) -> bool {
        self.inside.iter().any(|range| range.contains(&address))
    }

    fn is_call(&self, address: u64) -> bool {
        self.image.code(address).is_some_and(|code| {
            matches!(
                Decoder::with_ip(64, code, address, DecoderOptions::NONE)
                    .decode()
                    .flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            )
        })
    }

    fn weaken(&mut self) {
        if self.proof == Proof::Whole {
            self.proof = Proof::Indirect;
        }
    }

    fn finish(self, start: u64) -> Graph {
        let addresses: Vec<u64> = self.found.keys().copied().collect();
        let index = |address: u64| addresses.binary_search(&address).ok();
        let mut proof = self.proof;
        let mut factory = InstructionInfoFactory::new();
        let mut nodes: Vec<Node> = self
            .found
            .iter()
            .map(|(&address, found)| Node {
                address,
                class: found.class,
                kind: found.kind,
                effect: Effect::of(&found.instruction, &mut factory),
                instruction: found.instruction,
                next: found
                    .next
                    .iter()
                    .flatten()
                    .filter_map(|&next| index(next))
                    .collect(),
                previous: Vec::new(),
            })
            .collect();
        for at in 0..nodes.len() {
            if nodes[at].kind == Kind::Plain && nodes[at].next.is_empty() {
                proof = Proof::Broken;
            }
            for next in nodes[at].next.clone() {
                nodes[next].previous.push(at);
            }
        }
        Graph {
            start: index(start).unwrap_or_default(),
            nodes,
            proof,
            tails: self.tails,
        }
    }
}

/// Compares the stack protector's secret with the stack's copy.
fn checks_stack(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Cmp
    ) && instruction.memory_segment() == Name::FS
        && instruction.memory_base() == Name::None
        && instruction.memory_displacement64() == STACK_GUARD
}
