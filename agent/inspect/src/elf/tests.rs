//! Files made by hand.

use super::{Error, Image};

/// Where [`file_with`] puts the code.
pub(crate) const CODE_OFFSET: u64 = 64 + 56;

/// A file that has nothing but this code, at this address.
pub(crate) fn file_with(address: u64, code: &[u8]) -> Vec<u8> {
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
    for value in [64, 56, 1, 64, 0, 0] {
        half(&mut file, value);
    }
    word(&mut file, 1); // to be loaded
    word(&mut file, 5); // readable, executable
    for value in [
        CODE_OFFSET,
        address,
        address,
        code.len() as u64,
        code.len() as u64,
        1,
    ] {
        long(&mut file, value);
    }
    file.extend(code);
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
