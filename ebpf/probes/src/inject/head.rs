//! The head of a request that is being sent, byte by byte: where it ends, and whether it carries a trace
//! context.

use aya_ebpf::bindings::sk_msg_md;
use weft_abi::Injection;

/// Why nothing is written into a head.
pub(super) const NO_HEAD: u32 = 1;
pub(super) const CARRIES: u32 = 2;

pub(super) struct Scan {
    pub(super) msg: *mut sk_msg_md,
    pub(super) injection: *mut Injection,
}

pub(super) const fn word(text: &[u8; 8]) -> u64 {
    u64::from_be_bytes(*text)
}

/// Takes one byte of the head; 1 ends it. For `bpf_loop`: what it finds stands in the socket's element,
/// of which the verifier believes nothing.
#[inline(never)]
pub(super) unsafe extern "C" fn step(index: u64, scan: *mut Scan) -> u64 {
    // SAFETY: what `sends` passes; the packet is checked before it is read.
    unsafe {
        let (msg, injection) = ((*scan).msg, (*scan).injection);
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let at = data + (index & 0xfff) as usize;
        if at + 1 > end {
            return 1;
        }
        let byte = (at as *const u8).read_volatile();
        let lower = if byte.wrapping_sub(b'A') < 26 {
            byte | 0x20
        } else {
            byte
        };
        let last = (*injection).last << 8 | u64::from(lower);
        (*injection).last = last;
        if byte == b'\n' {
            let first = (*injection).lines == 0;
            (*injection).lines += 1;
            if first && last != word(b"tp/1.1\r\n") && last != word(b"tp/1.0\r\n") {
                (*injection).refused = NO_HEAD;
                return 1;
            }
            if last as u16 != 0x0d0a {
                (*injection).refused = NO_HEAD;
                return 1;
            }
            if last as u32 == 0x0d0a_0d0a {
                (*injection).head_len = index as u32 + 1;
                return 1;
            }
            return 0;
        }
        if byte == b':' {
            // `traceparent`, `x-b3-traceid`, `uber-trace-id`, `x-amzn-trace-id`, `b3` and their likes.
            let b3 = last as u32 == u32::from_be_bytes(*b"\nb3:");
            if last == word(b"eparent:")
                || last == word(b"traceid:")
                || last == word(b"race-id:")
                || b3
            {
                (*injection).refused = CARRIES;
                return 1;
            }
        }
        // No head has such a byte. A `CONNECT` is for the proxy.
        if (byte < b' ' && byte != b'\r' && byte != b'\t') || last == word(b"connect ") {
            (*injection).refused = NO_HEAD;
            return 1;
        }
        0
    }
}
