//! Code as rustc 1.95 has made it of Tokio 1.54.

use object::elf::{PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD};

use super::functions::{Functions, Value};
use super::tables::Pointers;
use super::{is_at_least, is_wake, sites};
use crate::Register;
use crate::code::tests::bytes;
use crate::elf::Image;
use crate::elf::tests::{CODE_OFFSET, Loaded, file_loaded, file_with, frames};

const AT: u64 = 0x40_0000;

/// With the places that the loader fills.
fn on<T>(
    code: &str,
    relative: &[(u64, u64)],
    look: impl Fn(&Image<'_>, &Pointers<'_, '_>) -> T,
) -> T {
    let file = file_with(AT, &bytes(code));
    let image = Image::parse(&file).expect("a file as it should be");
    let pointers = Pointers::of(&image, relative);
    look(&image, &pointers)
}

/// `TaskIdGuard::enter`, and the same within a task's `poll` where all is compiled at once.
#[test]
fn the_current_tasks_id() {
    const ENTER: &str = "4156 53 50 4889fb 64488b042500000000 488d8060feffff 0fb64848 83f901 7424 83f902 7504
        31c9 eb23 488d3530e2fdff 4889c7 4989c6 ff159c950700 4c89f0 41c6464801 488b4830 48895830 4889c8
        4883c408 5b 415e c3";
    // cmp [rbx+30h], 0; jne ..; lea rdi, [rbx+38h]; mov r12, [rbx+28h]; mov rax, fs:[0]; lea r14, [rax-148h]; ..
    const POLL: &str = "837b3000 0f858f000000 488d7b38 4c8b6328 64488b042500000000 4c8db0b8feffff
        640fb6042500ffffff 83f801 0f8400000000 83f802 7500 4989ff 4c89f7 e800000000 64c6042500ffffff01
        4c89ff 644c8b3c25e8feffff 644c892425e8feffff 4c8d642408";
    let check = |code: &str, expected: &[(i64, Value)]| {
        let found = on(code, &[], |image, pointers| {
            let mut functions = Functions::new(image, pointers);
            let swaps = functions.function(AT).swaps.iter();
            swaps.map(|swap| (swap.place, swap.by)).collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "{code}");
    };
    check(ENTER, &[(0x30 - 0x1a0, Value::Argument)]);
    check(POLL, &[(-0x118, Value::Field(0x28))]);
    // Loaded, and not replaced.
    check("644c8b3c25e8feffff c3", &[]);
    // Another word is stored.
    check("644c8b3c25e8feffff 644c892425f0feffff c3", &[]);
}

#[test]
fn where_ids_are_drawn() {
    const COUNTER: u64 = AT + 0x8000;
    let check = |code: &str, expected: Option<(u64, u64, Register)>| {
        // What the first instruction's slot holds.
        let slot = (AT + 7 + 0x1000, COUNTER);
        let found = on(code, &[slot], sites::drawn);
        let sites = found.into_iter().flat_map(|(counter, sites)| {
            let inside = move |offset: u64| offset - CODE_OFFSET;
            let place = move |it: super::Drawn| (counter, inside(it.site.offset), it.id);
            sites.into_iter().map(place)
        });
        assert_eq!(
            sites.collect::<Vec<_>>(),
            Vec::from_iter(expected),
            "{code}"
        );
    };
    // mov rax, [rip+1000h]; nop; mov ecx, 1; lock xadd [rax], rcx; test rcx, rcx; je
    let loaded = "488b0500100000 0f1f00 b901000000 f0480fc108 4885c9 74f1";
    check(loaded, Some((COUNTER, 23, Register::Rcx)));
    // mov eax, 1; lock xadd [rip+..], rax; test rax, rax; je
    let named = "b801000000 f0480fc10500100000 4885c0 74ed";
    check(named, Some((AT + 14 + 0x1000, 17, Register::Rax)));
    // mov r8d, 1; lock xadd [rip+..], r8; test r8, r8; je
    let high = "41b801000000 f04c0fc10500100000 4d85c0 74ec";
    check(high, Some((AT + 15 + 0x1000, 18, Register::R8)));
    // It does not draw again.
    check("b801000000 f0480fc10500100000 4885c0 7400", None);
    // It counts by two.
    check("b802000000 f0480fc10500100000 4885c0 74ed", None);
    // A count of another size.
    check("be01000000 f00fc13500100000", None);
}

/// `AtomicWaker::wake` of Tokio and of the crate `atomic-waker`, and a part of a function that sends.
#[test]
fn where_messages_are_sent() {
    const WAKE: &str =
        "488b4710 6666662e0f1f840000000000 4889c1 4883c902 f0480fb14f10 75f1 4885c0 7401 c3
        488b0f 488b4708 48c70700000000 31d2 48875710 4885c9 74e6 4889c7 ff6108";
    const OTHER: &str =
        "488b4710 6666662e0f1f840000000000 4889c1 4883c902 f0480fb14f10 75f1 4885c0 7401 c3
        488b0f 488b4708 48c70700000000 f0836710fd 4885c9 74e6 4889c7 ff6108";
    const PART: &str = "498b8610010000 0f1f440000 4889c1 4883c902 f0490fb18e10010000 75ee 4885c0 752a
        498b8600010000 498bbe08010000 49c7860001000000000000 31c9 49878e10010000 4885c0 7403 ff5008 c3";
    let check = |code: &str, named: bool, expected: Option<(u64, Register, u32)>| {
        let whole = AT..AT + 0x100;
        let named = Vec::from_iter(named.then_some(whole));
        let found = on(code, &[], |image, pointers| {
            sites::sends(image, pointers, &named)
        });
        let found = found.ok().map(|sends| {
            let place = |it: &super::Sends| (it.site.offset - CODE_OFFSET, it.waker, it.offset);
            sends.iter().map(place).collect::<Vec<_>>()
        });
        assert_eq!(found, expected.map(|place| vec![place]), "{code}");
    };
    check(WAKE, true, Some((34, Register::Rdi, 0)));
    // Others have the like: nothing says whose it is.
    check(WAKE, false, None);
    check(OTHER, false, None);
    check(PART, false, Some((33, Register::R14, 0x100)));
    // `drop` of the waker's table.
    let drops = PART.replace("ff5008", "ff5018");
    check(&drops, false, None);
    // Not in a line of its own.
    let other = PART
        .replace("498e10", "498e30")
        .replace("8e10010000", "8e30010000");
    check(&other, false, None);
}

/// A function is Tokio's if it gets wakers that stand in lines of their own.
#[test]
fn whose_function_it_is() {
    const WAKE: &str =
        "488b4710 6666662e0f1f840000000000 4889c1 4883c902 f0480fb14f10 75f1 4885c0 7401 c3
        488b0f 488b4708 48c70700000000 31d2 48875710 4885c9 74e6 4889c7 ff6108";
    const CALL_BYTES: u32 = 13;
    const FRAMES: u64 = AT + 0x1_0000;
    let wake = bytes(WAKE);
    let length = u32::try_from(wake.len()).expect("short");
    let found = |offset: u32| {
        let (mut code, mut ranges) = (wake.clone(), vec![(AT, length)]);
        for caller in [length, length + CALL_BYTES] {
            // lea rdi, [rbx+..]; call; ret
            code.extend([0x48, 0x8d, 0xbb]);
            code.extend(offset.to_le_bytes());
            code.push(0xe8);
            code.extend(0_u32.wrapping_sub(caller + CALL_BYTES - 1).to_le_bytes());
            code.push(0xc3);
            ranges.push((AT + u64::from(caller), CALL_BYTES));
        }
        let frames = frames(FRAMES, &ranges);
        let segment = |kind, flags, address, bytes| Loaded {
            kind,
            flags,
            address,
            bytes,
        };
        let file = file_loaded(&[
            segment(PT_LOAD, PF_R | PF_X, AT, &code[..]),
            segment(PT_LOAD, PF_R, FRAMES, &frames[..]),
            segment(PT_GNU_EH_FRAME, PF_R, FRAMES, &frames[..]),
        ]);
        let image = Image::parse(&file).expect("a file as it should be");
        sites::sends(&image, &Pointers::of(&image, &[]), &[]).is_ok()
    };
    assert!(found(0x100));
    assert!(!found(0x30));
    assert!(!found(0));
}

#[test]
fn names_and_versions() {
    let check = |name: &str, expected| assert_eq!(is_wake(name.as_bytes()), expected, "{name}");
    check(
        "_ZN5tokio4sync4task12atomic_waker11AtomicWaker4wake17h0badfbf42e2f83b2E",
        true,
    );
    check(
        "_RNvMNtNtNtCs4YuWb_5tokio4sync4task12atomic_wakerNtB2_11AtomicWaker4wake",
        true,
    );
    check(
        "_ZN12futures_core4task10__internal12atomic_waker11AtomicWaker4wake17h0E",
        false,
    );
    check(
        "_ZN5tokio4sync4task12atomic_waker11AtomicWaker15register_by_ref17h0E",
        false,
    );
    assert!(
        is_at_least("1.30.0", 1, 30) && is_at_least("1.54.1", 1, 30) && is_at_least("2.0.0", 1, 30)
    );
    assert!(
        !is_at_least("1.29.1", 1, 30) && !is_at_least("0.2.25", 1, 30) && !is_at_least("x", 1, 30)
    );
}
