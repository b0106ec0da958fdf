//! What a function's code points to.

use iced_x86::{Code, Decoder, DecoderOptions, OpKind};

use crate::elf::Image;

const MAX_INSTRUCTIONS: usize = 512;

/// Addresses that the instructions of these bytes load, in order.
pub(crate) fn pointers(image: &Image<'_>, address: u64, bytes: u64) -> impl Iterator<Item = u64> {
    let code = image.code(address).unwrap_or_default();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let code = code.get(..bytes).unwrap_or(code);
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .into_iter()
        .take(MAX_INSTRUCTIONS)
        .filter_map(|instruction| match instruction.code() {
            Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
                Some(instruction.ip_rel_memory_address())
            }
            Code::Mov_r32_imm32 | Code::Mov_r64_imm64
                if instruction.op0_kind() == OpKind::Register =>
            {
                Some(instruction.immediate(1))
            }
            _ => None,
        })
        .collect::<Vec<_>>()
        .into_iter()
}
