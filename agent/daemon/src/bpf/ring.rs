//! The ring buffer's reading end (`kernel/bpf/ringbuf.c`).
//!
//! ```text
//!   page 0            page 1            then
//!  │ consumer's place │ producer's place │ records │ the same once more │
//!    ours to write
//! ```
//! aya's own tells the kernel of each record that is read. The kernel looks there for each that it writes, and the
//! line goes to and fro between the cores: here it is told once for many.

use std::{
    arch::x86_64::{_MM_HINT_T0, _mm_prefetch},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd},
    slice,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence},
    time::Duration,
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct Ring {
    map: MapData,
    reader: Reader,
}

struct Reader {
    consumer: MmapRaw,
    /// The producer's place, and behind it the records.
    producer: MmapRaw,
    /// Of the ring; a power of two.
    bytes: usize,
    page: usize,
    /// Bytes read, ever.
    read: usize,
    /// Of them, what the kernel was told.
    told: usize,
    /// Bytes written, ever, when that was looked at last.
    written: usize,
}

const HEADER_BYTES: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// The kernel is told of so many bytes at the latest: until then they are no room for others.
const TELL_BYTES: usize = 64 << 10;
/// A record's header and what most have for a payload.
const FETCHED_LINES: usize = 6;
const LINE_BYTES: usize = 64;

/// What stands where the next record begins.
enum Next {
    Record {
        bytes: usize,
        discarded: bool,
    },
    /// It is being written.
    Busy,
    Nothing,
}

// === impl Ring ===

impl Ring {
    pub(super) fn new(map: MapData) -> io::Result<Self> {
        let bytes = map.info().map_err(io::Error::other)?.max_entries() as usize;
        let reader = Reader::new(map.fd().as_fd().as_raw_fd(), bytes)?;
        Ok(Self { map, reader })
    }

    /// Waits until the kernel wakes us, `bell` is readable or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let watched = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let records = self.map.fd().as_fd();
        let mut fds = [watched(records), watched(bell.unwrap_or(records))];
        let fds = &mut fds[..1 + usize::from(bell.is_some())];
        match poll(fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands over at most `limit` records in the order the kernel wrote them; gives their number.
    pub(crate) fn drain(&mut self, limit: usize, on_record: impl FnMut(&[u8])) -> usize {
        self.reader.drain(limit, on_record)
    }
}

// === impl Reader ===

impl Reader {
    fn new(descriptor: RawFd, bytes: usize) -> io::Result<Self> {
        let page = procfs::page_size() as usize;
        let consumer = MmapOptions::new().len(page).map_raw(descriptor)?;
        let producer = MmapOptions::new()
            .offset(page as u64)
            .len(page + 2 * bytes)
            .map_raw_read_only(descriptor)?;
        let mut reader = Self {
            consumer,
            producer,
            bytes,
            page,
            read: 0,
            told: 0,
            written: 0,
        };
        reader.read = reader.consumer_place().load(Ordering::Acquire);
        (reader.told, reader.written) = (reader.read, reader.read);
        Ok(reader)
    }

    fn drain(&mut self, limit: usize, mut on_record: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < limit {
            match self.next() {
                Next::Record { bytes, discarded } => {
                    self.fetch(stride(bytes));
                    if !discarded {
                        on_record(self.payload(bytes));
                        taken += 1;
                    }
                    self.read = self.read.wrapping_add(stride(bytes));
                    if self.read.wrapping_sub(self.told) >= TELL_BYTES {
                        self.tell();
                    }
                }
                // Who writes the next record wakes us only where it sees that this one was read: told before the
                // last look.
                Next::Busy | Next::Nothing if self.told != self.read => {
                    self.tell();
                    fence(Ordering::SeqCst);
                }
                Next::Busy | Next::Nothing => break,
            }
        }
        self.tell();
        taken
    }

    fn next(&mut self) -> Next {
        if self.read == self.written {
            self.written = self.producer_place().load(Ordering::Acquire);
        }
        if self.read == self.written {
            return Next::Nothing;
        }
        // The kernel commits a record by this word.
        let header = self.header().load(Ordering::Acquire);
        if header & BUSY != 0 {
            return Next::Busy;
        }
        Next::Record {
            bytes: (header & !DISCARDED) as usize,
            discarded: header & DISCARDED != 0,
        }
    }

    fn tell(&mut self) {
        if self.told != self.read {
            self.told = self.read;
            self.consumer_place().store(self.read, Ordering::Release);
        }
    }

    /// Has the record that begins `ahead` bytes behind the one in hand brought near: another core has written it.
    fn fetch(&self, ahead: usize) {
        let next = self.at(self.read.wrapping_add(ahead));
        for line in 0..FETCHED_LINES {
            let address = next.wrapping_add(line * LINE_BYTES);
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
        }
    }

