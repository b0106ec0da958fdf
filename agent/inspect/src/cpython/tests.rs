//! Code as compilers have made it.

use iced_x86::Instruction;

use super::{context, greenlet, thread_key};
use crate::code::tests::{bytes, decoded};
use crate::elf::Image;
use crate::elf::tests::file_with;

const AT: u64 = 0x40_0000;
const RUNTIME: u64 = 0x80_0000;

fn code(hex: &str) -> Vec<Instruction> {
    decoded(hex, AT)
}

/// Of `PyContext_CopyCurrent`.
#[test]
fn offset_of_a_context() {
    #[rustfmt::skip]
    let cases = [
        // 3.9: mov r12, [rip+..]; push rbp; push rbx; mov rbx, [r12+238h]; mov rax, [rbx+f0h]; test rax, rax
        ("4c8b255f1b1a00 55 53 498b9c2438020000 488b83f0000000 4885c0 0f84b7000000", Some(0xf0)),
        // 3.12: mov r12, [rax]; mov rbx, rax; mov rax, [r12+d0h]; test rax, rax
        ("4c8b20 4889c3 498b8424d0000000 4885c0 0f84e5000000 488b6818", Some(0xd0)),
        // Something else is tested.
        ("498b8424d0000000 4885db 0f84e5000000 c3", None),
        // Not of the thread's state: too near.
        ("488b4018 4885c0 7410 c3", None),
        // In another function.
        ("c3 498b8424d0000000 4885c0", None),
        ("", None),
    ];
    for (hex, expected) in cases {
        assert_eq!(context(code(hex).into_iter()), expected, "{hex}");
    }
}

/// Of `PyGILState_GetThisThreadState`.
#[test]
fn key_of_the_threads_states() {
    #[rustfmt::skip]
    let cases = [
        // 3.11 in the program: cmp [rip+..], 0; je ..; mov edi, [rip+563d50h]; jmp pthread_getspecific
        ("48833d503d560000 0f8400000000 8b3d503d5600 e900000000", Some(AT + 20 + 0x56_3d50)),
        // 3.11 in a library: mov rax, [rip+..]; cmp [rax+248h], 0; je ..; lea rdi, [rax+250h]; jmp ..
        ("488b0509d81a00 4883b84802000000 740f 488db850020000 e900000000", Some(RUNTIME + 0x254)),
        // 3.13 in a library: mov rax, [rip+..]; push rbx; lea rbx, [rax+870h]; mov rdi, rbx
        ("488b05e96b2500 53 488d9870080000 4889df e800000000", Some(RUNTIME + 0x874)),
        // lea rdi, [rip+10h]
        ("488d3d10000000 e900000000", Some(AT + 7 + 0x10 + 4)),
        ("31c0 c3", None),
        // Of another structure.
        ("4889f8 488db850020000 e900000000 c3", None),
    ];
    for (hex, expected) in cases {
        let found = thread_key(code(hex).into_iter(), Some(RUNTIME));
        assert_eq!(found, expected, "{hex}");
    }
}

/// Of `green_new`: what is compared with 1, or set to 1.
#[test]
fn pointer_to_the_state_of_greenlets() {
    // lea rdi, [AT+100h]; call __tls_get_addr; cmp byte [rax], 0; je ..; mov rbp, [rax+8]; cmp rbp, 1
    const COMPARED: &str = "488d3df9000000 e800000000 803800 7400 488ba808000000 4883fd01";
    // lea rdi, [AT+100h]; call ..; cmp byte [rax], 0; je ..; mov byte [rax], 1; mov qword [rax+8], 1
    const SET: &str = "488d3df9000000 e800000000 803800 7400 c60001 48c7400801000000";
    const BYTES: usize = 0x100;
    // The dynamic linker's number of the module, then the variable's place if the code does not add it.
    let check = |hex: &str, place: u64, module: u64, expected: Option<u64>| {
        let mut file = bytes(hex);
        file.resize(BYTES, 0xcc);
        file.extend(0_u64.to_le_bytes());
        file.extend(place.to_le_bytes());
        let file = file_with(AT, &file);
        let image = Image::parse(&file).expect("a file as it should be");
        let found = greenlet::state(&image, code(hex).into_iter(), module);
        assert_eq!(found, expected, "{hex}");
    };
    for hex in [COMPARED, SET] {
        check(hex, 0, AT + 0x100, Some(8));
        check(hex, 0x20, AT + 0x100, Some(0x28));
        // Another module's.
        check(hex, 0, AT + 0x80, None);
    }
}
