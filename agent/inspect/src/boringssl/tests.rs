//! Functions of the grpcio wheel's stripped BoringSSL (`grpcio.txt`), at their addresses.

use object::elf::{PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD};

use crate::elf::tests::{Loaded, file_loaded};
use crate::{Inspection, Stack, inspect};

const FUNCTIONS: &str = include_str!("grpcio.txt");
/// Of the source file's name.
const SOURCE: u64 = 0xe2_8778;
const FRAMES: u64 = 0x100_0000;

#[test]
fn reads_and_writes() {
    let found = found(&["SSL_write", "ssl_read_impl", "SSL_peek", "SSL_read"]);
    let library = &found.libraries[0];
    assert_eq!(library.stack, Stack::BoringSsl);
    let names: Vec<_> = library
        .functions
        .iter()
        .map(|function| function.name)
        .collect();
    assert_eq!(names, ["SSL_read", "SSL_write"]);
    assert!(library.functions.iter().all(crate::Function::is_cheap));
    assert!(library.problems.is_empty());
    // Code stands in the file as in memory, from the first function on.
    let [read, write] = &library.functions[..] else {
        unreachable!("two names");
    };
    assert_eq!(
        read.entry.offset - write.entry.offset,
        0xbb_60c0 - 0xbb_42e0
    );
}

/// What is not certain is not said.
#[test]
fn a_doubt() {
    let check = |names: &[&str], functions: usize| {
        let found = found(names);
        let library = &found.libraries[0];
        assert_eq!(library.functions.len(), functions, "{names:?}");
        assert_eq!(library.problems.len(), 2 - functions, "{names:?}");
    };
    check(&["SSL_write", "ssl_read_impl", "SSL_read"], 1);
    check(&["SSL_write", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl"], 0);
}

/// What is found in a file with these functions.
fn found(names: &[&str]) -> Inspection {
    let all = functions();
    let start = all[0].1;
    let (mut code, mut ranges) = (Vec::new(), Vec::new());
    for (name, address, bytes) in &all {
        code.resize((address - start) as usize, 0x90);
        if names.contains(name) {
            ranges.push((*address, bytes.len() as u32));
            code.extend(bytes);
        }
    }
    let frames = frames(&ranges);
    let segment = |kind, flags, address, bytes| Loaded {
        kind,
        flags,
        address,
        bytes,
    };
    let file = file_loaded(&[
        segment(PT_LOAD, PF_R | PF_X, start, &code[..]),
        segment(
            PT_LOAD,
            PF_R,
            SOURCE - 1,
            b"\0third_party/boringssl/ssl/ssl_lib.cc\0",
        ),
        segment(PT_LOAD, PF_R, FRAMES, &frames),
        segment(PT_GNU_EH_FRAME, PF_R, FRAMES, &frames),
    ]);
    inspect(&file).expect("a file as it should be")
}

fn functions() -> Vec<(&'static str, u64, Vec<u8>)> {
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
    let functions: Option<_> = FUNCTIONS.split("\n\n").map(function).collect();
    functions.expect("the form of the file")
}

/// The table for unwinding, descriptions behind it.
fn frames(ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut table = vec![1, 0x1b, 3, 0x3b, 0, 0, 0, 0];
    table.extend((ranges.len() as u32).to_le_bytes());
    let descriptions = table.len() + 8 * ranges.len();
    let distance = |to: u64, from: u64| (to.wrapping_sub(from) as i32).to_le_bytes();
    for (at, (address, _)) in ranges.iter().enumerate() {
        table.extend(distance(*address, FRAMES));
        table.extend(((descriptions + 16 * at) as u32).to_le_bytes());
    }
    for (address, bytes) in ranges {
        table.extend([12, 0, 0, 0, 4, 0, 0, 0]);
        let here = FRAMES + table.len() as u64;
        table.extend(distance(*address, here));
        table.extend(bytes.to_le_bytes());
    }
    table
}
