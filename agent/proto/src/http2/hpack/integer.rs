//! Integers with a prefix (RFC 7541 §5.1).

use super::Error;

/// Larger ones have no use: a frame has fewer bytes, and no table is as large.
const MAX: u32 = 1 << 30;
/// Bytes behind the first: the value fits into four, one more is given to lenience.
const MAX_MORE: usize = 6;

/// The integer in the low `prefix` bits of the first byte and in what follows, and its length in
/// bytes; `None`: it goes on.
pub(super) fn decode(input: &[u8], prefix: u32) -> Result<Option<(u32, usize)>, Error> {
    let Some((&first, more)) = input.split_first() else {
        return Ok(None);
    };
    let mask = 0xff_u8 >> (8 - prefix);
    if first & mask != mask {
        return Ok(Some((u32::from(first & mask), 1)));
    }
    let mut value = u64::from(mask);
    for (at, &byte) in more.iter().enumerate() {
        if at == MAX_MORE {
            return Err(Error::Integer);
        }
        value += u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return match u32::try_from(value) {
                Ok(value) if value <= MAX => Ok(Some((value, at + 2))),
                _ => Err(Error::Integer),
            };
        }
    }
    if more.len() > MAX_MORE {
        Err(Error::Integer)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        // RFC 7541 appendix C.1.
        check(&[0b0000_1010], 5, Ok(Some((10, 1))));
        check(
            &[0b1111_1111, 0b1001_1010, 0b0000_1010],
            5,
            Ok(Some((1337, 3))),
        );
        check(&[0b0010_1010], 8, Ok(Some((42, 1))));
        check(&[0x7f, 0], 7, Ok(Some((127, 2))));
        check(&[0x7f, 0x80, 0x80, 0], 7, Ok(Some((127, 4))));
        check(&[0x7f, 0x80], 7, Ok(None));
        check(&[0x7f], 7, Ok(None));
        check(&[], 7, Ok(None));
        check(
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f],
            7,
            Err(Error::Integer),
        );
        check(
            &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            7,
            Err(Error::Integer),
        );
        check(
            &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
            7,
            Err(Error::Integer),
        );
        #[track_caller]
        fn check(input: &[u8], prefix: u32, expected: Result<Option<(u32, usize)>, Error>) {
            assert_eq!(decode(input, prefix), expected, "{input:02x?}");
        }
    }
}
