//! The module `_socket`, in a file of its own or in the interpreter's: the method `_accept` of its sockets.

use memchr::memmem;

use super::entry;
use crate::Site;
use crate::elf::Image;

pub(super) const INIT: &str = "PyInit__socket";
const NAME: &[u8] = b"\0_accept\0";
/// Of `PyMethodDef { ml_name, ml_meth, ml_flags, .. }`: `METH_NOARGS`.
const NO_ARGUMENTS: u32 = 4;
const POINTER: usize = 8;
/// Places at which the name stands.
const MAX_NAMES: usize = 4;

/// Where `_accept` begins.
pub(super) fn accepts(image: &Image<'_>) -> Option<Site> {
    let names: Vec<u64> = image
        .regions()
        .flat_map(|region| {
            let found = memmem::find_iter(region.bytes, NAME).take(MAX_NAMES);
            found.map(move |at| region.address + at as u64 + 1)
        })
        .take(MAX_NAMES)
        .collect();
    let relocated = image
        .relative()
        .filter(|it| names.contains(&it.value))
        .find_map(|it| method(image, it.at));
    relocated.or_else(|| stored(image, &names))
}

/// In a file that is loaded where it was linked for, the name's address stands in its data.
fn stored(image: &Image<'_>, names: &[u64]) -> Option<Site> {
    for name in names {
        let bytes = name.to_le_bytes();
        for region in image.regions() {
            let mut places = memmem::find_iter(region.bytes, &bytes);
            let aligned = |at: &usize| (region.address + *at as u64).is_multiple_of(POINTER as u64);
            let site = places
                .by_ref()
                .filter(aligned)
                .take(MAX_NAMES)
                .find_map(|at| method(image, region.address + at as u64));
            if site.is_some() {
                return site;
            }
        }
    }
    None
}

/// The function of the definition that begins here.
fn method(image: &Image<'_>, at: u64) -> Option<Site> {
    let flags = image.data(at + 2 * POINTER as u64)?.first_chunk::<4>()?;
    if u32::from_le_bytes(*flags) != NO_ARGUMENTS {
        return None;
    }
    entry(image, super::pointer(image, at + POINTER as u64)?)
}
