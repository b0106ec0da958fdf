//! What holds for any bytes.

use super::build::{MAGIC, Program};
use super::table::{MAGIC_TAIL, Table};
use super::{READ, WRITE};
use crate::elf::Image;

/// The input stands behind the magic numbers, or is a whole file.
pub fn fuzz_go(input: &[u8]) {
    for first in [0xfa, 0xf0, 0xf1] {
        let bytes = [&[first], MAGIC_TAIL, input].concat();
        if let Some(table) = Table::parse(&bytes, 0x1000) {
            let (start, end) = table.ends().expect("a table has ends");
            assert!(start < end);
            for range in table.functions([READ, WRITE]).into_iter().flatten() {
                assert!(range.start.checked_add(range.bytes).is_some());
            }
            for pc in [0, start, start + 1, end] {
                let name = table.name(pc).unwrap_or_default();
                assert!(!name.contains(&0));
            }
        }
    }
    if let Ok(image) = Image::parse(input) {
        Program::parse(&image, &[MAGIC, input].concat());
        super::find(&image);
        super::build_id(&image);
    }
}

#[cfg(test)]
mod tests {
    use super::fuzz_go;
    use crate::go::table::tests::{Form, table};

    /// Every byte of a table, changed in several ways.
    #[test]
    fn one_byte_off() {
        for form in [Form::Go116, Form::Go118, Form::Go126] {
            let functions = vec![
                (0x1000, super::READ),
                (0x1100, super::WRITE),
                (0x1200, "end"),
            ];
            let (bytes, _) = table(form, 0, functions);
            let mut input = bytes[8..].to_vec();
            for at in 0..input.len() {
                let byte = input[at];
                for value in [0, 1, 0x7f, 0x80, 0xff, byte ^ 0x10] {
                    input[at] = value;
                    fuzz_go(&input);
                }
                input[at] = byte;
            }
        }
    }
}
