//! What functions do with the thread's own data, with the words of objects and with other functions, their
//! instructions taken in the order in which they stand: what is wanted are facts that many of them agree on.

use std::collections::BTreeMap;

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register as Name,
};

use super::tables::Pointers;
use crate::code::{Extents, instructions};
use crate::elf::Image;

/// A function whose end is not known is read so far.
const MAX_BYTES: u64 = 4 << 10;
/// Instructions between the load of the old id and the store of the new one.
const MAX_BETWEEN: usize = 4;

pub(super) struct Functions<'i, 'a> {
    image: &'i Image<'a>,
    pointers: &'i Pointers<'i, 'a>,
    extents: Extents<'a>,
    known: BTreeMap<u64, Function>,
}

/// What one does.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) swaps: Vec<Swap>,
    pub(super) calls: Vec<Call>,
}

/// A word of the thread's data is loaded and then replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap {
    pub(super) place: i64,
    pub(super) by: Value,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: u64,
    pub(super) target: u64,
    /// Its first argument.
    pub(super) argument: Value,
}

/// What a register holds, as far as it matters, the instructions taken in the order in which they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    #[default]
    Unknown,
    /// The thread pointer, and so much.
    Thread(i64),
    Number(i64),
    /// What stood at this offset of some object.
    Field(i64),
    /// Where this offset of some object stands.
    Offset(i64),
    /// The function's first argument.
    Argument,
}

// === impl Functions ===

impl<'i, 'a> Functions<'i, 'a> {
    pub(super) fn new(image: &'i Image<'a>, pointers: &'i Pointers<'i, 'a>) -> Self {
        Self {
            image,
            pointers,
            extents: Extents::told(image),
            known: BTreeMap::new(),
        }
    }

    /// The one that this address lies in.
    pub(super) fn around(&mut self, address: u64) -> Option<&Function> {
        let range = self.extents.range(self.image, address)?;
        Some(self.function(range.start))
    }

    pub(super) fn function(&mut self, start: u64) -> &Function {
        let Self {
            image,
            pointers,
            extents,
            known,
        } = self;
        known.entry(start).or_insert_with(|| {
            let range = extents.range(image, start);
            let bytes = range.map_or(MAX_BYTES, |range| range.end - start);
            Function::read(image, pointers, start, bytes)
        })
    }
}

// === impl Function ===

impl Function {
    fn read(image: &Image<'_>, pointers: &Pointers<'_, '_>, start: u64, bytes: u64) -> Self {
        let mut function = Self::default();
        let inside = start..start.saturating_add(bytes);
        let mut registers = Registers::first();
        let mut loaded: Option<(i64, usize)> = None;
        for (at, it) in instructions(image, start, bytes).enumerate() {
            let target = match it.flow_control() {
                FlowControl::Call | FlowControl::UnconditionalBranch => {
                    Some(it.near_branch_target()).filter(|target| !inside.contains(target))
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch
                    if it.is_ip_rel_memory_operand() =>
                {
                    pointers.pointer(it.ip_rel_memory_address())
                }
                _ => None,
            };
            if let Some(target) = target.filter(|&target| image.code(target).is_some()) {
                let argument = registers.get(Name::RDI);
                let at = it.ip();
                function.calls.push(Call {
                    at,
                    target,
                    argument,
                });
            }
            match it.code() {
                Code::Mov_r64_rm64 if it.op1_kind() == OpKind::Memory => {
                    if let Some(place) = registers.place(&it) {
                        loaded = Some((place, at));
                    }
                }
                Code::Mov_rm64_r64 if it.op0_kind() == OpKind::Memory => {
                    if let (Some(place), Some((from, since))) = (registers.place(&it), loaded)
                        && place == from
                        && at - since <= MAX_BETWEEN
                    {
                        let by = registers.get(it.op1_register());
                        function.swaps.push(Swap { place, by });
                    }
                }
                _ => {}
            }
            registers.step(&it);
        }
        function
    }
}

/// By the registers' numbers.
struct Registers {
    values: [Value; 16],
    factory: InstructionInfoFactory,
}

impl Registers {
    fn first() -> Self {
        let mut registers = Self {
            values: [Value::Unknown; 16],
            factory: InstructionInfoFactory::new(),
        };
        registers.set(Name::RDI, Value::Argument);
        registers
    }

