//! What a function does with its arguments, whichever way is taken through it.

use std::collections::BTreeSet;

use iced_x86::{Code, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register as Name};

use crate::Register;
use crate::code::{ALL, ARGUMENTS, Extents, Graph, Kind, Limits, Node, general};
use crate::elf::Image;

/// Arguments that are followed.
const MAX_ARGUMENTS: usize = 4;
/// Counts as one: what the first word of the third argument points to. Of the functions that get a
/// whole message it is a `Context`, which begins with the connection.
pub(super) const OF_CONTEXT: usize = 4;
const CONTEXT: Pointer = Pointer {
    argument: 2,
    offset: 0,
};
/// The highest place among the saved registers, and one.
const PLACES: usize = 20;

/// A function, and what its registers hold.
pub(super) struct Traced {
    pub(super) graph: Graph,
    /// Before each instruction; `None` where none is known to get to.
    states: Vec<Option<State>>,
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) accesses: Vec<Access>,
    pub(super) calls: Vec<Call>,
}

/// An argument and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) argument: usize,
    pub(super) offset: i64,
}

/// Memory that an argument points to is read or written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// The instruction's address.
    pub(super) at: u64,
    pub(super) to: Pointer,
    pub(super) bytes: usize,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// Whether every call passes it, before any branch.
    pub(super) always: bool,
}

/// Another function is called, or jumped to in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) arguments: [Option<Pointer>; MAX_ARGUMENTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Address(u64),
    /// The address stands there.
    Slot(u64),
    Unknown,
}

/// Which registers hold a pointer that is made of an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State([Option<Pointer>; PLACES]);

// === impl Facts ===

impl Facts {
    /// Of the function that starts there.
    pub(super) fn read(image: &Image<'_>, extents: &Extents<'_>, start: u64) -> Option<Self> {
        Self::within(image, start, extents.limits(image, start))
    }

    pub(super) fn within(image: &Image<'_>, start: u64, limits: Limits) -> Option<Self> {
        Traced::read(image, start, limits).map(|traced| traced.facts())
    }

    /// Whether all of these words are read where the pointer points to.
    pub(super) fn reads_words(&self, from: Pointer, words: &[i64]) -> bool {
        words.iter().all(|word| {
            self.accesses.iter().any(|access| {
                let begin = access.to.offset.saturating_sub(from.offset);
                access.reads
                    && access.to.argument == from.argument
                    && begin <= *word
                    && begin.saturating_add(access.bytes as i64) >= word + 8
            })
        })
    }

    /// The same for one word that is written.
    pub(super) fn writes_word(&self, to: Pointer) -> bool {
        self.accesses
            .iter()
            .any(|access| access.writes && access.bytes == 8 && access.to == to)
    }
}

fn target(node: &Node) -> Option<Target> {
    let instruction = &node.instruction;
    match node.kind {
        Kind::Call(Some(address)) => Some(Target::Address(address)),
        Kind::Leave if instruction.is_jmp_short_or_near() => {
            Some(Target::Address(instruction.near_branch_target()))
        }
        Kind::Call(None) | Kind::Leave if instruction.is_ip_rel_memory_operand() => {
            Some(Target::Slot(instruction.ip_rel_memory_address()))
        }
        Kind::Call(None) | Kind::Leave => Some(Target::Unknown),
        _ => None,
    }
}

// === impl Traced ===

impl Traced {
    pub(super) fn read(image: &Image<'_>, start: u64, limits: Limits) -> Option<Self> {
        let graph = Graph::read(image, start, limits)?;
        let mut states: Vec<Option<State>> = vec![None; graph.nodes().len()];
        let mut work = vec![(graph.start(), State::first())];
        while let Some((at, state)) = work.pop() {
            let merged = states[at].map_or(state, |known| known.and(state));
            if states[at] == Some(merged) {
                continue;
            }
            states[at] = Some(merged);
            let node = graph.node(at);
            let after = merged.after(node);
            work.extend(node.next.iter().map(|&next| (next, after)));
        }
        Some(Self { graph, states })
    }

