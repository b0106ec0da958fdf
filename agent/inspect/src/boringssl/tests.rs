//! Functions of stripped BoringSSL at their addresses: of the grpcio wheel (`grpcio.txt`), and of Bun
//! (`bun.txt`), which has no table for unwinding, never peeks, and whose code names addresses as they are.

use object::elf::{PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD};

use crate::elf::tests::{Loaded, file_loaded, frames, functions};
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
    check(&["SSL_write", "ssl_read_impl", "SSL_peek"], 1);
    check(&["SSL_write", "ssl_read_impl", "SSL_read"], 2);
    check(&["SSL_write", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl"], 0);
}

#[test]
fn without_a_table_and_without_peeking() {
    let check = |names: &[&str], expected: &[&str]| {
        let found = called(names);
        let library = &found.libraries[0];
        let functions = library.functions.iter();
        let functions: Vec<_> = functions.map(|function| function.name).collect();
        assert_eq!(functions, expected, "{names:?}");
        assert_eq!(library.problems.len(), 2 - expected.len(), "{names:?}");
        assert!(library.functions.iter().all(crate::Function::is_cheap));
    };
    check(
        &["SSL_read", "ssl_read_impl", "SSL_write"],
        &["SSL_read", "SSL_write"],
    );
    check(&["SSL_read", "SSL_write"], &["SSL_write"]);
    check(&["SSL_read", "ssl_read_impl"], &["SSL_read"]);
}

/// A program that only has the name of the file: this one, for example.
#[test]
fn a_name_is_no_library() {
    let file = file_loaded(&[Loaded {
        kind: PT_LOAD,
        flags: PF_R,
        address: SOURCE - 1,
        bytes: b"\0../ssl/ssl_lib.cc\0",
    }]);
    assert_eq!(
        inspect(&file).expect("a file as it should be").libraries,
        []
    );
}

/// What is found in a file with these functions of Bun, and one that calls them.
fn called(names: &[&str]) -> Inspection {
    const CALL_BYTES: u64 = 5;
    const CALLER: u64 = 0x200_0000;
    const SOURCE: u64 = 0x29_e59d;
    let all = functions(include_str!("bun.txt"));
    let mut caller = Vec::new();
    let padding = [0xcc; 16];
    let mut segments = Vec::new();
    for (name, address, bytes) in &all {
        let after = CALLER + caller.len() as u64 + CALL_BYTES;
        caller.push(0xe8);
        caller.extend((address.wrapping_sub(after) as i32).to_le_bytes());
        segments.push((address - 16, &padding[..]));
        if names.contains(name) {
            segments.push((*address, &bytes[..]));
        }
    }
    segments.push((CALLER, &caller));
    let mut loaded: Vec<_> = segments
        .iter()
        .map(|(address, bytes)| Loaded {
            kind: PT_LOAD,
            flags: PF_R | PF_X,
            address: *address,
            bytes,
        })
        .collect();
    loaded.push(Loaded {
        kind: PT_LOAD,
        flags: PF_R,
        address: SOURCE - 1,
        bytes: b"\0../../vendor/boringssl/ssl/ssl_lib.cc\0",
    });
    inspect(&file_loaded(&loaded)).expect("a file as it should be")
}

/// What is found in a file with these functions.
fn found(names: &[&str]) -> Inspection {
    let all = functions(FUNCTIONS);
    let start = all[0].1;
    let (mut code, mut ranges) = (Vec::new(), Vec::new());
    for (name, address, bytes) in &all {
        code.resize((address - start) as usize, 0x90);
        if names.contains(name) {
            ranges.push((*address, bytes.len() as u32));
            code.extend(bytes);
        }
    }
    let frames = frames(FRAMES, &ranges);
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
