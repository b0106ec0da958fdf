//! Values of gRPC's own fields.

use crate::trace_context::{SpanId, TraceId, TraceParent};

/// Nanoseconds of a `grpc-timeout`; saturates.
pub fn timeout_ns(value: &[u8]) -> Option<u64> {
    let (&unit, digits) = value.split_last()?;
    let unit_ns = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let count = digits.iter().try_fold(0_u64, |count, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(count * 10 + digit)
    })?;
    Some(count.saturating_mul(unit_ns))
}

/// The trace context of a `grpc-trace-bin` (OpenCensus, binary format): base64, with padding or
/// without, or a zero and the bytes themselves (between two gRPC C-cores) of
///
/// ```text
/// 00 | 00 trace id(16) | 01 parent id(8) | 02 flags(1)
/// ```
pub fn trace_parent(value: &[u8]) -> Option<TraceParent> {
    let binary: [u8; 29] = match value {
        [0, binary @ ..] => binary.try_into().ok()?,
        text => base64(text)?,
    };
    let [0, rest @ ..] = binary else { return None };
    let [0, rest @ ..] = rest else { return None };
    let (&trace_id, rest) = rest.split_first_chunk()?;
    let [1, rest @ ..] = rest else { return None };
    let (&parent_id, rest) = rest.split_first_chunk()?;
    let &[2, flags] = rest else { return None };
    (trace_id != [0; 16] && parent_id != [0; 8]).then_some(TraceParent {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        flags: flags & 1,
    })
}

/// Exactly `N` bytes.
fn base64<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let padding = (3 - N % 3) % 3;
    let padded = text.strip_suffix(&b"=="[..padding]);
    let digits = padded.filter(|_| padding > 0).unwrap_or(text);
    if digits.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let (mut bytes, mut at) = ([0; N], 0);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            *bytes.get_mut(at)? = (bits >> count) as u8;
            at += 1;
        }
    }
    Some(bytes)
}

/// What is accepted has the shape that its document says.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz_metadata(input: &[u8]) {
    if timeout_ns(input).is_some() {
        let (unit, digits) = input.split_last().expect("a unit");
        assert!(unit.is_ascii_alphabetic() && digits.iter().all(u8::is_ascii_digit));
    }
    if let Some(parent) = trace_parent(input) {
        let written = parent.to_string();
        assert_eq!(TraceParent::parse(written.as_bytes()), Some(parent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        check("1S", Some(1_000_000_000));
        check("100m", Some(100_000_000));
        check("20u", Some(20_000));
        check("7n", Some(7));
        check("2M", Some(120_000_000_000));
        check("1H", Some(3_600_000_000_000));
        check("0n", Some(0));
        check("99999999H", Some(u64::MAX));
        check("99999999n", Some(99_999_999));
        check("999999999n", None);
        check("S", None);
        check("1", None);
        check("1s", None);
        check("-1S", None);
        check("1 S", None);
        check("", None);
        fn check(value: &str, expected: Option<u64>) {
            assert_eq!(timeout_ns(value.as_bytes()), expected, "{value}");
            fuzz_metadata(value.as_bytes());
        }
    }

    #[test]
    fn trace_contexts() {
        const PARENT: &str = "00-404142434445464748494a4b4c4d4e4f-6162636465666768-01";
        check("AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE", Some(PARENT));
        check("AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE=", Some(PARENT));
        check("\0\0\0@ABCDEFGHIJKLMNO\x01abcdefgh\x02\x01", Some(PARENT));
        check("\0\0\0@ABCDEFGHIJKLMNO\x01abcdefgh\x02", None);
        check("AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE==", None);
        check("AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAg", None);
        check("BABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE", None);
        check("AABAQUJDREVGR0hJSktMTU5PAmFiY2RlZmdoAgE", None);
        check("AAAAAAAAAAAAAAAAAAAAAAAAAWFiY2RlZmdoAgE", None);
        check("", None);
        fn check(value: &str, expected: Option<&str>) {
            let parent = trace_parent(value.as_bytes()).map(|parent| parent.to_string());
            assert_eq!(parent.as_deref(), expected, "{value}");
            fuzz_metadata(value.as_bytes());
        }
    }
}
