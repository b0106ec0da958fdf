//! Files made by hand.

use object::elf::{PF_R, PF_X, PT_LOAD};

use super::{Error, Image};

/// Where [`file_with`] puts the code.
pub(crate) const CODE_OFFSET: u64 = 64 + 56;

/// A file that has nothing but this code, at this address.
pub(crate) fn file_with(address: u64, code: &[u8]) -> Vec<u8> {
    file_loaded(&[Loaded {
        kind: PT_LOAD,
        flags: PF_R | PF_X,
        address,
        bytes: code,
    }])
}

/// What a program header names.
pub(crate) struct Loaded<'a> {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
}

pub(crate) fn file_loaded(segments: &[Loaded<'_>]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    half(&mut file, 3); // a shared object
    half(&mut file, 62); // for x86-64
    word(&mut file, 1);
    long(&mut file, 0);
    long(&mut file, 64); // program headers
    long(&mut file, 0);
    word(&mut file, 0);
    for value in [64, 56, segments.len() as u16, 64, 0, 0] {
        half(&mut file, value);
    }
    let mut offset = (64 + 56 * segments.len()) as u64;
    for segment in segments {
        let len = segment.bytes.len() as u64;
        word(&mut file, segment.kind);
        word(&mut file, segment.flags);
        for value in [offset, segment.address, segment.address, len, len, 1] {
            long(&mut file, value);
        }
        offset += len;
    }
    segments
        .iter()
        .for_each(|segment| file.extend(segment.bytes));
    file
}

#[test]
fn addresses_and_offsets() {
    let file = file_with(0x1000, b"code");
    let image = Image::parse(&file).expect("a file as it should be");
    assert_eq!(image.offset(0x1003), Some(CODE_OFFSET + 3));
    assert_eq!(image.offset(0x1004), None);
    assert_eq!(image.code(0x1002), Some(&b"de"[..]));
    assert_eq!(image.string(0x1000, 16), None, "it does not end");
}

#[test]
fn other_files() {
    let check = |bytes: &[u8], expected| assert_eq!(Image::parse(bytes).err(), Some(expected));
    let mut file = file_with(0, &[]);
    check(b"", Error::NotElf);
    check(b"#!/bin/sh", Error::NotElf);
    check(b"\x7fELF", Error::Machine);
    check(&file[..40], Error::Malformed("its header"));
    check(&file[..100], Error::Malformed("its program headers"));
    file[18] = 183;
    check(&file, Error::Machine);
}

/// A file with these functions and a table that names them.
pub(crate) fn file_of(functions: &[(&str, &[u8])]) -> Vec<u8> {
    const ADDRESS: u64 = 0x1000;
    let (mut code, mut names, mut table) = (Vec::new(), vec![0], vec![0; 24]);
    for (name, bytes) in functions {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([0x12, 0, 1, 0]);
        table.extend((ADDRESS + code.len() as u64).to_le_bytes());
        table.extend((bytes.len() as u64).to_le_bytes());
        names.extend(name.bytes());
        names.push(0);
        code.extend(*bytes);
    }
    let mut file = file_with(ADDRESS, &code);
    let mut sections = vec![[0; 10]];
    // Code, symbols, names: the type, what it refers to, the size of an entry.
    for (kind, link, entry, bytes) in [(1, 0, 0, &code), (2, 3, 24, &table), (3, 0, 0, &names)] {
        let (offset, len) = (file.len() as u64, bytes.len() as u64);
        sections.push([0, kind, 0, ADDRESS, offset, len, link, 1, 1, entry]);
        if kind != 1 {
            file.extend(bytes);
        } else {
            sections.last_mut().expect("it is there")[4] = CODE_OFFSET;
        }
    }
    let start = file.len() as u64;
    file[40..48].copy_from_slice(&start.to_le_bytes());
    file[58] = 64;
    file[60] = sections.len() as u8;
    file[62] = 3;
    for section in sections {
        for (at, value) in section.into_iter().enumerate() {
            match at {
                0 | 1 | 6 | 7 => file.extend((value as u32).to_le_bytes()),
                _ => file.extend(value.to_le_bytes()),
            }
        }
    }
    file
}

/// Functions as text: for each its name, where it stands, its bytes.
pub(crate) fn functions(text: &'static str) -> Vec<(&'static str, u64, Vec<u8>)> {
    let function = |text: &'static str| {
        let mut lines = text.lines();
        let name = lines.next()?;
        let address = u64::from_str_radix(lines.next()?.strip_prefix("at ")?, 16).ok()?;
        let hex: String = lines
            .filter_map(|line| line.strip_prefix("code "))
            .collect();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
        Some((name, address, (0..hex.len()).step_by(2).map(byte).collect()))
    };
    let functions: Option<_> = text.split("\n\n").map(function).collect();
    functions.expect("the form of the file")
}

/// The table for unwinding, descriptions behind it, for this address.
pub(crate) fn frames(here: u64, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut table = vec![1, 0x1b, 3, 0x3b, 0, 0, 0, 0];
    table.extend((ranges.len() as u32).to_le_bytes());
    let descriptions = table.len() + 8 * ranges.len();
    let distance = |to: u64, from: u64| (to.wrapping_sub(from) as i32).to_le_bytes();
    for (at, (address, _)) in ranges.iter().enumerate() {
        table.extend(distance(*address, here));
        table.extend(((descriptions + 16 * at) as u32).to_le_bytes());
    }
    for (address, bytes) in ranges {
        table.extend([12, 0, 0, 0, 4, 0, 0, 0]);
        let field = here + table.len() as u64;
        table.extend(distance(*address, field));
        table.extend(bytes.to_le_bytes());
    }
    table
}
