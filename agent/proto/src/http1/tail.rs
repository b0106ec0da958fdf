use super::TAIL_BYTES;

/// The last bytes seen without a gap before the present position, within the present call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    bytes: [u8; TAIL_BYTES],
    /// Valid are the last so many of `bytes`.
    len: usize,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            *self = Self {
                bytes: *last,
                len: TAIL_BYTES,
            };
        } else {
            self.bytes.copy_within(bytes.len().., 0);
            self.bytes[TAIL_BYTES - bytes.len()..].copy_from_slice(bytes);
            self.len = TAIL_BYTES.min(self.len + bytes.len());
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// It is the last chunk, without trailers, at the beginning of a line.
    pub(super) fn ends_chunked(&self) -> bool {
        let seen = &self.bytes[TAIL_BYTES - self.len..];
        seen.strip_suffix(b"0\r\n\r\n")
            .is_some_and(|before| matches!(before, [] | [.., b'\n']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_chunk() {
        check(&["0\r\n\r\n"], true);
        check(&["x\r\n0\r\n\r\n"], true);
        check(&["a long piece\r\n", "0\r", "\n\r\n"], true);
        check(&["10\r\n\r\n"], false);
        check(&["0\r\n\r"], false);
        check(&["0\r\n\r\n", "x"], false);
        check(&[], false);
        fn check(pieces: &[&str], expected: bool) {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
            assert_eq!(tail.ends_chunked(), expected, "{pieces:?}");
        }
    }
}
