//! Which of the family it is, and how old.

use iced_x86::Code;
use object::LittleEndian;
use object::read::elf::{SectionHeader as _, SectionTable};

use crate::Stack;
use crate::code::{instructions, pointers};
use crate::elf::{Header, Image, Symbol, Symbols, name_at};

/// Functions that return the name of the library, the newer first.
const NAMING: [&str; 2] = ["OpenSSL_version", "SSLeay_version"];
/// Only BoringSSL has it.
const BORINGSSL: &str = "SSL_CTX_set_permute_extensions";

pub(super) fn is_of_use(name: &[u8]) -> bool {
    NAMING.iter().any(|naming| naming.as_bytes() == name)
}

pub(super) fn tell(image: &Image<'_>, symbols: &Symbols<'_>) -> (Stack, Option<String>) {
    let named = NAMING
        .iter()
        .flat_map(|name| symbols.named(name))
        .find_map(|symbol| names_itself(image, symbol));
    let boring = symbols.named(BORINGSSL).next().is_some();
    match named {
        Some(("BoringSSL", _)) => (Stack::BoringSsl, None),
        Some((_, _)) | None if boring => (Stack::BoringSsl, None),
        Some(("OpenSSL", version)) => (Stack::OpenSsl, Some(version.to_owned())),
        Some((name, version)) => (Stack::OpenSsl, Some(format!("{name} {version}"))),
        None => (
            Stack::OpenSsl,
            image
                .sections()
                .and_then(|sections| newest_interface(image, &sections)),
        ),
    }
}

/// `OpenSSL 3.0.19 27 Jan 2026`: the library's name and version.
fn names_itself<'a>(image: &Image<'a>, symbol: Symbol<'_>) -> Option<(&'a str, &'a str)> {
    pointers(image, symbol.address, symbol.bytes)
        .chain(first_of_table(image, symbol))
        .filter_map(|pointer| image.string(pointer, 128))
        .find_map(|text| {
            let mut words = text.split(' ');
            let name = words.next().filter(|name| name.ends_with("SSL"))?;
            Some((name, words.next().unwrap_or_default()))
        })
}

/// Compilers make a table of the strings it chooses from, the version first.
fn first_of_table(image: &Image<'_>, symbol: Symbol<'_>) -> Option<u64> {
    instructions(image, symbol.address, symbol.bytes)
        .filter(|instruction| {
            let scale = instruction.memory_index_scale() as usize;
            instruction.code() == Code::Mov_r64_rm64 && scale == size_of::<u64>()
        })
        .find_map(|instruction| {
            let table = image.data(instruction.memory_displacement64())?;
            Some(u64::from_le_bytes(*table.first_chunk()?))
        })
}

/// A `libssl` has its version only in the newest version of its interface, which may be older:
/// `OPENSSL_3.0.3`, `OPENSSL_1_1_1`.
fn newest_interface(image: &Image<'_>, sections: &SectionTable<'_, Header>) -> Option<String> {
    const MAX_VERSIONS: usize = 256;
    let (mut definitions, strings) = sections
        .gnu_verdef(LittleEndian, image.bytes())
        .ok()
        .flatten()?;
    let strings = sections.section(strings).ok()?;
    let strings = strings.data(LittleEndian, image.bytes()).ok()?;
    let mut newest: Option<Vec<u32>> = None;
    for _ in 0..MAX_VERSIONS {
        let Ok(Some((_, mut names))) = definitions.next() else {
            break;
        };
        let Ok(Some(name)) = names.next() else {
            continue;
        };
        let numbers = name_at(strings, name.vda_name.get(LittleEndian))
            .and_then(|name| std::str::from_utf8(name).ok())
            .and_then(|name| name.strip_prefix("OPENSSL_"))
            .map(|name| {
                name.split(['.', '_'])
                    .map_while(|part| part.parse().ok())
                    .collect()
            });
        newest = newest.max(numbers);
    }
    let numbers: Vec<String> = newest?.iter().map(ToString::to_string).collect();
    Some(format!("{} or later", numbers.join(".")))
}
