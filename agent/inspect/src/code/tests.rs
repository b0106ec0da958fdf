//! Functions as compilers made them: `functions.txt` has their bytes, then what is said of them.

use std::fmt::Write as _;
use std::{env, fs};

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::{ARGUMENTS, Limits, sites};
use crate::elf::Image;
use crate::elf::tests::{CODE_OFFSET, file_with};
use crate::{Return, Site};

const FUNCTIONS: &str = include_str!("tests/functions.txt");

/// With `UPDATE` in the environment what is said is written into the file, to be looked at.
#[test]
fn real_functions() {
    let said: String = FUNCTIONS
        .split("\n\n")
        .map(|text| check(text) + "\n\n")
        .collect();
    let said = said.trim_end().to_owned() + "\n";
    if env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/code/tests/functions.txt");
        fs::write(path, &said).expect("the file can be written");
        return;
    }
    assert_eq!(said, FUNCTIONS);
}

/// The text with what is found in the function.
fn check(text: &str) -> String {
    let (mut address, mut code, mut said) = (0, Vec::new(), String::new());
    let mut arguments = 0;
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("at", at)) => address = u64::from_str_radix(at, 16).expect("an address"),
            Some(("code", hex)) => code.extend(bytes(hex)),
            Some(("arguments", number)) => arguments = number.parse().expect("a number"),
            Some(("entry" | "return" | "returns" | "value", _)) => continue,
            _ => {}
        }
        writeln!(said, "{line}").expect("a string takes it");
    }
    let file = file_with(address, &code);
    let image = Image::parse(&file).expect("a file as it should be");
    let limits = Limits::from_size(code.len() as u64);
    let found = sites(&image, address, limits, &ARGUMENTS[..arguments]).expect("there is code");
    let place = |site: &Site| {
        let inside = site.offset - CODE_OFFSET;
        assert!(inside < code.len() as u64);
        format!("{:x} {:?}", address + inside, site.class)
    };
    writeln!(said, "entry {} {:?}", place(&found.entry), found.arguments).expect("a string");
    let kind = match &found.returns {
        Return::Sites(_) => "by sites",
        Return::Probe { .. } => "by probe",
        Return::Either { .. } => "by either",
        Return::Parts(_) => "by parts",
    };
    writeln!(said, "returns {kind} {:?}", found.value).expect("a string");
    for site in found.returns.sites() {
        writeln!(said, "return {}", place(&site)).expect("a string");
    }
    said.trim_end().to_owned()
}

/// All functions of the table, by name.
pub(crate) fn functions() -> Vec<(&'static str, Vec<u8>)> {
    FUNCTIONS
        .split("\n\n")
        .map(|text| {
            let name = text.split(':').next().unwrap_or_default();
            let code = text.lines().filter_map(|line| line.strip_prefix("code "));
            (name, code.flat_map(bytes).collect())
        })
        .collect()
}

/// Of hexadecimal digits, with spaces wherever they help.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("two digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Code that stands at `address`.
pub(crate) fn decoded(hex: &str, address: u64) -> Vec<Instruction> {
    let bytes = bytes(hex);
    let decoder = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE);
    decoder.into_iter().collect()
}
