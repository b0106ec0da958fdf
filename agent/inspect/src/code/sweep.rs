//! What a function's code refers to: its bytes are read one instruction after the other, so that
//! what stands behind a table of jumps is seen, too.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    Register as Name,
};

use crate::elf::Image;

const MAX_INSTRUCTIONS: usize = 4096;

/// Addresses that the instructions of these bytes load, in order.
pub(crate) fn pointers(image: &Image<'_>, address: u64, bytes: u64) -> impl Iterator<Item = u64> {
    instructions(image, address, bytes).filter_map(|instruction| match instruction.code() {
        Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
            Some(instruction.ip_rel_memory_address())
        }
        Code::Mov_r32_imm32 | Code::Mov_r64_imm64 => Some(instruction.immediate(1)),
        _ => None,
    })
}

/// Addresses outside that are called, or jumped to.
pub(crate) fn calls(image: &Image<'_>, address: u64, bytes: u64) -> impl Iterator<Item = u64> {
    let inside = address..address.saturating_add(bytes);
    instructions(image, address, bytes)
        .filter(|instruction| {
            instruction.is_call_near()
                || instruction.is_jmp_short_or_near()
                || instruction.flow_control() == FlowControl::ConditionalBranch
        })
        .map(|instruction| instruction.near_branch_target())
        .filter(move |target| !inside.contains(target))
}

/// Whether an instruction writes to memory that is not the function's own stack.
pub(crate) fn stores(image: &Image<'_>, address: u64, bytes: u64) -> bool {
    let mut factory = InstructionInfoFactory::new();
    instructions(image, address, bytes).any(|instruction| {
        let used = factory.info(&instruction).used_memory().iter();
        used.filter(|memory| !matches!(memory.base(), Name::RSP | Name::RBP))
            .any(|memory| matches!(memory.access(), OpAccess::Write | OpAccess::ReadWrite))
    })
}

/// Those of these bytes, as far as they are read.
pub(crate) fn instructions(
    image: &Image<'_>,
    address: u64,
    bytes: u64,
) -> impl Iterator<Item = Instruction> {
    let code = image.code(address).unwrap_or_default();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let code = code.get(..bytes).unwrap_or(code);
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
        .take(MAX_INSTRUCTIONS)
}