    fn consumer_place(&self) -> &AtomicUsize {
        // SAFETY: a page of its own, aligned; nobody else in this process has it.
        unsafe { &*self.consumer.as_ptr().cast::<AtomicUsize>() }
    }

    fn producer_place(&self) -> &AtomicUsize {
        // SAFETY: the first word of the mapping; the kernel writes it whole.
        unsafe { &*self.producer.as_ptr().cast::<AtomicUsize>() }
    }

    /// Where the byte of that number stands.
    fn at(&self, byte: usize) -> *const u8 {
        let offset = self.page + (byte & (self.bytes - 1));
        self.producer.as_ptr().wrapping_add(offset)
    }

    fn header(&self) -> &AtomicU32 {
        // SAFETY: records are aligned to eight bytes, and the place is one below the ring's size.
        unsafe { &*self.at(self.read).cast::<AtomicU32>() }
    }

    fn payload(&self, bytes: usize) -> &[u8] {
        let bytes = bytes.min(self.bytes - HEADER_BYTES);
        let begin = self.at(self.read).wrapping_add(HEADER_BYTES);
        // SAFETY: committed, not told as read yet, and within the mapping, which has all records twice.
        unsafe { slice::from_raw_parts(begin, bytes) }
    }
}

/// What a record of so many bytes takes.
fn stride(bytes: usize) -> usize {
    (HEADER_BYTES + bytes).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt as _};

    use super::*;

    const BYTES: usize = 4096;

    /// A file that looks like a ring, but for records that go over its end.
    struct Kernel {
        file: File,
        written: usize,
    }

    impl Kernel {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("weft-ring-{name}-{}", std::process::id()));
            let file = File::options()
                .create_new(true)
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            std::fs::remove_file(path).unwrap();
            file.set_len((2 * procfs::page_size() as usize + 2 * BYTES) as u64)
                .unwrap();
            Self { file, written: 0 }
        }

        fn put(&self, at: usize, bytes: &[u8]) {
            self.file.write_all_at(bytes, at as u64).unwrap();
        }

        fn header(&self, at: usize, word: u32) {
            let records = 2 * procfs::page_size() as usize;
            self.put(records + at % BYTES, &word.to_ne_bytes());
        }

        /// A record of `len` bytes, all `fill`; gives where it begins.
        fn write(&mut self, fill: u8, len: usize, flags: u32) -> usize {
            let at = self.written;
            let records = 2 * procfs::page_size() as usize;
            self.put(records + at % BYTES + HEADER_BYTES, &vec![fill; len]);
            self.header(at, len as u32 | flags);
            self.written += stride(len);
            self.put(procfs::page_size() as usize, &self.written.to_ne_bytes());
            at
        }

        /// What it was told of.
        fn told(&self) -> usize {
            let mut word = [0; size_of::<usize>()];
            self.file.read_exact_at(&mut word, 0).unwrap();
            usize::from_ne_bytes(word)
        }
    }

    fn drained(reader: &mut Reader, limit: usize) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let taken = reader.drain(limit, |record| records.push(record.to_vec()));
        assert_eq!(taken, records.len());
        records
    }

    #[test]
    fn records_come_in_order_and_once() {
        let mut kernel = Kernel::new("order");
        let mut reader = Reader::new(kernel.file.as_raw_fd(), BYTES).unwrap();
        assert!(drained(&mut reader, 9).is_empty());
        kernel.write(1, 5, 0);
        kernel.write(2, 64, DISCARDED);
        kernel.write(3, 100, 0);
        kernel.write(4, 8, 0);
        assert_eq!(drained(&mut reader, 2), [vec![1; 5], vec![3; 100]]);
        assert_eq!(kernel.told(), stride(5) + stride(64) + stride(100));
        assert_eq!(drained(&mut reader, 9), [[4; 8]]);
        assert_eq!(kernel.told(), kernel.written);
        assert!(drained(&mut reader, 9).is_empty());
    }

    #[test]
    fn what_is_being_written_is_waited_for() {
        let mut kernel = Kernel::new("busy");
        let mut reader = Reader::new(kernel.file.as_raw_fd(), BYTES).unwrap();
        kernel.write(1, 16, 0);
        let busy = kernel.write(2, 16, BUSY);
        kernel.write(3, 16, 0);
        assert_eq!(drained(&mut reader, 9), [[1; 16]]);
        assert_eq!(kernel.told(), busy);
        kernel.header(busy, 16);
        assert_eq!(drained(&mut reader, 9), [[2; 16], [3; 16]]);
    }

    #[test]
    fn the_ring_goes_round() {
        let mut kernel = Kernel::new("round");
        let mut reader = Reader::new(kernel.file.as_raw_fd(), BYTES).unwrap();
        for round in 0..100_u8 {
            kernel.write(round, 1016, 0);
            assert_eq!(drained(&mut reader, 9), [[round; 1016]]);
        }
        assert_eq!(kernel.told(), 100 * 1024);
    }
}
