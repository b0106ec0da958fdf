//! The stubs by which a file calls functions that the dynamic linker finds.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};
use object::elf::{R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, Rela64, SHT_RELA};
use object::read::elf::SectionHeader as _;
use object::{LittleEndian, SymbolIndex};

use super::{Image, name_at};

const MAX_TABLES: usize = 8;
/// Larger tables are not those of a library.
const MAX_RELOCATIONS: usize = 1 << 16;
/// `endbr64`, then the jump.
const MAX_INSTRUCTIONS: usize = 2;

/// Where the dynamic linker puts the addresses of functions.
#[derive(Debug, Default)]
pub(crate) struct Stubs<'a> {
    slots: BTreeMap<u64, &'a str>,
}

impl<'a> Stubs<'a> {
    /// Those for functions whose names begin so.
    pub(crate) fn read(image: &Image<'a>, prefix: &str) -> Self {
        let mut stubs = Self::default();
        let Some(sections) = image.sections() else {
            return stubs;
        };
        let tables = sections
            .iter()
            .filter(|section| section.sh_type(LittleEndian) == SHT_RELA);
        for section in tables.take(MAX_TABLES) {
            let Ok(relocations) =
                section.data_as_array::<Rela64<LittleEndian>, _>(LittleEndian, image.bytes())
            else {
                continue;
            };
            let link = section.link(LittleEndian);
            let Ok(symbols) = sections.symbol_table_by_index(LittleEndian, image.bytes(), link)
            else {
                continue;
            };
            let strings = sections.section(symbols.string_section());
            let Some(strings) = strings
                .ok()
                .and_then(|strings| strings.data(LittleEndian, image.bytes()).ok())
            else {
                continue;
            };
            for relocation in relocations.iter().take(MAX_RELOCATIONS) {
                let kind = relocation.r_type(LittleEndian, false);
                if kind != R_X86_64_JUMP_SLOT && kind != R_X86_64_GLOB_DAT {
                    continue;
                }
                let index = SymbolIndex(relocation.r_sym(LittleEndian, false) as usize);
                if let Ok(symbol) = symbols.symbol(index)
                    && let Some(name) = name_at(strings, symbol.st_name.get(LittleEndian))
                    && name.starts_with(prefix.as_bytes())
                    && let Ok(name) = std::str::from_utf8(name)
                {
                    stubs
                        .slots
                        .insert(relocation.r_offset.get(LittleEndian), name);
                }
            }
        }
        stubs
    }

    /// The function that the stub at this address jumps to.
    pub(crate) fn name(&self, image: &Image<'_>, address: u64) -> Option<&'a str> {
        let code = image.code(address)?;
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        for _ in 0..MAX_INSTRUCTIONS {
            let instruction = decoder.decode();
            if instruction.flow_control() == FlowControl::IndirectBranch
                && instruction.is_ip_rel_memory_operand()
            {
                return self
                    .slots
                    .get(&instruction.ip_rel_memory_address())
                    .copied();
            }
            if instruction.mnemonic() != Mnemonic::Endbr64 {
                return None;
            }
        }
        None
    }
}
