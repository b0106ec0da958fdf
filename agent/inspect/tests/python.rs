//! Interpreters and modules that this machine happens to have.

use std::{env, fs};

use weft_inspect::inspect;

/// `WEFT_PYTHON_FILES`: files to look at, separated by colons.
#[test]
fn files_of_this_machine() {
    let files = env::var("WEFT_PYTHON_FILES").unwrap_or_default();
    for path in files.split(':').filter(|path| !path.is_empty()) {
        let file = fs::read(path).expect("a file");
        let found = inspect(&file).expect("an ELF file");
        eprintln!("{path}: {:x?}", found.python);
        assert!(matches!(found.python, Some(Ok(_))), "{path}: {found:?}");
    }
}
