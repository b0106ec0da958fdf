//! A file's bytes without reading them all: here, because it takes `unsafe`.

use std::{fs::File, io};

use memmap2::Mmap;

/// Maps a file that some process executes code from.
///
/// # Errors
/// The file system does not allow it.
pub(crate) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: read-only. The kernel lets nobody write to a program that runs; who cuts off a shared
    // library in place kills every process that uses it, before weft.
    unsafe { Mmap::map(file) }
}
