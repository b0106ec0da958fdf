//! The static Huffman code (RFC 7541 §5.2 and appendix B).

use super::Error;

/// Appends what `coded` decodes to.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
    // The unread bits stand at the top.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = coded;
    loop {
        while count <= 56
            && let Some((&byte, after)) = rest.split_first()
        {
            bits |= u64::from(byte) << (56 - count);
            count += 8;
            rest = after;
        }
        let (symbol, len) = match SHORT[(bits >> 56) as usize] {
            (_, 0) => long(bits >> 32),
            (symbol, len) => (u16::from(symbol), u32::from(len)),
        };
        if len > count {
            // What is left is no whole code: up to seven bits of padding, all set.
            let padding = count < 8 && bits == !(u64::MAX >> count);
            return if padding { Ok(()) } else { Err(Error::Huffman) };
        }
        let Ok(symbol) = u8::try_from(symbol) else {
            return Err(Error::Huffman);
        };
        text.push(symbol);
        bits <<= len;
        count -= len;
        if count == 0 && rest.is_empty() {
            return Ok(());
        }
    }
}

/// A code longer than eight bits, at the top of the low 32 bits of `bits`.
fn long(bits: u64) -> (u16, u32) {
    for len in 9..=LONGEST {
        let code = (bits >> (32 - len)) as u32;
        let first = FIRST[len as usize];
        if let Some(at) = code.checked_sub(first.code)
            && at < u32::from(first.count)
        {
            return (SYMBOLS[usize::from(first.at) + at as usize], len);
        }
    }
    (END_OF_STRING, LONGEST)
}

/// Length in bits of the code of each byte, and of the end of string: the code is canonical, so
/// they determine it.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];
const LONGEST: u32 = 30;
/// Length of the shortest code, bits: a coded byte stands for no more than 8/5 bytes.
pub(super) const SHORTEST: usize = 5;
const END_OF_STRING: u16 = 256;

/// The codes of one length are consecutive, in the order of their symbols.
#[derive(Clone, Copy)]
struct Run {
    code: u32,
    count: u16,
    /// Where its symbols begin in [`SYMBOLS`].
    at: u16,
}

const fn runs() -> [Run; LONGEST as usize + 1] {
    let mut runs = [Run {
        code: 0,
        count: 0,
        at: 0,
    }; LONGEST as usize + 1];
    let mut symbol = 0;
    while symbol < LENGTHS.len() {
        runs[LENGTHS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let mut len = 1;
    while len < runs.len() {
        let before = runs[len - 1];
        runs[len].code = (before.code + before.count as u32) << 1;
        runs[len].at = before.at + before.count;
        len += 1;
    }
    runs
}

const fn symbols() -> [u16; LENGTHS.len()] {
    let mut symbols = [0; LENGTHS.len()];
    let (mut at, mut len) = (0, 1);
    while len <= LONGEST as usize {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                symbols[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    symbols
}

/// Symbol and length of the code at the top of a byte, length 0 where it is longer.
const fn short() -> [(u8, u8); 256] {
    let mut short = [(0, 0); 256];
    let mut len = 1;
    while len <= 8 {
        let run = FIRST[len];
        let mut at = 0;
        while at < run.count as usize {
            let code = (run.code as usize + at) << (8 - len);
            let mut tail = 0;
            while tail < 1 << (8 - len) {
                short[code + tail] = (SYMBOLS[run.at as usize + at] as u8, len as u8);
                tail += 1;
            }
            at += 1;
        }
        len += 1;
    }
    short
}

const FIRST: [Run; LONGEST as usize + 1] = runs();
const SYMBOLS: [u16; LENGTHS.len()] = symbols();
static SHORT: [(u8, u8); 256] = short();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        // RFC 7541 appendix C.4 and C.6.
        check("f1e3c2e5f23a6ba0ab90f4ff", Some("www.example.com"));
        check("a8eb10649cbf", Some("no-cache"));
        check("6402", Some("302"));
        check("aec3771a4b", Some("private"));
        check("", Some(""));
        check("1f", Some("a"));
        // Padding of eight bits, of zeros, and the end of string.
        check("1fff", None);
        check("18", None);
        check("ffffffff", None);
        check("ff", None);
        check("fffffff0", None);
        fn check(coded: &str, expected: Option<&str>) {
            let mut text = Vec::new();
            let result = decode(&crate::http2::tests::hex(coded), &mut text);
            let decoded = result.ok().map(|()| String::from_utf8(text).expect("text"));
            assert_eq!(decoded.as_deref(), expected, "{coded}");
        }
    }

    #[test]
    fn each_symbol() {
        for (symbol, &len) in LENGTHS.iter().enumerate().take(256) {
            let run = FIRST[usize::from(len)];
            let at = SYMBOLS[usize::from(run.at)..][..usize::from(run.count)]
                .iter()
                .position(|&other| usize::from(other) == symbol)
                .expect("a code");
            let code = run.code + at as u32;
            let bits = u64::from(code) << (64 - u32::from(len)) | u64::MAX >> len;
            let mut text = Vec::new();
            decode(
                &bits.to_be_bytes()[..usize::from(len).div_ceil(8)],
                &mut text,
            )
            .expect("a code");
            assert_eq!(text, [symbol as u8]);
        }
    }
}
