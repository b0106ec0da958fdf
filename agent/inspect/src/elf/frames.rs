//! Where functions begin and end, as the table for unwinding has it (`.eh_frame_hdr`, Linux Standard
//! Base): it stays in a stripped file.

use std::ops::Range;

use object::LittleEndian;
use object::elf::PT_GNU_EH_FRAME;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::Image;

const VERSION: u8 = 1;
/// How linkers write the number of entries, and the entries: four bytes, and four bytes relative to
/// the header.
const COUNT_ENCODING: u8 = 0x03;
const TABLE_ENCODING: u8 = 0x3b;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 8;

/// Sorted by the functions' addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames<'a> {
    header: u64,
    table: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(crate) fn read(image: &Image<'a>) -> Option<Self> {
        let headers = image
            .header
            .program_headers(LittleEndian, image.bytes())
            .ok()?;
        let segment = headers
            .iter()
            .find(|segment| segment.p_type(LittleEndian) == PT_GNU_EH_FRAME)?;
        let header = segment.p_vaddr(LittleEndian);
        let data = image.data(header)?;
        let (head, table) = data.split_at_checked(HEADER_BYTES)?;
        if head[0] != VERSION || head[2] != COUNT_ENCODING || head[3] != TABLE_ENCODING {
            return None;
        }
        let count = usize::try_from(u32::from_le_bytes(*head[8..].first_chunk()?)).ok()?;
        let table = table.get(..count.checked_mul(ENTRY_BYTES)?)?;
        Some(Self { header, table })
    }

    /// The function, or the part of one, that this address lies in.
    pub(crate) fn around(&self, image: &Image<'_>, address: u64) -> Option<Range<u64>> {
        let (mut low, mut high) = (0, self.table.len() / ENTRY_BYTES);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.0 <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (start, description) = self.entry(low.checked_sub(1)?)?;
        // Length, where its kind is described, the function's distance from here, its bytes.
        let data = image.data(description)?;
        let number = |at: usize| Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?));
        let distance = i64::from(number(8)?.cast_signed());
        let begins = description.checked_add(8)?.checked_add_signed(distance)?;
        let end = start.checked_add(u64::from(number(12)?))?;
        (begins == start && address < end).then_some(start..end)
    }

    fn entry(&self, index: usize) -> Option<(u64, u64)> {
        let bytes = self.table.get(index * ENTRY_BYTES..)?;
        let at = |bytes: &[u8]| {
            let distance = i32::from_le_bytes(*bytes.first_chunk()?);
            self.header.checked_add_signed(i64::from(distance))
        };
        Some((at(bytes)?, at(&bytes[4..])?))
    }
}
