//! The functions and the data that a file names.

use object::elf::{SHN_UNDEF, SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB, STT_FUNC, STT_OBJECT, Sym64};
use object::read::elf::SectionHeader as _;
use object::{LittleEndian, pod};

use super::Image;

/// Names are not longer in practice; a hostile table whose names never end is not read through for
/// each of its symbols.
const MAX_NAME_BYTES: usize = 512;
/// Of all tables together. The largest programs have a tenth of that.
const MAX_SYMBOLS: usize = 8 << 20;
/// Of one name: versions of an interface, or copies that were linked in.
const MAX_NAMESAKES: usize = 4;
/// Kept of those that a finder asked for.
const MAX_KEPT: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: u64,
    /// 0 where the table does not say.
    pub(crate) bytes: u64,
}

/// Defined functions, or data, of those names that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Symbols<'a> {
    list: Vec<Symbol<'a>>,
}

impl<'a> Symbols<'a> {
    /// Functions.
    pub(crate) fn read(image: &Image<'a>, wanted: impl Fn(&[u8]) -> bool) -> Self {
        Self::read_kind(image, STT_FUNC, wanted)
    }

    pub(crate) fn data(image: &Image<'a>, wanted: impl Fn(&[u8]) -> bool) -> Self {
        Self::read_kind(image, STT_OBJECT, wanted)
    }

    fn read_kind(image: &Image<'a>, kind: u8, wanted: impl Fn(&[u8]) -> bool) -> Self {
        let mut symbols = Self::default();
        let Some(sections) = image.sections() else {
            return symbols;
        };
        let mut left = MAX_SYMBOLS;
        for section in sections.iter() {
            let table = section.sh_type(LittleEndian);
            if table != SHT_DYNSYM && table != SHT_SYMTAB {
                continue;
            }
            let strings = sections
                .section(section.link(LittleEndian))
                .ok()
                .filter(|strings| strings.sh_type(LittleEndian) == SHT_STRTAB)
                .and_then(|strings| strings.data(LittleEndian, image.bytes()).ok());
            let table = section.data(LittleEndian, image.bytes()).ok();
            if let (Some(strings), Some(table)) = (strings, table) {
                symbols.read_table(table, strings, kind, &wanted, &mut left);
            }
        }
        symbols
            .list
            .sort_by_key(|symbol| (symbol.address, symbol.name));
        symbols
            .list
            .dedup_by_key(|symbol| (symbol.address, symbol.name));
        symbols
    }

    fn read_table(
        &mut self,
        table: &'a [u8],
        strings: &'a [u8],
        kind: u8,
        wanted: impl Fn(&[u8]) -> bool,
        left: &mut usize,
    ) {
        let entries = (table.len() / size_of::<Sym64<LittleEndian>>()).min(*left);
        *left -= entries;
        let Ok((entries, _)) = pod::slice_from_bytes::<Sym64<LittleEndian>>(table, entries) else {
            return;
        };
        for entry in entries {
            if entry.st_info & 0xf != kind || entry.st_shndx.get(LittleEndian) == SHN_UNDEF {
                continue;
            }
            let Some(name) = name_at(strings, entry.st_name.get(LittleEndian)) else {
                continue;
            };
            if !wanted(name) {
                continue;
            }
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            if self.list.len() == MAX_KEPT {
                return;
            }
            self.list.push(Symbol {
                name,
                address: entry.st_value.get(LittleEndian),
                bytes: entry.st_size.get(LittleEndian),
            });
        }
    }

    /// All functions of this name: a versioned library may have several.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = Symbol<'a>> {
        self.list
            .iter()
            .filter(move |symbol| symbol.name == name)
            .take(MAX_NAMESAKES)
            .copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Symbol<'a>> {
        self.list.iter().copied()
    }
}

/// The name that begins there in a table of strings.
pub(crate) fn name_at(strings: &[u8], start: u32) -> Option<&[u8]> {
    let name = strings.get(start as usize..)?;
    let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
    memchr::memchr(0, name).map(|end| &name[..end])
}
