//! Interpreters that this machine happens to have, and what `WEFT_PYTHON_FILES` names, separated by colons.
//! One that is not there is skipped, loudly.

use std::{env, fs};

use weft_inspect::inspect;

#[test]
fn interpreters_of_this_machine() {
    let usual = [
        "/usr/bin/python3",
        "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0",
        "/usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0",
    ];
    for path in usual {
        match fs::read(path) {
            Ok(file) => check(path, &file),
            Err(error) => eprintln!("SKIPPED {path}: {error}"),
        }
    }
    let named = env::var("WEFT_PYTHON_FILES").unwrap_or_default();
    for path in named.split(':').filter(|path| !path.is_empty()) {
        let file = fs::read(path).expect("a file");
        assert!(inspect(&file).expect("an ELF file").python.is_some());
        check(path, &file);
    }
}

fn check(path: &str, file: &[u8]) {
    match inspect(file).expect("an ELF file").python {
        Some(found) => eprintln!("{path}: {:x?}", found.expect("of use")),
        None => eprintln!("SKIPPED {path}: the interpreter is not in it"),
    }
}
