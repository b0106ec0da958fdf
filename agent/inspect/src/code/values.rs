//! Which registers an instruction changes, and which values it only moves.

use iced_x86::{
    Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register as Name,
};

use crate::Register;

/// A set of general registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Registers(u32);

/// What an instruction does to the general registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) writes: Registers,
    pub(crate) copies: Option<Copy>,
}

/// `from` stands in `to` afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: Register,
    pub(crate) to: Register,
    pub(crate) width: Width,
}

/// How much of the value is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    All,
    /// The lower 32 bits, whatever becomes of the others.
    Lower,
}

// === impl Registers ===

impl Registers {
    /// Not kept by a function that is called (System V ABI).
    pub(crate) const CALLER_SAVED: Self = Self(
        1 << Register::Rax as u32
            | 1 << Register::Rcx as u32
            | 1 << Register::Rdx as u32
            | 1 << Register::Rsi as u32
            | 1 << Register::Rdi as u32
            | 1 << Register::R8 as u32
            | 1 << Register::R9 as u32
            | 1 << Register::R10 as u32
            | 1 << Register::R11 as u32,
    );

    pub(crate) fn one(register: Register) -> Self {
        Self(1 << register as u32)
    }

    pub(crate) fn contains(self, register: Register) -> bool {
        self.0 & (1 << register as u32) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert(&mut self, register: Register) {
        self.0 |= 1 << register as u32;
    }

    fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The original place if the value is still there, else any.
    pub(crate) fn prefer(self, original: Register) -> Option<Register> {
        if self.contains(original) {
            return Some(original);
        }
        ALL.into_iter().find(|&register| self.contains(register))
    }

    /// Where a value stands after `effect`, if it stood here before.
    pub(crate) fn after(self, effect: Effect, least: Width) -> Self {
        let mut after = self.without(effect.writes);
        if let Some(copy) = effect.copies
            && self.contains(copy.from)
            && (copy.width == Width::All || least == Width::Lower)
        {
            after.insert(copy.to);
        }
        after
    }
}

pub(crate) const ALL: [Register; 16] = [
    Register::Rax,
    Register::Rbx,
    Register::Rbp,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::Rdi,
    Register::Rsi,
    Register::Rdx,
    Register::Rcx,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::Rsp,
];

// === impl Effect ===

impl Effect {
    pub(crate) fn of(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Self {
        let mut writes = Registers::default();
        for used in factory.info(instruction).used_registers() {
            let written = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            if written && let Some(register) = general(used.register()) {
                writes.insert(register);
            }
        }
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            writes.0 |= Registers::CALLER_SAVED.0;
        }
        Self {
            writes,
            copies: copy(instruction),
        }
    }
}

fn copy(instruction: &Instruction) -> Option<Copy> {
    let width = match instruction.mnemonic() {
        Mnemonic::Cdqe => {
            return Some(Copy {
                from: Register::Rax,
                to: Register::Rax,
                width: Width::Lower,
            });
        }
        Mnemonic::Mov => match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => Width::All,
            Code::Mov_r32_rm32 | Code::Mov_rm32_r32 => Width::Lower,
            _ => return None,
        },
        Mnemonic::Movsxd if instruction.code() == Code::Movsxd_r64_rm32 => Width::Lower,
        _ => return None,
    };
    if instruction.op0_kind() != OpKind::Register || instruction.op1_kind() != OpKind::Register {
        return None;
    }
    Some(Copy {
        from: general(instruction.op1_register())?,
        to: general(instruction.op0_register())?,
        width,
    })
}

/// The whole register that this name is a part of.
pub(crate) fn general(name: Name) -> Option<Register> {
    Some(match name.full_register() {
        Name::RAX => Register::Rax,
        Name::RBX => Register::Rbx,
        Name::RCX => Register::Rcx,
        Name::RDX => Register::Rdx,
        Name::RSI => Register::Rsi,
        Name::RDI => Register::Rdi,
        Name::RBP => Register::Rbp,
        Name::RSP => Register::Rsp,
        Name::R8 => Register::R8,
        Name::R9 => Register::R9,
        Name::R10 => Register::R10,
        Name::R11 => Register::R11,
        Name::R12 => Register::R12,
        Name::R13 => Register::R13,
        Name::R14 => Register::R14,
        Name::R15 => Register::R15,
        _ => return None,
    })
}
