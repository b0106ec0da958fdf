//! The runtime's table of functions: `.gopclntab`.

use memchr::memmem;

/// Everything but the first byte, which tells the version, for x86-64: instructions are counted in
/// bytes, pointers have eight.
pub(super) const MAGIC_TAIL: &[u8] = b"\xff\xff\xff\0\0\x01\x08";
/// Names of functions are shorter, even those of generics.
const MAX_NAME_BYTES: usize = 4096;

/// ```text
/// header    magic, sizes of what follows, offsets
/// names     name\0 name\0 ..
/// ..        files and lines
/// functions (pc, offset), (pc, offset), .. (pc of the end)
/// ..        offset: pc, offset of the name, ..
/// ```
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) address: u64,
    /// Of the code, which `pc` counts from. Absent since Go 1.26, and where it is left to be
    /// relocated.
    pub(super) text: Option<u64>,
    layout: Layout,
    names: &'a [u8],
    entries: &'a [u8],
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Go 1.16 and 1.17: `pc` and offset are words.
    Words,
    /// Since Go 1.18: they are half as long, and count from the code's start.
    Offsets,
}

/// Code of one function; without the code's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

// === impl Table ===

impl<'a> Table<'a> {
    /// From the bytes at the magic, up to the section's or the segment's end.
    pub(super) fn parse(bytes: &'a [u8], address: u64) -> Option<Self> {
        let (layout, skip) = match *bytes.first()? {
            0xfa => (Layout::Words, 2),
            // 1.18 and 1.19, and since 1.20
            0xf0 | 0xf1 => (Layout::Offsets, 3),
            _ => return None,
        };
        if !bytes[1..].starts_with(MAGIC_TAIL) {
            return None;
        }
        let field = |index: usize| {
            let at = 8 + 8 * index;
            Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
        };
        let offset = |index: usize| usize::try_from(field(skip + index)?).ok();
        let count = usize::try_from(field(0)?).ok()?;
        let [names, units, files, lines, functions] =
            [offset(0)?, offset(1)?, offset(2)?, offset(3)?, offset(4)?];
        if ![names, units, files, lines, functions].is_sorted() {
            return None;
        }
        let table = Self {
            address,
            text: field(2).filter(|&text| layout == Layout::Offsets && text != 0),
            layout,
            names: bytes.get(names..units)?,
            entries: bytes.get(functions..)?,
            count,
        };
        let (first, last) = (table.pc(0)?, table.pc(count)?);
        (count > 0 && first < last).then_some(table)
    }

    /// What `pc` counts from is 0.
    pub(super) fn is_absolute(&self) -> bool {
        self.layout == Layout::Words
    }

