//! What a Go program says of its making: `.go.buildinfo`.

use crate::elf::Image;

pub(super) const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The text begins here since Go 1.18.
const INLINE: usize = 32;
const FLAG_BIG_ENDIAN: u8 = 1;
const FLAG_INLINE: u8 = 2;
const MAX_VERSION_BYTES: usize = 128;
const MAX_MODULE_BYTES: usize = 1024;
/// Around the text about modules stand 16 bytes of no meaning on each side.
const SENTINEL_BYTES: usize = 16;
/// More lines are dependencies.
const MAX_LINES: usize = 16;

/// A Go program's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Of the toolchain: `go1.22.5`.
    pub version: String,
    /// The main module's path, or the main package's where there is no module.
    pub module: Option<String>,
}

// === impl Program ===

impl Program {
    /// From the bytes at the magic:
    ///
    /// ```text
    ///  0           14    15     16             32
    ///  | magic     | ptr | flags | version *    |            flags & 2 == 0: pointers to strings
    ///  | magic     | ptr | flags | 0      | 24: modules *
    ///  | magic     | ptr | flags | 0            | length version length modules      flags & 2
    /// ```
    pub(super) fn parse(image: &Image<'_>, bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..INLINE)?;
        if !header.starts_with(MAGIC) {
            return None;
        }
        let (version, modules) = if header[15] & FLAG_INLINE != 0 {
            let (version, rest) = counted(&bytes[INLINE..])?;
            (version, counted(rest).map(|(modules, _)| modules))
        } else if header[14] == 8 && header[15] & FLAG_BIG_ENDIAN == 0 {
            (
                pointed(image, &header[16..])?,
                pointed(image, &header[24..]),
            )
        } else {
            return None;
        };
        let version = text(version, MAX_VERSION_BYTES)?;
        if !version.starts_with("go") && !version.starts_with("devel") {
            return None;
        }
        Some(Self {
            version: version.to_owned(),
            module: modules.and_then(module).map(str::to_owned),
        })
    }
}

fn module(modules: &[u8]) -> Option<&str> {
    let inner = modules.get(SENTINEL_BYTES..modules.len().checked_sub(SENTINEL_BYTES)?)?;
    let value = |key: &[u8]| {
        inner
            .split(|&byte| byte == b'\n')
            .take(MAX_LINES)
            .find_map(|line| line.strip_prefix(key)?.split(|&byte| byte == b'\t').next())
            .and_then(|value| text(value, MAX_MODULE_BYTES))
    };
    value(b"mod\t").or_else(|| value(b"path\t"))
}

fn text(bytes: &[u8], limit: usize) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.len() <= limit && !text.contains(char::is_control)).then_some(text)
}

/// A string behind its length, and what follows.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0;
    for (at, &byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(len);
        }
    }
    None
}

/// The string whose header (address, length) the first word points to.
fn pointed<'a>(image: &Image<'a>, bytes: &[u8]) -> Option<&'a [u8]> {
    let header = image.data(word(bytes)?)?;
    let len = usize::try_from(word(header.get(8..)?)?).ok()?;
    image.data(word(header)?)?.get(..len)
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::{INLINE, MAGIC, Program, counted};
    use crate::elf::Image;
    use crate::elf::tests::file_with;

    /// As written by Go 1.27.
    fn buildinfo(version: &str, modules: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, 2]);
        bytes.resize(INLINE, 0);
        bytes.push(version.len() as u8);
        bytes.extend(version.as_bytes());
        let len = modules.len() + 32;
        bytes.extend([len as u8 | 0x80, (len >> 7) as u8]);
        for part in [&[b'0'; 16], modules.as_bytes(), &[b'1'; 16]] {
            bytes.extend(part);
        }
        bytes
    }

    #[test]
    fn version_and_module() {
        #[rustfmt::skip]
        let cases = [
            ("go1.27.4", "path\texample.test/app/cmd\nmod\texample.test/app\t(devel)\t\nbuild\t-race=true\n",
                Some(("go1.27.4", Some("example.test/app")))),
            ("go1.22.5 X:boringcrypto", "path\tcommand-line-arguments\n",
                Some(("go1.22.5 X:boringcrypto", Some("command-line-arguments")))),
            ("devel go1.28-0123456789", "", Some(("devel go1.28-0123456789", None))),
            ("1.22", "", None),
            ("go\n", "", None),
        ];
        let file = file_with(0, b"");
        let image = Image::parse(&file).expect("an ELF file");
        for (version, modules, expected) in cases {
            let found = Program::parse(&image, &buildinfo(version, modules));
            let found = found
                .as_ref()
                .map(|it| (it.version.as_str(), it.module.as_deref()));
            assert_eq!(found, expected, "{version}");
        }
    }

    #[test]
    fn lengths() {
        let check = |bytes: &[u8], expected: Option<(&[u8], &[u8])>| {
            assert_eq!(counted(bytes), expected);
        };
        check(b"\x02abc", Some((b"ab", b"c")));
        check(b"\x00", Some((b"", b"")));
        check(b"\x05abc", None);
        check(b"\xff\xff\xff\xff\xff\xff", None);
        check(b"", None);
    }
}
