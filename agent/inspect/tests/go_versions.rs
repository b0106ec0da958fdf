use std::{env, fs};
#[test]
fn shows() {
    for path in env::var("GO_FILES").unwrap_or_default().split_whitespace() {
        let found = weft_inspect::inspect(&fs::read(path).unwrap()).unwrap();
        eprintln!("{path}: {:x?}", (found.goroutines.is_some(), found.proxy));
    }
}
