//! Where Go's tables are in a file: by the names of sections, else by what they begin with.

use memchr::memmem;
use object::LittleEndian;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::build::{self, Program};
use super::table::{self, Table};
use crate::elf::{Header, Image, Region};

/// Go's linker, and the system's one that was given its objects.
const TABLE_SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const BUILD_SECTION: &str = ".go.buildinfo";
const MODULE_SECTION: &str = ".go.module";
/// `.note.go.buildid`
const BUILD_ID_NOTE: (&[u8], u32) = (b"Go", 4);
const MAX_BUILD_ID_BYTES: usize = 256;
/// Of one segment.
const MAX_NOTES: usize = 64;
const MAX_SEGMENTS: usize = 256;
/// What begins with the right bytes and is something else, as often as that.
const MAX_MISTAKEN: usize = 256;
/// The interesting part of a moduledata has 26 in Go 1.27.
const MODULE_WORDS: usize = 48;

pub(super) fn program(image: &Image<'_>) -> Option<Program> {
    if let Some(section) = image.named(BUILD_SECTION) {
        return Program::parse(image, section.bytes);
    }
    // A file whose table of sections is whole and does not name it is no Go program.
    if has_sections(image) && !is_marked(image) {
        return None;
    }
    image.regions().find_map(|region| {
        memmem::find_iter(region.bytes, build::MAGIC)
            .take(MAX_MISTAKEN)
            .filter(|&at| (region.address + at as u64).is_multiple_of(16))
            .find_map(|at| Program::parse(image, &region.bytes[at..]))
    })
}

/// Whether there are signs of Go other than what the program says of itself.
pub(super) fn is_marked(image: &Image<'_>) -> bool {
    build_id(image).is_some()
        || TABLE_SECTIONS
            .iter()
            .any(|name| image.named(name).is_some())
}

fn has_sections(image: &Image<'_>) -> bool {
    image
        .sections()
        .is_some_and(|sections| !sections.is_empty())
}

/// Go's own.
pub(crate) fn build_id<'a>(image: &Image<'a>) -> Option<&'a [u8]> {
    let bytes = image.bytes();
    let header = Header::parse(bytes).ok()?;
    let segments = header.program_headers(LittleEndian, bytes).ok()?;
    segments.iter().take(MAX_SEGMENTS).find_map(|segment| {
        let mut notes = segment.notes(LittleEndian, bytes).ok()??;
        for _ in 0..MAX_NOTES {
            let note = notes.next().ok()??;
            let id = note.desc();
            if (note.name(), note.n_type(LittleEndian)) == BUILD_ID_NOTE
                && id.len() <= MAX_BUILD_ID_BYTES
            {
                return Some(id);
            }
        }
        None
    })
}

pub(super) fn table<'a>(image: &Image<'a>) -> Option<Table<'a>> {
    let parse = |region: Region<'a>| Table::parse(region.bytes, region.address);
    let named = TABLE_SECTIONS
        .iter()
        .find_map(|name| parse(image.named(name)?));
    // A linker that knows nothing of Go puts it in with other read-only data.
    named.or_else(|| {
        image.regions().find_map(|region| {
            memmem::find_iter(region.bytes, table::MAGIC_TAIL)
                .take(MAX_MISTAKEN)
                .filter_map(|tail| tail.checked_sub(1))
                .filter(|&at| (region.address + at as u64).is_multiple_of(8))
                .find_map(|at| {
                    parse(Region {
                        address: region.address + at as u64,
                        bytes: &region.bytes[at..],
                    })
                })
        })
    })
}

/// Where the code begins that the table's `pc` counts from. The function at `start` is in the file.
pub(super) fn text(image: &Image<'_>, table: &Table<'_>, start: u64) -> Option<u64> {
    if table.is_absolute() {
        return Some(0);
    }
    let is_code = |text: &u64| {
        let address = text.checked_add(start);
        address.is_some_and(|address| image.code(address).is_some())
    };
    let said = table.text.filter(is_code);
    said.or_else(|| in_module(image, table).filter(is_code))
        .or_else(|| in_relocated_module(image, table).filter(is_code))
}

/// The runtime's description of the program (`moduledata`) begins with the table's address.
fn in_module(image: &Image<'_>, table: &Table<'_>) -> Option<u64> {
    let pattern = table.address.to_le_bytes();
    image
        .named(MODULE_SECTION)
        .into_iter()
        .chain(image.regions())
        .find_map(|region| {
            memmem::find_iter(region.bytes, &pattern)
                .take(MAX_MISTAKEN)
                .filter(|&at| (region.address + at as u64).is_multiple_of(8))
                .find_map(|at| text_in(&words(&region.bytes[at..]), table))
        })
}

/// The same where the loader is to fill in the addresses.
fn in_relocated_module(image: &Image<'_>, table: &Table<'_>) -> Option<u64> {
    let starts: Vec<u64> = image
        .relative()
        .filter(|relative| relative.value == table.address)
        .map(|relative| relative.at)
        .take(8)
        .collect();
    starts.into_iter().find_map(|start| {
        let mut words = words(image.data(start)?);
        for relative in image.relative() {
            if let Some(distance) = relative.at.checked_sub(start)
                && let Some(word) = words.get_mut(usize::try_from(distance / 8).ok()?)
            {
                *word = relative.value;
            }
        }
        text_in(&words, table)
    })
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words
        .iter()
        .take(MODULE_WORDS)
        .map(|word| u64::from_le_bytes(*word))
        .collect()
}

/// `minpc, maxpc, text` stand one after the other and must be as the table says, wherever this
/// version of Go keeps them.
fn text_in(words: &[u64], table: &Table<'_>) -> Option<u64> {
    let (first, last) = table.ends()?;
    words.array_windows::<3>().find_map(|&[least, most, text]| {
        let agrees = text != 0
            && least.checked_sub(text) == Some(first)
            && most.checked_sub(text) == Some(last);
        agrees.then_some(text)
    })
}
