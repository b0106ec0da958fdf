//! Functions of stripped programs, at their addresses: of a small one (`small.txt`), with an older rustls
//! that sets no counter (`old.txt`), with functions put into their callers (`inlined.txt`).

use object::elf::{PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD};

use super::{Buffered, Found, Received, Taken, find};
use crate::elf::Image;
use crate::elf::tests::{Loaded, file_loaded, frames, functions};
use crate::{Class, Register};

const SMALL: &str = include_str!("tests/small.txt");
const OLD: &str = include_str!("tests/old.txt");
const INLINED: &str = include_str!("tests/inlined.txt");
const FRAMES: u64 = 0x100_0000;
const CALLERS: u64 = 0x200_0000;

/// Where functions begin and end.
#[derive(Clone, Copy)]
enum Told {
    ByTable,
    /// By what other functions call.
    ByCalls,
}

#[test]
fn functions_of_their_own() {
    let expected = Found {
        received: Received::Function(0xd_70f2),
        buffered: Buffered::Function(0x10_7f94),
    };
    for told in [Told::ByTable, Told::ByCalls] {
        assert_eq!(found(SMALL, told, |_, _| {}), expected);
    }
    let expected = Found {
        received: Received::Function(0xe_ad00),
        buffered: Buffered::Function(0x13_b940),
    };
    for told in [Told::ByTable, Told::ByCalls] {
        assert_eq!(found(OLD, told, |_, _| {}), expected);
    }
}

#[test]
fn in_its_caller() {
    let taken = Taken {
        at: 0x37_e18c,
        class: Class::Emulated,
        connection: Register::R12,
        payload: Register::Rbx,
        words: 1,
    };
    let expected = Found {
        received: Received::Inlined(vec![taken]),
        buffered: Buffered::Encrypts(0x3e_29e0),
    };
    assert_eq!(found(INLINED, Told::ByTable, |_, _| {}), expected);
}

/// What is not certain is not said.
#[test]
fn a_doubt() {
    const TAKES: &str = "take_received_plaintext";
    const WRITES: &str = "buffer_plaintext";
    let change = |function: &'static str, from: &'static [u8], to: &'static [u8]| {
        let of = move |name: &str, code: &mut Vec<u8>| {
            if name == function {
                let mut places = memchr::memmem::find_iter(&code[..], from);
                let place = places.next().expect("it is there");
                code.splice(place..place + from.len(), to.iter().copied());
            }
        };
        found(SMALL, Told::ByTable, of)
    };
    // Another number than 32: as in rustls that sets no counter.
    let found = change(TAKES, b"\x2e\x03\0\0\x20", b"\x2e\x03\0\0\x21");
    assert_eq!(found.received, Received::Function(0xd_70f2));
    // Another buffer than the one beside the messages.
    let found = change(TAKES, &[0x48, 0x83, 0xc3, 0x50], &[0x48, 0x83, 0xc3, 0x60]);
    assert_eq!(found.buffered, Buffered::Unknown);
    // Nothing that reads the plaintext.
    let found = change("Payload::into_vec", &[0x31, 0xc0], &[0xc3, 0x90]);
    assert_eq!(found.received, Received::Unknown);
    // No flag behind the message.
    let found = change(WRITES, &[0x36, 0x03], &[0x36, 0x04]);
    assert_eq!(found.buffered, Buffered::Unknown);
    // Words of another place.
    let found = change(
        "perhaps_write_key_update",
        &[0x88, 0, 0, 0],
        &[0x98, 0, 0, 0],
    );
    assert_eq!(found.buffered, Buffered::Unknown);
}

/// The same each time. Nothing panics, whatever stands in the file.
#[test]
fn what_chance_makes_of_it() {
    let mut chance = 1_u64;
    let mut roll = |sides: usize| {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize % sides
    };
    for told in [Told::ByTable, Told::ByCalls] {
        for text in [SMALL, OLD, INLINED] {
            let original = file(text, told, |_, _| {});
            // Code, headers and tables; not what is between functions.
            let bytes = original.iter().enumerate();
            let places: Vec<usize> = bytes
                .filter(|(_, b)| **b != 0x90)
                .map(|(at, _)| at)
                .collect();
            for _ in 0..50 {
                let mut input = original.clone();
                for _ in 0..=roll(12) {
                    let at = places[roll(places.len())];
                    match roll(3) {
                        0 => input[at] ^= 1 << roll(8),
                        1 => input[at] = roll(256) as u8,
                        _ => input[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                    }
                }
                if let Ok(image) = Image::parse(&input) {
                    find(&image);
                }
            }
        }
    }
}

/// What is found in a file with these functions, after a change.
fn found(text: &'static str, told: Told, change: impl Fn(&str, &mut Vec<u8>)) -> Found {
    let file = file(text, told, change);
    find(&Image::parse(&file).expect("a file as it should be"))
}

fn file(text: &'static str, told: Told, change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut all = functions(text);
    all.iter_mut()
        .for_each(|(name, _, code)| change(name, code));
    let start = all[0].1 - 16;
    let (mut code, mut ranges, mut callers) = (Vec::new(), Vec::new(), Vec::new());
    for (_, address, bytes) in &all {
        code.resize((address - start) as usize, 0x90);
        ranges.push((*address, bytes.len() as u32));
        code.extend(bytes);
        let after = CALLERS + callers.len() as u64 + 5;
        callers.push(0xe8);
        callers.extend((address.wrapping_sub(after) as u32).to_le_bytes());
    }
    let frames = frames(FRAMES, &ranges);
    let segment = |kind, flags, address, bytes| Loaded {
        kind,
        flags,
        address,
        bytes,
    };
    let mut segments = vec![
        segment(PT_LOAD, PF_R | PF_X, start, &code[..]),
        segment(PT_LOAD, PF_R, FRAMES, &frames),
    ];
    segments.push(match told {
        Told::ByTable => segment(PT_GNU_EH_FRAME, PF_R, FRAMES, &frames),
        Told::ByCalls => segment(PT_LOAD, PF_R | PF_X, CALLERS, &callers),
    });
    file_loaded(&segments)
}
