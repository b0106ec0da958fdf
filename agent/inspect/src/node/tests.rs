//! Code as compilers have made it.

use iced_x86::{Instruction, Register as Name};

use super::{function_context, hooks, ids, pair, reads_generator, undefined};
use crate::code::tests::decoded;

const AT: u64 = 0x40_0000;

fn code(hex: &str) -> Vec<Instruction> {
    decoded(hex, AT)
}

/// Of `InternalCallbackScope`: what the call of `push_async_context`, at `AT + 200h`, gets.
#[test]
fn offset_of_the_hooks() {
    #[rustfmt::skip]
    let cases = [
        // lea rdi, [r12+3e8h]; call AT+200h
        ("498dbc24e8030000 e8f3010000", Some(0x3e8)),
        // lea rdi, [rbp-70h]; call AT+100h; lea rdi, [r12+370h]; call AT+200h
        ("488d7d90 e8f7000000 498dbc2470030000 e8ea010000", Some(0x370)),
        // Of another function.
        ("498dbc24e8030000 e8f3000000", None),
        // Not a field.
        ("488d7d90 e8f7010000", None),
        ("", None),
    ];
    for (hex, expected) in cases {
        let found = hooks(code(hex).into_iter(), |target| target == AT + 0x200);
        assert_eq!(found, expected, "{hex}");
    }
}

/// Of `push_async_context`.
#[test]
fn pointer_to_the_ids() {
    #[rustfmt::skip]
    let cases = [
        // 20: mov rbx, rdi; mov rcx, [rbx+98h]; movsd xmm2, [rcx]; movsd xmm2, [rcx+8]
        ("4889fb 488b8b98000000 f20f1011 f20f105108", Some(0x98)),
        // 22: mov r13, rdi; mov rcx, [r13+98h]; movsd xmm2, [rcx]; mov rcx, [r13+28h]; mov rcx, [r13+98h]; movsd xmm2, [rcx+8]
        ("4989fd 498b8d98000000 f20f1011 498b4d28 498b8d98000000 f20f105108", Some(0x98)),
        // Only one of the two.
        ("4889fb 488b8b98000000 f20f1011 c3", None),
        // Of something else.
        ("488b8b98000000 f20f1011 f20f105108", None),
    ];
    for (hex, expected) in cases {
        assert_eq!(ids(code(hex).into_iter()), expected, "{hex}");
    }
}

/// Of `InternalCallbackScope` with an `AsyncWrap`.
#[test]
fn ids_of_a_wrap() {
    #[rustfmt::skip]
    let cases = [
        // movsd xmm2, [rsi+28h]; movsd xmm1, [rsi+30h]
        ("f20f105628 f20f104e30", Some(0x28)),
        // mov rbx, rsi; movupd xmm0, [rbx+38h]
        ("4889f3 660f104338", Some(0x38)),
        // mov r14, rsi; movsd xmm2, [r14+38h]; mov rax, [r14+8]; movsd xmm1, [r14+40h]
        ("4989f6 f2410f105638 498b4608 f2410f104e40", Some(0x38)),
        // Not side by side.
        ("f20f105628 f20f104e40", None),
    ];
    for (hex, expected) in cases {
        assert_eq!(pair(code(hex).into_iter(), Name::RSI), expected, "{hex}");
    }
}

/// Of builtins of V8.
#[test]
fn what_builtins_tell() {
    // push rbp; mov rbp, rsp; cmp [r13+190h], rbx; je ..
    let job = "55 4889e5 49399d90010000 7400";
    assert_eq!(undefined(code(job).into_iter()), Some(0x190));
    // cmp [r13+190h], rcx
    let other = "55 4889e5 49398d90010000 7400";
    assert_eq!(undefined(code(other).into_iter()), None);
    // mov rdx, [rdi+1fh]; mov rsi, [rdi+27h]
    let call = "488b571f 488b7727";
    assert_eq!(function_context(code(call).into_iter()), Some(0x27));
    // mov rdx, [rsi+1fh]
    assert!(reads_generator(code("55 488b561f").into_iter()));
    // mov rdx, [rsi+27h]; behind a call
    assert!(!reads_generator(code("55 488b5627").into_iter()));
    assert!(!reads_generator(code("e800000000 488b561f").into_iter()));
}
