//! W3C Trace Context, level 1 and 2: `traceparent` and `tracestate`.

use std::fmt;

use bytes::Bytes;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// A valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    /// Bit 0: sampled. Of versions behind 00 no other bit is kept.
    pub flags: u8,
}

/// A `tracestate` fit to be passed on: empty members dropped, whole members dropped until it has
/// [`MAX_TRACE_STATE`] bytes, those longer than 128 bytes first, then from the end. `None` when
/// nothing is left or any member is invalid.
pub fn trace_state(value: &Bytes) -> Option<Bytes> {
    let mut members: Vec<&[u8]> = Vec::new();
    for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if member.is_empty() {
            continue;
        }
        let key = valid_key(member)?;
        let twice = members.iter().any(|other| valid_key(other) == Some(key));
        if twice || members.len() == MAX_MEMBERS {
            return None;
        }
        members.push(member);
    }
    let mut len = members
        .iter()
        .map(|member| member.len() + 1)
        .sum::<usize>()
        .checked_sub(1)?;
    while len > MAX_TRACE_STATE {
        let long = members
            .iter()
            .rposition(|member| member.len() > LONG_MEMBER);
        let dropped = members.remove(long.unwrap_or(members.len() - 1));
        len = len.saturating_sub(dropped.len() + 1);
    }
    if len == value.len() {
        return Some(value.clone());
    }
    (!members.is_empty()).then(|| members.join(&b',').into())
}

/// Longest `tracestate` that is passed on, bytes.
pub const MAX_TRACE_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;
const LONG_MEMBER: usize = 128;
/// Longest key, and longest value, of a member.
const MAX_PART: usize = 256;

// === impl TraceParent ===

/// ```text
/// 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
/// 0  3                                36               53
/// ```
const VERSION_00_LEN: usize = 55;

impl TraceParent {
    /// Parses a field value; `None` when the specification says to ignore it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(VERSION_00_LEN)?;
        let [version] = hex(&known[..2])?;
        let trace_id = TraceId(hex(&known[3..35])?);
        let parent_id = SpanId(hex(&known[36..52])?);
        let [flags] = hex(&known[53..])?;
        let flags = match (version, rest) {
            (0, []) => flags,
            (1..=0xfe, [] | [b'-', ..]) => flags & 1,
            _ => return None,
        };
        let dashes = [2, 35, 52].into_iter().all(|at| known[at] == b'-');
        (dashes && trace_id.0 != [0; 16] && parent_id.0 != [0; 8]).then_some(Self {
            trace_id,
            parent_id,
            flags,
        })
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

impl fmt::Display for TraceParent {
    /// As version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id, self.parent_id, self.flags
        )
    }
}

// === impl TraceId ===

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, &mut [0; 32], f)
    }
}

// === impl SpanId ===

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, &mut [0; 16], f)
    }
}

/// `digits`: room for two of each byte.
fn write_hex(bytes: &[u8], digits: &mut [u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    str::from_utf8(digits).map_or(Err(fmt::Error), |digits| f.write_str(digits))
}

/// Lower-case digits only, as the specification wants.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The key of a valid `tracestate` member.
fn valid_key(member: &[u8]) -> Option<&[u8]> {
    let equals = member.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let begins = key
        .first()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let key_fits = key
        .iter()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte));
    let value_fits = value
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'=');
    let long = key.len() > MAX_PART || value.len() > MAX_PART;
    (begins && key_fits && value_fits && !value.is_empty() && !long).then_some(key)
}

/// What is accepted is written as it came, and is accepted again.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_trace_context(input: &[u8]) {
    if let Some(parent) = TraceParent::parse(input) {
        let written = parent.to_string();
        assert_eq!(TraceParent::parse(written.as_bytes()), Some(parent));
        assert_eq!(written.as_bytes()[2..53], input[2..53]);
    }
    if let Some(state) = trace_state(&Bytes::copy_from_slice(input)) {
        assert!(!state.is_empty() && state.len() <= MAX_TRACE_STATE);
        assert_eq!(trace_state(&state), Some(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz() {
        crate::corpus::each_input("trace_context", fuzz_trace_context);
    }

    #[test]
    fn traceparent() {
        const IDS: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        check(&format!("00-{IDS}-01"), Some(1));
        check(&format!("00-{IDS}-00"), Some(0));
        check(&format!("00-{IDS}-03"), Some(3));
        check(&format!("00-{IDS}-ff"), Some(0xff));
        check(&format!("01-{IDS}-03"), Some(1));
        check(&format!("cc-{IDS}-01-what-the-future-holds"), Some(1));
        check(&format!("cc-{IDS}-01-"), Some(1));
        check(&format!("cc-{IDS}-01.what"), None);
        check(&format!("cc-{IDS}-010"), None);
        check(&format!("00-{IDS}-01-"), None);
        check(&format!("00-{IDS}-1"), None);
        check(&format!("00-{IDS}-0A"), None);
        check(&format!("ff-{IDS}-01"), None);
        check(&format!("FE-{IDS}-01"), None);
        check(&format!("00-{}-01", IDS.to_uppercase()), None);
        check(&format!("00-{IDS}-01,00-{IDS}-01"), None);
        check(&format!("cc-{IDS}-01,cc-{IDS}-01"), None);
        check(&format!(" 00-{IDS}-01"), None);
        check(&format!("00_{IDS}-01"), None);
        check(
            &format!("00-{IDS}-01").replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            None,
        );
        check(
            &format!("00-{IDS}-01").replace("b7ad6b7169203331", &"0".repeat(16)),
            None,
        );
        check(&format!("00-{IDS}-01").replace("af", "ag"), None);
        check("", None);
        fn check(value: &str, flags: Option<u8>) {
            let parsed = TraceParent::parse(value.as_bytes());
            assert_eq!(parsed.map(|parent| parent.flags), flags, "{value}");
            if let Some(parent) = parsed {
                assert_eq!(parent.to_string(), format!("00-{IDS}-{:02x}", parent.flags));
            }
            fuzz_trace_context(value.as_bytes());
        }
    }

    #[test]
    fn tracestate() {
        let long = |name: &str, len: usize| format!("{name}={}", "x".repeat(len - 2));
        check("a=1", Some("a=1"));
        check("a=1,b=2", Some("a=1,b=2"));
        check(" a=1 ,\t b=2 ,, ", Some("a=1,b=2"));
        check("0t@v/*_-=a b~!", Some("0t@v/*_-=a b~!"));
        check("", None);
        check(" , ,", None);
        check("a", None);
        check("a=", None);
        check("=1", None);
        check("A=1", None);
        check("a=1,a=2", None);
        check("a=1=2", None);
        check("a=\u{1}", None);
        check(&long("a", 259), None);
        let (a, b, c, d) = (
            long("a", 200),
            long("b", 120),
            long("c", 129),
            long("d", 100),
        );
        check(&format!("{a},{b},{c},{d}"), Some(&format!("{a},{b},{d}")));
        let [f, g, h, i] = ["f", "g", "h", "i"].map(|name| long(name, 128));
        check(&format!("{f},{g},{h},{i}"), Some(&format!("{f},{g},{h}")));
        let many = |count| {
            (0..count)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        check(&many(32), Some(&many(32)));
        check(&many(33), None);
        fn check(value: &str, expected: Option<&str>) {
            let state = trace_state(&Bytes::copy_from_slice(value.as_bytes()));
            assert_eq!(state.as_deref(), expected.map(str::as_bytes), "{value}");
            fuzz_trace_context(value.as_bytes());
        }
    }
}