    fn get(&self, name: Name) -> Value {
        if name.is_gpr64() {
            self.values[name.number()]
        } else {
            Value::Unknown
        }
    }

    fn set(&mut self, name: Name, value: Value) {
        if name.is_gpr() {
            self.values[name.full_register().number()] = value;
        }
    }

    /// Which place in the thread's data the instruction's memory is, if it is one.
    fn place(&self, it: &Instruction) -> Option<i64> {
        if it.memory_index() != Name::None {
            return None;
        }
        let offset = it.memory_displacement64().cast_signed();
        let place = match (it.memory_segment(), it.memory_base()) {
            (Name::FS, Name::None) => offset,
            (Name::FS, base) => match self.get(base) {
                Value::Number(number) => number.checked_add(offset)?,
                _ => return None,
            },
            (_, base) => match self.get(base) {
                Value::Thread(from) => from.checked_add(offset)?,
                _ => return None,
            },
        };
        // The first word points to itself.
        (place != 0).then_some(place)
    }

    fn step(&mut self, it: &Instruction) {
        const LOST: [Name; 9] = [
            Name::RAX,
            Name::RCX,
            Name::RDX,
            Name::RSI,
            Name::RDI,
            Name::R8,
            Name::R9,
            Name::R10,
            Name::R11,
        ];
        if matches!(
            it.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ) {
            LOST.into_iter()
                .for_each(|name| self.set(name, Value::Unknown));
            return;
        }
        let to = it.op0_register();
        // What is zeroed is the way on which the thread's data is gone.
        let zeroes = it.mnemonic() == Mnemonic::Xor && to == it.op1_register();
        if zeroes && matches!(self.get(to.full_register()), Value::Thread(_)) {
            return;
        }
        let value = self.value(it);
        let written: Vec<_> = self
            .factory
            .info(it)
            .used_registers()
            .iter()
            .filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead))
            .map(iced_x86::UsedRegister::register)
            .collect();
        for &name in &written {
            self.set(name, Value::Unknown);
        }
        if it.op0_kind() == OpKind::Register && written.contains(&to) {
            self.set(to, value);
        }
    }

    /// What the instruction's first operand holds behind it.
    fn value(&self, it: &Instruction) -> Value {
        let sum = |from: Value, number: Option<i64>| match (from, number) {
            (Value::Thread(from), Some(number)) => from
                .checked_add(number)
                .map_or(Value::Unknown, Value::Thread),
            (_, Some(number)) => Value::Offset(number),
            _ => Value::Unknown,
        };
        let number = |value: Value| match value {
            Value::Number(number) => Some(number),
            _ => None,
        };
        let (to, from) = (it.op0_register(), it.op1_register());
        match it.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if it.op1_kind() == OpKind::Register => {
                self.get(from)
            }
            Code::Mov_r64_rm64 if it.memory_index() == Name::None => {
                let offset = it.memory_displacement64().cast_signed();
                match (it.memory_segment(), it.memory_base()) {
                    (Name::FS, Name::None) if offset == 0 => Value::Thread(0),
                    (Name::FS, _) | (_, Name::None | Name::RIP | Name::RSP) => Value::Unknown,
                    _ if self.place(it).is_some() => Value::Unknown,
                    _ => Value::Field(offset),
                }
            }
            Code::Mov_r64_imm64 | Code::Mov_rm64_imm32 if it.op0_kind() == OpKind::Register => {
                Value::Number(it.immediate(1).cast_signed())
            }
            Code::Lea_r64_m if it.memory_index() == Name::None => {
                let offset = it.memory_displacement64().cast_signed();
                sum(self.get(it.memory_base()), Some(offset))
            }
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32
                if it.op0_kind() == OpKind::Register =>
            {
                sum(self.get(to), Some(it.immediate(1).cast_signed()))
            }
            Code::Add_r64_rm64 | Code::Add_rm64_r64 if it.op1_kind() == OpKind::Register => {
                match self.get(to) {
                    Value::Number(offset) => sum(self.get(from), Some(offset)),
                    value => sum(value, number(self.get(from))),
                }
            }
            _ => Value::Unknown,
        }
    }
}
