//! What a client's hello says before TLS hides the rest: RFC 8446 §4.1.2, server name RFC 6066 §3, protocols RFC 7301 §3.1.
//!
//! ```text
//!  record     | 22 | version 2 | length 2 |
//!  handshake  |  1 | length 3 | version 2 | random 32 | session id <1> | cipher suites <2> | compression <1> | extensions <2> |
//!  extension  | type 2 | data <2> |                                        <n>: n bytes of length come before
//! ```

/// As far as the bytes reach: an extension that was cut off is not told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The host's name, ASCII, as the client wrote it.
    pub server_name: Option<&'a str>,
    /// It would speak HTTP/2.
    pub offers_http2: bool,
}

/// First bytes of a connection. `None`: they are no client's hello.
pub fn client_hello(first: &[u8]) -> Option<ClientHello<'_>> {
    let mut record = Reader(first);
    let ([22, 3, ..], record_bytes) = (record.take(3)?, record.length(2)?) else {
        return None;
    };
    // It may go on in a second record, whose header stands between: what follows is not looked at.
    let mut hello = Reader(record.0.get(..record_bytes).unwrap_or(record.0));
    let [CLIENT_HELLO] = hello.take(1)? else {
        return None;
    };
    hello.length(3)?;
    let _version_and_random = hello.take(2 + 32)?;
    let mut told = ClientHello::default();
    for length_bytes in [1, 2, 1] {
        if hello.field(length_bytes).is_none() {
            return Some(told);
        }
    }
    let _bytes_of_extensions = hello.length(2);
    for _ in 0..MAX_EXTENSIONS {
        let (Some(kind), Some(data)) = (hello.length(2), hello.field(2)) else {
            break;
        };
        match kind {
            SERVER_NAME => told.server_name = server_name(data),
            PROTOCOLS => told.offers_http2 = offers(data, b"h2"),
            _ => {}
        }
    }
    Some(told)
}

const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: usize = 0;
const PROTOCOLS: usize = 16;
const HOST_NAME: u8 = 0;
/// Browsers send about twenty.
const MAX_EXTENSIONS: usize = 64;
/// RFC 1035 §2.3.4.
const MAX_NAME_BYTES: usize = 253;

/// A list of names of which the first is the host's.
fn server_name(data: &[u8]) -> Option<&str> {
    let mut list = Reader(Reader(data).field(2)?);
    let [HOST_NAME] = list.take(1)? else {
        return None;
    };
    let name = list.field(2)?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let valid = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.iter().all(is_name);
    std::str::from_utf8(name).ok().filter(|_| valid)
}

fn offers(data: &[u8], protocol: &[u8]) -> bool {
    let mut list = Reader(Reader(data).field(2).unwrap_or_default());
    std::iter::from_fn(|| list.field(1)).any(|offered| offered == protocol)
}

/// Bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of one to three bytes.
    fn length(&mut self, bytes: usize) -> Option<usize> {
        let number = |number, byte: &u8| number << 8 | usize::from(*byte);
        Some(self.take(bytes)?.iter().fold(0, number))
    }

    /// What so many bytes of length come before.
    fn field(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let bytes = self.length(length_bytes)?;
        self.take(bytes)
    }
}

/// What is told of the beginning is told of more, too.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_client_hello(input: &[u8]) {
    let Some(whole) = client_hello(input) else {
        return;
    };
    for end in 0..input.len().min(600) {
        if let Some(part) = client_hello(&input[..end]) {
            let same = part.server_name.is_none() || part.server_name == whole.server_name;
            // A second extension of one kind is malformed, and wins.
            assert!(same || repeats(input), "{input:02x?} to {end}");
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
fn repeats(input: &[u8]) -> bool {
    let twice = |window: &&[u8]| window.starts_with(&[0, 0]);
    input.windows(2).filter(twice).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with these extensions.
    fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 1, 1]); // session id
        body.extend([0, 4, 0x13, 1, 0x13, 2]); // cipher suites
        body.extend([1, 0]); // compression
        let mut list = Vec::new();
        for (kind, data) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((data.len() as u16).to_be_bytes());
            list.extend(*data);
        }
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    const NAME: (u16, &[u8]) = (0, b"\0\x0e\0\0\x0bexample.org");
    const BOTH: (u16, &[u8]) = (16, b"\0\x0c\x02h2\x08http/1.1");
    const OLD: (u16, &[u8]) = (16, b"\0\x09\x08http/1.1");

    fn check(bytes: &[u8], expected: Option<(Option<&str>, bool)>) {
        let told = client_hello(bytes).map(|hello| (hello.server_name, hello.offers_http2));
        assert_eq!(told, expected, "{bytes:02x?}");
        fuzz_client_hello(bytes);
    }

    #[test]
    fn names_and_protocols() {
        let example = Some("example.org");
        check(&hello(&[]), Some((None, false)));
        check(&hello(&[NAME]), Some((example, false)));
        check(
            &hello(&[(11, b"\x01\0"), NAME, OLD]),
            Some((example, false)),
        );
        check(&hello(&[BOTH, (43, b"\x02\x03\x04")]), Some((None, true)));
        check(&hello(&[(0, b"\0\x07\0\0\x04a b\0")]), Some((None, false)));
        check(&hello(&[(0, b"\0\x07\x01\0\x04abcd")]), Some((None, false)));
        check(
            &hello(&[(0, b"\0\x40\0\0\x0bexample.org")]),
            Some((None, false)),
        );
    }

    #[test]
    fn cut_off_and_not_one() {
        let whole = hello(&[NAME, BOTH]);
        check(
            &whole[..whole.len() - 1],
            Some((Some("example.org"), false)),
        );
        check(&whole[..60], Some((None, false)));
        check(&whole[..40], None);
        check(&[], None);
        let mut server = whole.clone();
        server[5] = 2;
        check(&server, None);
        let mut data = whole;
        data[0] = 23;
        check(&data, None);
    }

    #[test]
    fn any_bytes() {
        let original = hello(&[(11, b"\x01\0"), NAME, BOTH]);
        let mut state = 1_u64;
        let mut roll = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..5_000 {
            let mut input = original.clone();
            for _ in 0..=roll(4) {
                let at = roll(input.len());
                input[at] = roll(256) as u8;
            }
            fuzz_client_hello(&input);
        }
    }
}
