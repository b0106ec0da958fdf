//! An ELF file as the finders see it: addresses, code, symbols. Nothing is copied, and a page that
//! is not asked for is not touched.

mod frames;
mod plt;
mod regions;
mod symbols;
#[cfg(test)]
pub(crate) mod tests;

use object::LittleEndian;
use object::elf::{EM_X86_64, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionTable};

pub(crate) use frames::Frames;
pub(crate) use plt::Stubs;
pub(crate) use regions::Region;
pub(crate) use symbols::{Symbol, Symbols, name_at};

pub(crate) type Header = FileHeader64<LittleEndian>;

/// More program headers than any linker writes: the rest is not read.
const MAX_SEGMENTS: usize = 256;
const MAX_BUILD_ID_BYTES: usize = 64;
/// Of one segment.
const MAX_NOTES: usize = 64;

/// Why a file is not looked into. The file is at fault, or it is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not an ELF file")]
    NotElf,
    #[error("an ELF file, but not for little-endian x86-64")]
    Machine,
    #[error("a malformed ELF file: {0}")]
    Malformed(&'static str),
}

#[derive(Debug)]
pub(crate) struct Image<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    segments: Vec<Segment>,
    build_id: &'a [u8],
}

/// What a `PT_LOAD` header puts into memory from the file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    bytes: u64,
    executable: bool,
}

// === impl Image ===

impl<'a> Image<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        const MAGIC: &[u8] = b"\x7fELF";
        const CLASS_64_LITTLE: &[u8] = &[2, 1];
        if !bytes.starts_with(MAGIC) {
            return Err(Error::NotElf);
        }
        if bytes.get(4..6) != Some(CLASS_64_LITTLE) {
            return Err(Error::Machine);
        }
        let header = Header::parse(bytes).map_err(|_| Error::Malformed("its header"))?;
        if header.e_machine.get(LittleEndian) != EM_X86_64 {
            return Err(Error::Machine);
        }
        let headers = header
            .program_headers(LittleEndian, bytes)
            .map_err(|_| Error::Malformed("its program headers"))?;
        let mut image = Self {
            bytes,
            header,
            segments: Vec::new(),
            build_id: &[],
        };
        for segment in headers.iter().take(MAX_SEGMENTS) {
            match segment.p_type(LittleEndian) {
                PT_LOAD => image.segments.extend(Segment::new(segment, bytes.len())),
                PT_NOTE => image.read_build_id(segment),
                _ => {}
            }
        }
        Ok(image)
    }

    fn read_build_id(&mut self, segment: &object::elf::ProgramHeader64<LittleEndian>) {
        let Ok(Some(mut notes)) = segment.notes(LittleEndian, self.bytes) else {
            return;
        };
        for _ in 0..MAX_NOTES {
            let Ok(Some(note)) = notes.next() else {
                return;
            };
            let id = note.desc();
            if note.name() == b"GNU"
                && note.n_type(LittleEndian) == NT_GNU_BUILD_ID
                && id.len() <= MAX_BUILD_ID_BYTES
            {
                self.build_id = id;
                return;
            }
        }
    }

    pub(crate) fn build_id(&self) -> &'a [u8] {
        self.build_id
    }

    pub(crate) fn build_id_text(&self) -> String {
        let bytes = self.build_id.iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where in the file stands what is at this address.
    pub(crate) fn offset(&self, address: u64) -> Option<u64> {
        let (segment, inside) = self.segment(address)?;
        Some(segment.offset + inside)
    }

    /// What stands at this address, to the end of its segment.
    pub(crate) fn data(&self, address: u64) -> Option<&'a [u8]> {
        let (segment, inside) = self.segment(address)?;
        self.slice(segment.offset + inside, segment.bytes - inside)
    }

    /// The same, if it may be executed.
    pub(crate) fn code(&self, address: u64) -> Option<&'a [u8]> {
        let (segment, _) = self.segment(address)?;
        segment.executable.then(|| self.data(address))?
    }

    /// The string at this address, if a terminator follows within `limit` bytes.
    pub(crate) fn string(&self, address: u64, limit: usize) -> Option<&'a str> {
        let data = self.data(address)?;
        let data = data.get(..limit).unwrap_or(data);
        let end = memchr::memchr(0, data)?;
        std::str::from_utf8(&data[..end]).ok()
    }

    pub(crate) fn sections(&self) -> Option<SectionTable<'a, Header>> {
        self.header.sections(LittleEndian, self.bytes).ok()
    }

    fn segment(&self, address: u64) -> Option<(&Segment, u64)> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.bytes).then_some((segment, inside))
        })
    }

    fn slice(&self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(start..end)
    }
}

// === impl Segment ===

impl Segment {
    /// `None` when nothing of it stands in the file.
    fn new(header: &object::elf::ProgramHeader64<LittleEndian>, file_bytes: usize) -> Option<Self> {
        let offset = header.p_offset(LittleEndian);
        let in_file = (file_bytes as u64).checked_sub(offset)?;
        let bytes = header.p_filesz(LittleEndian).min(in_file);
        header.p_vaddr(LittleEndian).checked_add(bytes)?;
        (bytes > 0).then_some(Self {
            address: header.p_vaddr(LittleEndian),
            offset,
            bytes,
            executable: header.p_flags(LittleEndian) & PF_X != 0,
        })
    }
}
