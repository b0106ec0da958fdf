//! Methods of `crypto/tls.Conn` as Go made them: `functions.txt` has their bytes and the names of
//! what they call, then what is said of them.

use std::fmt::Write as _;
use std::{env, fs};

use super::table::tests::{Form, table};
use super::{READ, WRITE};
use crate::elf::tests::{CODE_OFFSET, file_with};
use crate::fuzz::fuzz_inspect;
use crate::{Direction, Function, Library, Return, Site, Stack, inspect};

const FUNCTIONS: &str = include_str!("tests/functions.txt");

/// With `UPDATE` in the environment what is said is written into the file, to be looked at.
#[test]
fn real_functions() {
    let said: Vec<String> = FUNCTIONS.trim_end().split("\n\n").map(check).collect();
    let said = said.join("\n\n") + "\n";
    if env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/go/tests/functions.txt");
        fs::write(path, &said).expect("the file can be written");
        return;
    }
    assert_eq!(said, FUNCTIONS);
}

/// Whatever the table's form, the same is found.
#[test]
fn forms_of_the_table() {
    for text in FUNCTIONS.trim_end().split("\n\n") {
        let real = Real::parse(text);
        let expected = library(&real.file(Form::Go120));
        for form in [Form::Go116, Form::Go118, Form::Go126] {
            assert_eq!(library(&real.file(form)), expected, "{form:?}");
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let real = Real::parse(FUNCTIONS.split("\n\n").next().expect("a function"));
    let problems = |file: &[u8]| -> Vec<String> {
        library(file)
            .problems
            .into_iter()
            .map(|problem| problem.0)
            .collect()
    };
    let whole = real.file(Form::Go126);
    assert_eq!(
        problems(&whole),
        ["crypto/tls.(*Conn).Write: the program was linked without it"]
    );

    let at =
        |file: &[u8], what: &[u8]| memchr::memmem::find(file, what).expect("it is in the file");
    let mut file = whole.clone();
    let start = at(&whole, super::table::MAGIC_TAIL);
    file[start] = 0;
    assert_eq!(
        problems(&file),
        ["a Go program, but its table of functions (.gopclntab) is not found"]
    );
    file.clone_from(&whole);
    let text = file.len() - 16;
    file[text] ^= 1;
    assert_eq!(
        problems(&file),
        ["a Go program whose code's start is not found (moduledata)"]
    );
    file.clone_from(&whole);
    let start = at(&whole, super::build::MAGIC);
    file[start] = 0;
    assert_eq!(
        inspect(&file).expect("an ELF file").libraries,
        [],
        "nothing says Go"
    );
}

/// The same each time: numbers in the tables and bytes of the code are other ones.
#[test]
fn what_chance_makes_of_it() {
    let mut dice = 1_u64;
    let mut roll = |sides: usize| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % sides
    };
    for text in FUNCTIONS.trim_end().split("\n\n") {
        let real = Real::parse(text);
        for round in 0..200 {
            let mut file = real.file(if round % 2 == 0 {
                Form::Go126
            } else {
                Form::Go118
            });
            for _ in 0..=roll(4) {
                let behind = roll(3) * real.code.len();
                let at = CODE_OFFSET as usize + behind + roll(real.code.len());
                let Some(word) = file.get_mut(at..at + 4) else {
                    continue;
                };
                match roll(3) {
                    0 => word[0] ^= 1 << roll(8),
                    1 => word.copy_from_slice(&(roll(1 << 16) as u32).to_le_bytes()),
                    _ => word.fill(roll(256) as u8),
                }
            }
            fuzz_inspect(&file);
        }
    }
}

/// The text with what is found in the function.
fn check(text: &str) -> String {
    let real = Real::parse(text);
    let library = library(&real.file(Form::Go120));
    let [function] = library.functions.as_slice() else {
        panic!("{text}: {library:?}");
    };
    let input = text.lines().take_while(|line| !line.starts_with("entry"));
    let mut said: String = input.map(|line| format!("{line}\n")).collect();
    said += &describe(function, real.at);
    said.trim_end().to_owned()
}

fn describe(function: &Function, at: u64) -> String {
    let place = |site: &Site| format!("{:x} {:?}", site.offset - CODE_OFFSET + at, site.class);
    let mut said = String::new();
    let entry = place(&function.entry);
    writeln!(said, "entry {entry} {:?}", function.arguments).expect("a string");
    match &function.returns {
        Return::Parts(parts) => {
            for part in parts {
                let site = place(&part.site);
                writeln!(said, "part {site} {:?}", part.outcome).expect("a string");
            }
        }
        returns => {
            for site in returns.sites() {
                let site = place(&site);
                writeln!(said, "return {site} {:?}", function.outcome).expect("a string");
            }
        }
    }
    said
}

fn library(file: &[u8]) -> Library {
    let found = inspect(file).expect("an ELF file");
    let program = found.go.expect("a Go program");
    assert_eq!(program.version, "go1.99");
    let [library] = found.libraries.as_slice() else {
        panic!("{:?}", found.libraries);
    };
    assert_eq!(library.stack, Stack::Go);
    library.clone()
}

struct Real<'a> {
    at: u64,
    direction: Direction,
    calls: Vec<(u64, &'a str)>,
    code: Vec<u8>,
}

impl<'a> Real<'a> {
    fn parse(text: &'a str) -> Self {
        let mut real = Self {
            at: 0,
            direction: Direction::Read,
            calls: Vec::new(),
            code: Vec::new(),
        };
        let address = |hex| u64::from_str_radix(hex, 16).expect("an address");
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("at", hex)) => real.at = address(hex),
                Some(("calls", rest)) => {
                    let (hex, name) = rest.split_once(' ').expect("address and name");
                    real.calls.push((address(hex), name));
                }
                Some(("code", hex)) => real.code.extend((0..hex.len() / 2).map(|at| {
                    u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits")
                })),
                Some(("#", title)) if title.ends_with("Write") => real.direction = Direction::Write,
                _ => {}
            }
        }
        real
    }

    /// Code, then what Go's linker puts into a program.
    fn file(&self, form: Form) -> Vec<u8> {
        let name = match self.direction {
            Direction::Read => READ,
            Direction::Write => WRITE,
        };
        let mut functions = self.calls.clone();
        functions.push((self.at, name));
        functions.push((self.at + self.code.len() as u64, "go:end"));
        let mut bytes = self.code.clone();
        let pad = |bytes: &mut Vec<u8>| {
            let address = self.at + bytes.len() as u64;
            bytes.resize(
                bytes.len() + (address.next_multiple_of(16) - address) as usize,
                0,
            );
            self.at + bytes.len() as u64
        };
        pad(&mut bytes);
        bytes.extend(b"\xff Go buildinf:\x08\x02");
        bytes.resize(bytes.len() + 16, 0);
        bytes.extend(b"\x06go1.99\0");
        let address = pad(&mut bytes);
        let (table, module) = table(form, address, functions);
        bytes.extend(table);
        pad(&mut bytes);
        bytes.extend(module.iter().flat_map(|word| word.to_le_bytes()));
        file_with(self.at, &bytes)
    }
}
