//! Libraries that this machine happens to have. One that is not there is skipped, loudly.

use std::fs;

use weft_inspect::{Direction, Finding, Inspection, Stack, inspect};

#[test]
fn libraries_of_this_machine() {
    let libraries = [
        ("/usr/lib/x86_64-linux-gnu/libssl.so.3", Stack::OpenSsl),
        ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30", Stack::GnuTls),
        ("/usr/lib64/libssl.so.3", Stack::OpenSsl),
        ("/usr/lib64/libgnutls.so.30", Stack::GnuTls),
    ];
    for (path, stack) in libraries {
        match fs::read(path) {
            Ok(file) => check(path, stack, &file),
            Err(error) => eprintln!("SKIPPED {path}: {error}"),
        }
    }
}

fn check(path: &str, stack: Stack, file: &[u8]) {
    let found = inspect(file).expect("an ELF file");
    let Inspection { libraries, .. } = &found;
    assert_eq!(libraries.len(), 1, "{path}: {found:?}");
    let library = &libraries[0];
    assert_eq!(library.stack, stack, "{path}");
    assert_eq!(library.finding, Finding::Symbols, "{path}");
    assert!(library.version.is_some(), "{path}");
    assert!(
        library.problems.is_empty(),
        "{path}: {:?}",
        library.problems
    );
    for direction in [Direction::Read, Direction::Write] {
        let mut functions = library.functions.iter();
        assert!(
            functions.any(|function| function.direction == direction),
            "{path}: {found:?}"
        );
    }
    for function in &library.functions {
        eprintln!(
            "{path}: {} is cheap: {}",
            function.name,
            function.is_cheap()
        );
    }
}