    /// The first function's start and the last one's end.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        Some((self.pc(0)?, self.pc(self.count)?))
    }

    /// Where these functions stand. Their names are sought first, so that then numbers are compared
    /// and no further page of names is read.
    pub(super) fn functions<const N: usize>(&self, names: [&str; N]) -> [Option<Range>; N] {
        let wanted = names.map(|name| self.name_offset(name));
        let mut found = [None; N];
        if wanted.iter().all(Option::is_none) {
            return found;
        }
        for index in 0..self.count {
            let Some(name) = self.name_of(index) else {
                continue;
            };
            for (wanted, found) in wanted.iter().zip(&mut found) {
                if *wanted == Some(name) && found.is_none() {
                    *found = self.range(index);
                }
            }
            if wanted
                .iter()
                .zip(&found)
                .all(|(wanted, found)| wanted.is_some() == found.is_some())
            {
                break;
            }
        }
        found
    }

    /// Name of the function that begins exactly there.
    pub(super) fn name(&self, pc: u64) -> Option<&'a [u8]> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.pc(middle)?.cmp(&pc) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let name = self.names.get(self.name_of(middle)? as usize..)?;
                    let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
                    return Some(&name[..memchr::memchr(0, name)?]);
                }
            }
        }
        None
    }

    fn name_offset(&self, name: &str) -> Option<u32> {
        let whole = [b"\0", name.as_bytes(), b"\0"].concat();
        if self.names.starts_with(&whole[1..]) {
            return Some(0);
        }
        let before = memmem::find(self.names, &whole)?;
        u32::try_from(before + 1).ok()
    }

    fn range(&self, index: usize) -> Option<Range> {
        let start = self.pc(index)?;
        Some(Range {
            start,
            bytes: self.pc(index + 1)?.checked_sub(start)?,
        })
    }

    fn pc(&self, index: usize) -> Option<u64> {
        match self.layout {
            Layout::Words => word(self.entries, index.checked_mul(16)?),
            Layout::Offsets => half(self.entries, index.checked_mul(8)?).map(u64::from),
        }
    }

    /// As an offset.
    fn name_of(&self, index: usize) -> Option<u32> {
        match self.layout {
            Layout::Words => {
                let at = usize::try_from(word(self.entries, index * 16 + 8)?).ok()?;
                half(self.entries, at.checked_add(8)?)
            }
            Layout::Offsets => {
                let at = half(self.entries, index * 8 + 4)? as usize;
                half(self.entries, at.checked_add(4)?)
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{MAGIC_TAIL, Range, Table};

    /// Whose linker writes it so.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::go) enum Form {
        Go116,
        Go118,
        Go120,
        /// It no longer says where the code begins.
        Go126,
    }

    /// A table, and the part of the program's description that goes with it. The last function
    /// stands for the end.
    pub(in crate::go) fn table(
        form: Form,
        address: u64,
        mut functions: Vec<(u64, &str)>,
    ) -> (Vec<u8>, Vec<u64>) {
        functions.sort_unstable();
        let (text, wide) = (functions[0].0, form == Form::Go116);
        let base = if wide { 0 } else { text };
        let number = |value: u64| match wide {
            true => value.to_le_bytes().to_vec(),
            false => (value as u32).to_le_bytes().to_vec(),
        };
        let count = functions.len() - 1;
        let size = if wide { 8 } else { 4 };
        let entries = (2 * count + 1) * size;
        let (mut names, mut pairs, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (pc, name) in &functions[..count] {
            pairs.extend(number(pc - base));
            pairs.extend(number((entries + bodies.len()) as u64));
            bodies.extend(number(pc - base));
            bodies.extend((names.len() as u32).to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        let last = functions[count].0;
        pairs.extend(number(last - base));

        let mut header = match form {
            Form::Go116 => vec![0xfa],
            Form::Go118 => vec![0xf0],
            Form::Go120 | Form::Go126 => vec![0xf1],
        };
        header.extend(MAGIC_TAIL);
        let mut fields = vec![count as u64, 0];
        match form {
            Form::Go116 => {}
            Form::Go118 | Form::Go120 => fields.push(text),
            Form::Go126 => fields.push(0),
        }
        let start = (8 + 8 * (fields.len() + 5)) as u64;
        let end = start + names.len() as u64;
        fields.extend([start, end, end, end, end]);
        header.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        let module = vec![address, 0, functions[0].0, last, text, last];
        ([header, names, pairs, bodies].concat(), module)
    }

    fn functions() -> Vec<(u64, &'static str)> {
        vec![
            (0x401000, "a"),
            (0x401040, "b.a"),
            (0x401060, "b"),
            (0x4010a0, "end"),
        ]
    }

    #[test]
    fn names_and_ranges() {
        for form in [Form::Go116, Form::Go118, Form::Go120, Form::Go126] {
            let (bytes, _) = table(form, 0, functions());
            let table = Table::parse(&bytes, 0).expect("a table");
            let base = if table.is_absolute() { 0 } else { 0x401000 };
            let [a, b, end] = table.functions(["a", "b", "end"]);
            let range = |start: u64, bytes| {
                Some(Range {
                    start: start - base,
                    bytes,
                })
            };
            assert_eq!(a, range(0x401000, 0x40), "{form:?}");
            assert_eq!(b, range(0x401060, 0x40), "{form:?}");
            assert_eq!(end, None);
            assert_eq!(table.name(0x401040 - base), Some(&b"b.a"[..]));
            assert_eq!(table.name(0x401041 - base), None);
        }
    }

    #[test]
    fn broken_tables() {
        for form in [Form::Go116, Form::Go118] {
            let (bytes, _) = table(form, 0, functions());
            for len in 0..bytes.len() {
                if let Some(table) = Table::parse(&bytes[..len], 0) {
                    table.functions(["a", "b", "c"]);
                }
            }
            let check = |at: usize, value: u64| {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                Table::parse(&bytes, 0).map(|table| table.functions(["a", "b"]))
            };
            assert_eq!(check(8, 0), None, "no function");
            assert_eq!(check(8, u64::MAX), None);
            assert_eq!(check(8, 1 << 60), None);
            assert_eq!(check(40, u64::MAX), None, "an offset");
        }
    }
}
