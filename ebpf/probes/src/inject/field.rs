//! The text of a `traceparent` field.

use core::ptr;

use weft_abi::INJECTED_BYTES;

/// Writes the field, of [`INJECTED_BYTES`], where the message has room for it.
///
/// # Safety
/// The verifier must know that so many bytes stand there.
#[inline(always)]
pub(super) unsafe fn write(to: *mut u8, trace: &[u32; 4], span: &[u32; 2], flags: u32) {
    let mut text = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
    const _: () = assert!(INJECTED_BYTES == 70);
    let mut word = 0;
    while word < 4 {
        digits(&mut text, 16 + word * 8, trace[word]);
        word += 1;
    }
    digits(&mut text, 49, span[0]);
    digits(&mut text, 57, span[1]);
    text[67] = b'0' + flags as u8;
    // SAFETY: the caller's word.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), to, INJECTED_BYTES as usize) };
}

/// Eight hexadecimal digits.
#[inline(always)]
fn digits(text: &mut [u8; INJECTED_BYTES as usize], at: usize, word: u32) {
    let mut place = 0;
    while place < 8 {
        let nibble = (word >> (28 - 4 * place)) & 15;
        text[at + place] = (48 + nibble + ((nibble + 6) >> 4) * 39) as u8;
        place += 1;
    }
}
