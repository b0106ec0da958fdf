//! Parts of a file that are searched when no table says where a thing is.

use object::LittleEndian;
use object::elf::{DT_NULL, DT_RELA, DT_RELASZ, PT_DYNAMIC, R_X86_64_RELATIVE};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};

use super::Image;

/// More of a file is not searched.
const MAX_SEARCHED_BYTES: usize = 256 << 20;
const MAX_DYNAMIC: usize = 1024;

/// Bytes of the file, to where they are loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
}

/// What the loader writes: `value` and the load address's difference to `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relative {
    pub(crate) at: u64,
    pub(crate) value: u64,
}

impl<'a> Image<'a> {
    /// The section of this name, if the file has it and loads it.
    pub(crate) fn named(&self, name: &str) -> Option<Region<'a>> {
        let sections = self.sections()?;
        let (_, section) = sections.section_by_name(LittleEndian, name.as_bytes())?;
        let bytes = section.data(LittleEndian, self.bytes()).ok()?;
        Some(Region {
            address: section.sh_addr(LittleEndian),
            bytes,
        })
    }

    /// What is loaded: data before code.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region<'a>> {
        let of = |executable| {
            self.segments
                .iter()
                .filter(move |segment| segment.executable == executable)
        };
        let mut left = MAX_SEARCHED_BYTES;
        of(false).chain(of(true)).filter_map(move |segment| {
            let bytes = self.slice(segment.offset, segment.bytes)?;
            let bytes = bytes.get(..left).unwrap_or(bytes);
            left -= bytes.len();
            (!bytes.is_empty()).then_some(Region {
                address: segment.address,
                bytes,
            })
        })
    }

    /// Relative relocations as the dynamic section names them.
    pub(crate) fn relative(&self) -> impl Iterator<Item = Relative> {
        let entries = self.relocation_table().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry.r_type(LittleEndian, false) == R_X86_64_RELATIVE)
            .map(|entry| Relative {
                at: entry.r_offset.get(LittleEndian),
                value: entry.r_addend.get(LittleEndian).cast_unsigned(),
            })
    }

    fn relocation_table(&self) -> Option<&'a [object::elf::Rela64<LittleEndian>]> {
        let headers = self
            .header
            .program_headers(LittleEndian, self.bytes())
            .ok()?;
        let dynamic = headers
            .iter()
            .find(|segment| segment.p_type(LittleEndian) == PT_DYNAMIC)?
            .dynamic(LittleEndian, self.bytes())
            .ok()??;
        let (mut address, mut bytes) = (0, 0);
        for entry in dynamic.iter().take(MAX_DYNAMIC) {
            match entry.tag(LittleEndian) {
                DT_NULL => break,
                DT_RELA => address = entry.d_val(LittleEndian),
                DT_RELASZ => bytes = usize::try_from(entry.d_val(LittleEndian)).ok()?,
                _ => {}
            }
        }
        let table = self.data(address)?;
        let count = bytes.min(table.len()) / size_of::<object::elf::Rela64<LittleEndian>>();
        Some(object::pod::slice_from_bytes(table, count).ok()?.0)
    }
}
