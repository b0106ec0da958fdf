//! The ring buffer's reading end.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct Ring {
    records: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn new(records: RingBuf<MapData>) -> Self {
        Self { records }
    }

    /// Waits until the kernel wakes us, `bell` is readable or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let watched = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let records = self.records.as_fd();
        let mut fds = [watched(records), watched(bell.unwrap_or(records))];
        let fds = &mut fds[..1 + usize::from(bell.is_some())];
        match poll(fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands over at most `limit` records in the order the kernel wrote them; gives their number.
    pub(crate) fn drain(&mut self, limit: usize, mut on_record: impl FnMut(&[u8])) -> usize {
        for taken in 0..limit {
            let Some(record) = self.records.next() else {
                return taken;
            };
            on_record(&record);
        }
        limit
    }
}
