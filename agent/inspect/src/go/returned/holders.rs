//! Places that hold a value of 64 bits, and what an instruction does to them.

use std::collections::BTreeSet;

use iced_x86::{Instruction, Mnemonic, OpKind, Register as Name};

use crate::code::{ALL, Kind, Node, Width, general};
use crate::{Outcome, Register};

/// More copies of one value are not followed.
const MAX_PLACES: usize = 64;

/// Places that hold the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holders(BTreeSet<Place>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// By its number.
    Register(u8),
    /// By its distance from the stack pointer.
    Stack(u64),
}

#[derive(Debug, Default)]
pub(super) struct Effect {
    registers: Vec<Place>,
    /// Changed bytes of the stack: the first, and how many.
    stack: Option<(u64, u64)>,
    /// The stack pointer is another one: no place on the stack is the same.
    moves_stack: bool,
    copies: Option<(Place, Place)>,
    zeroed: Vec<Place>,
    shared: Option<u64>,
}

// === impl Holders ===

impl Holders {
    /// What a function returns, at its `ret`.
    pub(super) fn returned() -> Self {
        Self([Place::from(Register::Rax)].into())
    }

    pub(super) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// A register, if one holds it.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let register = ALL
            .into_iter()
            .find(|&register| self.0.contains(&Place::from(register)))
            .map(Outcome::Bytes);
        register.or_else(|| {
            self.0.iter().find_map(|place| match place {
                Place::Stack(distance) => Some(Outcome::Stack(u32::try_from(*distance).ok()?)),
                Place::Register(_) => None,
            })
        })
    }
}

// === impl Place ===

impl From<Register> for Place {
    fn from(register: Register) -> Self {
        Self::Register(register as u8)
    }
}

// === impl Effect ===

impl Effect {
    pub(super) fn of(node: &Node) -> Self {
        if let Kind::Call(_) = node.kind {
            // Go's convention keeps no register.
            return Self {
                registers: ALL.map(Place::from).to_vec(),
                ..Self::default()
            };
        }
        let it = &node.instruction;
        let written = |register: &Register| node.effect.writes.contains(*register);
        let on_stack = is_on_stack(it);
        let writes_stack = on_stack && it.op0_kind() == OpKind::Memory;
        Self {
            registers: ALL.into_iter().filter(written).map(Place::from).collect(),
            stack: writes_stack
                .then(|| (it.memory_displacement64(), it.memory_size().size() as u64)),
            moves_stack: node.effect.writes.contains(Register::Rsp),
            copies: copied(node),
            zeroed: zeroed(it),
            shared: (on_stack && it.mnemonic() == Mnemonic::Lea)
                .then(|| it.memory_displacement64()),
        }
    }

    /// The place on the stack whose address it takes.
    pub(super) fn shared(&self) -> Option<u64> {
        self.shared
    }

    /// Others may change these.
    pub(super) fn forget(&mut self, shared: &[u64]) {
        let is_own = |place: &Place| match place {
            Place::Stack(distance) => !shared.contains(distance),
            Place::Register(_) => true,
        };
        self.copies = self.copies.filter(|(from, to)| is_own(from) && is_own(to));
        self.zeroed.retain(is_own);
    }

    /// Where it stood before what stands here behind this instruction.
    pub(super) fn before(&self, behind: &Holders) -> Holders {
        let mut before = self.kept(behind);
        if let Some((from, to)) = self.copies
            && behind.0.contains(&to)
            && before.0.len() < MAX_PLACES
        {
            before.0.insert(from);
        }
        before
    }

    /// Where it stands behind this instruction what stood here before.
    pub(super) fn after(&self, before: &Holders) -> Holders {
        let mut after = self.kept(before);
        if let Some((from, to)) = self.copies
            && before.0.contains(&from)
            && after.0.len() < MAX_PLACES
        {
            after.0.insert(to);
        }
        after
    }

    /// Whether it puts 0 in one of these places.
    pub(super) fn zeroes(&self, behind: Option<&Holders>) -> bool {
        behind.is_some_and(|behind| self.zeroed.iter().any(|place| behind.0.contains(place)))
    }

    fn kept(&self, holders: &Holders) -> Holders {
        let keeps = |place: &Place| match *place {
            Place::Register(_) => !self.registers.contains(place),
            Place::Stack(place) => {
                let hit = |(start, len): (u64, u64)| {
                    place < start.saturating_add(len) && start < place.saturating_add(8)
                };
                !self.moves_stack && !self.stack.is_some_and(hit)
            }
        };
        Holders(
            holders
                .0
                .iter()
                .filter(|place| keeps(place))
                .copied()
                .collect(),
        )
    }
}

/// The instruction names a fixed place on the stack.
fn is_on_stack(it: &Instruction) -> bool {
    let names_memory = (0..it.op_count()).any(|operand| it.op_kind(operand) == OpKind::Memory);
    names_memory && it.memory_base() == Name::RSP && it.memory_index() == Name::None
}

fn copied(node: &Node) -> Option<(Place, Place)> {
    if let Some(copy) = node.effect.copies {
        return (copy.width == Width::All).then(|| (copy.from.into(), copy.to.into()));
    }
    let it = &node.instruction;
    if it.mnemonic() != Mnemonic::Mov || !is_on_stack(it) || it.memory_size().size() != 8 {
        return None;
    }
    let slot = Place::Stack(it.memory_displacement64());
    match (it.op0_kind(), it.op1_kind()) {
        (OpKind::Register, OpKind::Memory) => Some((slot, general(it.op0_register())?.into())),
        (OpKind::Memory, OpKind::Register) => Some((general(it.op1_register())?.into(), slot)),
        _ => None,
    }
}

/// Places that are 0 afterwards, all 64 bits.
fn zeroed(it: &Instruction) -> Vec<Place> {
    let on_stack = is_on_stack(it) && it.op0_kind() == OpKind::Memory;
    let slot = it.memory_displacement64();
    let whole = |name: Name| name.is_gpr32() || name.is_gpr64();
    match it.mnemonic() {
        Mnemonic::Xor if it.op0_kind() == OpKind::Register => {
            let same = it.op1_kind() == OpKind::Register && it.op0_register() == it.op1_register();
            let register = general(it.op0_register()).filter(|_| same && whole(it.op0_register()));
            register.map(Place::from).into_iter().collect()
        }
        Mnemonic::Mov if matches!(it.try_immediate(1), Ok(0)) => match it.op0_kind() {
            OpKind::Register if whole(it.op0_register()) => general(it.op0_register())
                .map(Place::from)
                .into_iter()
                .collect(),
            OpKind::Memory if on_stack && it.memory_size().size() == 8 => vec![Place::Stack(slot)],
            _ => Vec::new(),
        },
        // In Go's convention this register is 0.
        Mnemonic::Movups | Mnemonic::Movq if on_stack && it.op1_register() == Name::XMM15 => {
            let words = (it.memory_size().size() / 8) as u64;
            (0..words)
                .map(|word| Place::Stack(slot.wrapping_add(8 * word)))
                .collect()
        }
        _ => Vec::new(),
    }
}
