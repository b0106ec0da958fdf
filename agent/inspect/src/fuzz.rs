//! What holds for any file.

use crate::code::class;
use crate::{Inspection, inspect};

/// Nothing panics, and what is said can be done: sites stand in the file, on instructions of the
/// class that is said.
pub fn fuzz_inspect(input: &[u8]) {
    let Ok(Inspection { libraries, .. }) = inspect(input) else {
        return;
    };
    for function in libraries.iter().flat_map(|library| &library.functions) {
        for site in function.returns.sites().chain([function.entry]) {
            let at = usize::try_from(site.offset).expect("an offset in memory");
            let code = input.get(at..).expect("a site in the file");
            let mut decoder = iced_x86::Decoder::new(64, code, 0);
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid(), "{at:#x} is no instruction");
            assert_eq!(class(&code[..instruction.len()]), site.class, "at {at:#x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::fuzz_inspect;
    use crate::code::tests::functions;
    use crate::elf::tests::file_of;
    use crate::{Stack, inspect};

    #[test]
    fn a_small_file() {
        let functions = functions();
        let named: Vec<_> = functions
            .iter()
            .map(|(name, code)| (*name, &code[..]))
            .collect();
        let found = inspect(&file_of(&named)).expect("a file as it should be");
        let stacks: Vec<_> = found
            .libraries
            .iter()
            .map(|library| library.stack)
            .collect();
        assert_eq!(stacks, [Stack::OpenSsl, Stack::GnuTls, Stack::Rustls]);
    }

    /// The same each time.
    #[test]
    fn what_chance_makes_of_it() {
        let functions = functions();
        let named: Vec<_> = functions
            .iter()
            .map(|(name, code)| (*name, &code[..]))
            .collect();
        let original = file_of(&named);
        let mut dice = Dice(1);
        for _ in 0..3000 {
            let mut input = original.clone();
            for _ in 0..=dice.roll(8) {
                mutate(&mut input, &mut dice);
            }
            let start = Instant::now();
            fuzz_inspect(&input);
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }

    /// Fields of the headers and of the tables are hit as often as code, which is longer.
    fn mutate(input: &mut Vec<u8>, dice: &mut Dice) {
        const NUMBERS: [u64; 8] = [0, 1, 2, 0xff, 0xffff, 0xffff_ffff, u64::MAX, 1 << 63];
        let len = input.len();
        let at = match dice.roll(3) {
            0 => dice.roll(len.min(160)),
            1 => len.saturating_sub(dice.roll(1200)),
            _ => dice.roll(len),
        };
        match dice.roll(5) {
            0 => input.truncate(at),
            1 if at + 8 <= len => {
                let number = NUMBERS[dice.roll(NUMBERS.len())].wrapping_add(dice.roll(3) as u64);
                input[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            2 if at < len => input[at] ^= 1 << dice.roll(8),
            3 => {
                let piece: Vec<u8> = input[at.min(len)..].iter().take(64).copied().collect();
                let to = dice.roll(len);
                input.splice(to..to, piece);
            }
            _ if at < len => input[at] = dice.roll(256) as u8,
            _ => {}
        }
        if input.is_empty() {
            input.push(0);
        }
    }

    /// Chance that is the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % sides
        }
    }
}
