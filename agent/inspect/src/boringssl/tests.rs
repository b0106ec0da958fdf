//! Functions of the grpcio wheel's stripped BoringSSL (`grpcio.txt`), at their addresses.

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
    check(&["SSL_write", "ssl_read_impl", "SSL_read"], 1);
    check(&["SSL_write", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl", "SSL_peek", "SSL_read"], 1);
    check(&["ssl_read_impl"], 0);
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
