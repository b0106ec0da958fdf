//! What code passes to `ERR_put_error(library, unused, reason, file, line)`.

use std::ops::Range;

use iced_x86::{Code, Instruction, Register as Name};
use memchr::memmem;

use crate::code::instructions;
use crate::elf::Image;

/// `ERR_LIB_SSL`.
const LIBRARY: u64 = 16;
const MAX_REFERENCES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) reason: u32,
    pub(super) line: u32,
}

/// Addresses of the instructions that load this address into the register of the fourth argument.
pub(super) fn references(image: &Image<'_>, target: u64) -> Vec<u64> {
    /// `lea rcx, [rip + distance]`.
    const RELATIVE: &[u8] = &[0x48, 0x8d, 0x0d];
    const RELATIVE_BYTES: usize = 7;
    /// `mov ecx, address`.
    const ABSOLUTE: u8 = 0xb9;
    let absolute = u32::try_from(target).ok().map(|target| {
        let [a, b, c, d] = target.to_le_bytes();
        [ABSOLUTE, a, b, c, d]
    });
    let mut found = Vec::new();
    for region in image
        .regions()
        .filter(|region| image.code(region.address).is_some())
    {
        let relative = memmem::find_iter(region.bytes, RELATIVE).filter(|&at| {
            let distance = region.bytes.get(at + RELATIVE.len()..);
            distance
                .and_then(|bytes| bytes.first_chunk())
                .is_some_and(|&distance| {
                    let after = region.address.wrapping_add((at + RELATIVE_BYTES) as u64);
                    let distance = i64::from(i32::from_le_bytes(distance));
                    after.wrapping_add_signed(distance) == target
                })
        });
        let absolute = absolute
            .iter()
            .flat_map(|bytes| memmem::find_iter(region.bytes, bytes));
        let left = MAX_REFERENCES - found.len();
        found.extend(
            relative
                .chain(absolute)
                .take(left)
                .map(|at| region.address.wrapping_add(at as u64)),
        );
    }
    found
}

/// The errors that the function reports, in the order of its code.
pub(super) fn errors(image: &Image<'_>, function: &Range<u64>, source: u64) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut passed = Passed::default();
    for instruction in instructions(image, function.start, function.end - function.start) {
        if instruction.is_call_near() {
            errors.extend(passed.error(source));
        } else if instruction.is_jmp_short_or_near() {
            errors.extend(passed.joined(image, instruction.near_branch_target(), source));
        }
        if instruction.flow_control() == iced_x86::FlowControl::Next {
            passed.read(&instruction);
        } else {
            passed = Passed::default();
        }
    }
    errors
}

/// Constants in the registers of arguments.
#[derive(Clone, Copy, Default)]
struct Passed {
    library: Option<u64>,
    reason: Option<u64>,
    file: Option<u64>,
    line: Option<u64>,
}

// === impl Passed ===

impl Passed {
    fn read(&mut self, instruction: &Instruction) {
        let value = match instruction.code() {
            Code::Mov_r32_imm32 | Code::Mov_r64_imm64 => instruction.immediate(1),
            Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
                instruction.ip_rel_memory_address()
            }
            _ => return,
        };
        match instruction.op0_register().full_register() {
            Name::RDI => self.library = Some(value),
            Name::RDX => self.reason = Some(value),
            Name::RCX => self.file = Some(value),
            Name::R8 => self.line = Some(value),
            _ => {}
        }
    }

    /// Compilers let errors of one function share the end of the code that reports them.
    fn joined(mut self, image: &Image<'_>, target: u64, source: u64) -> Option<Error> {
        const MAX_BYTES: u64 = 32;
        for instruction in instructions(image, target, MAX_BYTES) {
            if instruction.is_call_near() {
                return self.error(source);
            }
            if instruction.flow_control() != iced_x86::FlowControl::Next {
                return None;
            }
            self.read(&instruction);
        }
        None
    }

    fn error(&self, source: u64) -> Option<Error> {
        let ours = self.library == Some(LIBRARY) && self.file == Some(source);
        ours.then_some(Error {
            reason: u32::try_from(self.reason?).ok()?,
            line: u32::try_from(self.line?).ok()?,
        })
    }
}
