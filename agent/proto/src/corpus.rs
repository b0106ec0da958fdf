//! Recorded streams in `tests/corpus`, and what chance makes of them: so the fuzz functions run
//! with every test, the same way each time.

use std::fs;
use std::path::{Path, PathBuf};

/// Inputs made of each file.
const MUTATIONS: u64 = 60;

/// Calls `check` with each file in `area`, with mutations of it and with pure chance.
pub(crate) fn each_input(area: &str, check: impl Fn(&[u8])) {
    for (seed, path) in (1..).zip(files(area)) {
        let mut original = read(&path);
        original.truncate(4096);
        check(&original);
        let mut chance = Chance(seed);
        for _ in 0..MUTATIONS {
            let mut input = original.clone();
            for _ in 0..=chance.below(6) {
                mutate(&mut input, &mut chance);
            }
            check(&input);
        }
        let noise: Vec<u8> = (0..chance.below(200))
            .map(|_| chance.below(256) as u8)
            .collect();
        check(&noise);
    }
}

pub(crate) fn files(area: &str) -> impl Iterator<Item = PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/corpus")
        .join(area);
    let entries =
        fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    files.sort();
    files.into_iter()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn mutate(input: &mut Vec<u8>, chance: &mut Chance) {
    const WORDS: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b":",
        b",",
        b"0\r\n\r\n",
        b"Content-Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ];
    let at = chance.below(input.len() + 1);
    let end = input.len().min(at + chance.below(16));
    match chance.below(5) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 => drop(input.drain(at..end)),
        2 => drop(input.splice(at..at, WORDS[chance.below(WORDS.len())].iter().copied())),
        3 => input.extend_from_within(at..end),
        _ => input.truncate(at.max(1)),
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}
