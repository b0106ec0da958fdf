//! What the kernel does with a probed instruction: `arch/x86/kernel/uprobes.c`,
//! `branch_setup_xol_ops` and `push_setup_xol_ops`, since Linux 4.20.

use crate::Class;

/// The class of one instruction, given exactly its bytes.
///
/// Long `nop`s (`0f 1f`) are emulated since 6.18 only, so they do not count.
pub(crate) fn class(instruction: &[u8]) -> Class {
    match instruction {
        // `push`, also of `r8` to `r15`
        [0x50..=0x57] | [0x41, 0x50..=0x57] => Class::Emulated,
        // `nop`, also the two-byte one
        [0x90] | [0x66, 0x90] => Class::Emulated,
        // `jmp`, `jcc` and `call` by distance
        [0xeb | 0x70..=0x7f, _] => Class::Emulated,
        [0xe8 | 0xe9, _, _, _, _] => Class::Emulated,
        [0x0f, 0x80..=0x8f, _, _, _, _] => Class::Emulated,
        // The same behind a prefix for CET's sake
        [0xf2, 0xe8 | 0xe9, _, _, _, _] => Class::Emulated,
        _ => Class::Stepped,
    }
}

#[cfg(test)]
mod tests {
    use super::class;
    use crate::Class::{self, Emulated, Stepped};

    #[test]
    fn as_the_kernel_does() {
        #[rustfmt::skip]
        let cases: &[(&[u8], Class, &str)] = &[
            (&[0x55], Emulated, "push rbp"),
            (&[0x41, 0x57], Emulated, "push r15"),
            (&[0x40, 0x55], Stepped, "push rbp behind an idle prefix"),
            (&[0x90], Emulated, "nop"),
            (&[0x66, 0x90], Emulated, "xchg ax, ax"),
            (&[0x0f, 0x1f, 0x40, 0x00], Stepped, "nop dword [rax]"),
            (&[0xeb, 0x10], Emulated, "jmp short"),
            (&[0xe9, 0, 0, 0, 0], Emulated, "jmp near"),
            (&[0xe8, 0, 0, 0, 0], Emulated, "call"),
            (&[0xf2, 0xe9, 0, 0, 0, 0], Emulated, "bnd jmp"),
            (&[0x66, 0xe8, 0, 0], Stepped, "callw: the kernel refuses it"),
            (&[0x78, 0x2f], Emulated, "js short"),
            (&[0x0f, 0x85, 0, 0, 0, 0], Emulated, "jne near"),
            (&[0xe3, 0x10], Stepped, "jrcxz"),
            (&[0xff, 0xe0], Stepped, "jmp rax"),
            (&[0xf3, 0x0f, 0x1e, 0xfa], Stepped, "endbr64"),
            (&[0x48, 0x83, 0xec, 0x18], Stepped, "sub rsp, 24"),
            (&[0xc3], Stepped, "ret"),
            (&[0x6a, 0x01], Stepped, "push 1"),
        ];
        for (bytes, expected, text) in cases {
            assert_eq!(class(bytes), *expected, "{text}");
        }
    }
}
