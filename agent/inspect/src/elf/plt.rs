//! The stubs by which a file calls functions that the dynamic linker finds.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};
use object::LittleEndian;
use object::SymbolIndex;
use object::elf::SHT_RELA;
use object::elf::{R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, Rela64};
use object::read::elf::{SectionHeader as _, Sym as _};

use super::Image;

/// Of each table: those of the functions come first or stand alone.
const MAX_RELOCATIONS: usize = 1 << 18;
/// `endbr64`, then the jump.
const MAX_INSTRUCTIONS: usize = 2;

impl<'a> Image<'a> {
    /// The function that the stub at this address jumps to.
    pub(crate) fn stub(&self, address: u64) -> Option<&'a str> {
        let slot = self.stub_slot(address)?;
        let sections = self.sections()?;
        sections.iter().find_map(|section| {
            if section.sh_type(LittleEndian) != SHT_RELA {
                return None;
            }
            let relocations: &[Rela64<LittleEndian>] =
                section.data_as_array(LittleEndian, self.bytes()).ok()?;
            let relocation = relocations
                .iter()
                .take(MAX_RELOCATIONS)
                .find(|relocation| {
                    relocation.r_offset.get(LittleEndian) == slot
                        && matches!(
                            relocation.r_type(LittleEndian, false),
                            R_X86_64_JUMP_SLOT | R_X86_64_GLOB_DAT
                        )
                })?;
            let symbols = sections
                .symbol_table_by_index(LittleEndian, self.bytes(), section.link(LittleEndian))
                .ok()?;
            let index = SymbolIndex(relocation.r_sym(LittleEndian, false) as usize);
            let symbol = symbols.symbol(index).ok()?;
            let name = symbol.name(LittleEndian, symbols.strings()).ok()?;
            std::str::from_utf8(name).ok()
        })
    }

    /// Where the stub takes its target from.
    fn stub_slot(&self, address: u64) -> Option<u64> {
        let code = self.code(address)?;
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        for _ in 0..MAX_INSTRUCTIONS {
            let instruction = decoder.decode();
            if instruction.flow_control() == FlowControl::IndirectBranch {
                let relative = instruction.is_ip_rel_memory_operand();
                return relative.then(|| instruction.ip_rel_memory_address());
            }
            if instruction.mnemonic() != Mnemonic::Endbr64 {
                return None;
            }
        }
        None
    }
}