    pub(super) fn facts(&self) -> Facts {
        let mut factory = InstructionInfoFactory::new();
        let always: BTreeSet<u64> = self.graph.straight().map(|node| node.address).collect();
        let mut facts = Facts::default();
        for (node, state) in self.graph.nodes().iter().zip(&self.states) {
            let Some(state) = state else {
                continue;
            };
            for used in factory.info(&node.instruction).used_memory() {
                let Some(to) = state.pointer(used.base(), used.index(), used.displacement()) else {
                    continue;
                };
                let (reads, writes) = match used.access() {
                    OpAccess::Read | OpAccess::CondRead => (true, false),
                    OpAccess::Write | OpAccess::CondWrite => (false, true),
                    OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
                    _ => continue,
                };
                facts.accesses.push(Access {
                    at: node.address,
                    to,
                    bytes: used.memory_size().size(),
                    reads,
                    writes,
                    always: always.contains(&node.address),
                });
            }
            if let Some(target) = target(node) {
                let argument = |at: usize| state.0[ARGUMENTS[at] as usize];
                facts.calls.push(Call {
                    target,
                    arguments: std::array::from_fn(argument),
                });
            }
        }
        facts
    }

    /// Registers that hold something of this argument before the instruction, and how far behind its
    /// start that is.
    pub(super) fn holding(
        &self,
        node: usize,
        argument: usize,
    ) -> impl Iterator<Item = (Register, i64)> {
        let state = self.states[node];
        ALL.into_iter().filter_map(move |register| {
            let pointer = state?.0[register as usize]?;
            (pointer.argument == argument).then_some((register, pointer.offset))
        })
    }
}

// === impl Target ===

impl Target {
    pub(super) fn address(self, image: &Image<'_>) -> Option<u64> {
        match self {
            Self::Address(address) => Some(address),
            Self::Slot(slot) => image
                .relative()
                .find(|relative| relative.at == slot)
                .map(|relative| relative.value),
            Self::Unknown => None,
        }
    }
}

// === impl State ===

impl State {
    fn first() -> Self {
        let mut state = Self([None; PLACES]);
        for (argument, &register) in ARGUMENTS.iter().take(MAX_ARGUMENTS).enumerate() {
            let pointer = Pointer {
                argument,
                offset: 0,
            };
            state.0[register as usize] = Some(pointer);
        }
        state
    }

    /// What both know.
    fn and(self, other: Self) -> Self {
        let both = |at: usize| self.0[at].filter(|_| self.0[at] == other.0[at]);
        Self(std::array::from_fn(both))
    }

    fn of(&self, name: Name) -> Option<Pointer> {
        (name.full_register() == name)
            .then(|| general(name))
            .flatten()
            .and_then(|register| self.0[register as usize])
    }

    fn pointer(&self, base: Name, index: Name, displacement: u64) -> Option<Pointer> {
        (index == Name::None).then_some(())?;
        self.of(base)?.plus(displacement.cast_signed())
    }

    fn after(self, node: &Node) -> Self {
        let instruction = &node.instruction;
        let made = self.made(instruction);
        let mut after = self;
        for register in ALL {
            if node.effect.writes.contains(register) {
                after.0[register as usize] = None;
            }
        }
        if let Some((register, pointer)) = made {
            after.0[register as usize] = Some(pointer);
        }
        after
    }

    /// The pointer that the instruction makes, and where.
    fn made(&self, instruction: &Instruction) -> Option<(Register, Pointer)> {
        let first = instruction.op0_register();
        let pointer = match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64
                if instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Register =>
            {
                self.of(instruction.op1_register())
            }
            Code::Mov_r64_rm64 if instruction.op1_kind() == OpKind::Memory => {
                let from = self.pointer(
                    instruction.memory_base(),
                    instruction.memory_index(),
                    instruction.memory_displacement64(),
                )?;
                (from == CONTEXT).then_some(Pointer {
                    argument: OF_CONTEXT,
                    offset: 0,
                })
            }
            Code::Lea_r64_m => self.pointer(
                instruction.memory_base(),
                instruction.memory_index(),
                instruction.memory_displacement64(),
            ),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32
                if instruction.op0_kind() == OpKind::Register =>
            {
                self.of(first)?.plus(instruction.immediate(1).cast_signed())
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32
                if instruction.op0_kind() == OpKind::Register =>
            {
                self.of(first)?
                    .plus(instruction.immediate(1).cast_signed().checked_neg()?)
            }
            _ => None,
        }?;
        Some((general(first)?, pointer))
    }
}

// === impl Pointer ===

impl Pointer {
    pub(super) fn plus(self, number: i64) -> Option<Self> {
        Some(Self {
            offset: self.offset.checked_add(number)?,
            ..self
        })
    }
}
