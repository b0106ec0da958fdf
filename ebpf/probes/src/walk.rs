//! Cuts one call into records: one or more for each segment of its buffers.

use core::{ffi::c_void, ptr};

use aya_ebpf::{Global, helpers::bpf_loop};
use weft_abi::{Counter, DataFlags, Frame, Missing, TAIL_BYTES};

use crate::{
    caller::{self, Buffers, IoVec},
    emit::{self, Piece},
    maps::{WALKS, count},
    task::{self, Reads},
    tls,
};

/// Segments of a vector no longer than this are captured even when the budget is used up: chunk
/// framing stands in them.
const SMALL_SEGMENT: u32 = 64;
/// Steps for one call at most; the last one accounts for what is left.
const MAX_STEPS: u32 = 256;
/// The same where the kernel has no `bpf_loop` and the steps are unrolled.
const UNROLLED_STEPS: u32 = 2;
/// Largest payload of one record.
pub(crate) const MAX_PIECE: u32 = 4096;

/// 1: the kernel has `bpf_loop` (Linux 5.17).
#[unsafe(no_mangle)]
static HAS_LOOP: Global<u32> = Global::new(0);

/// The program that walks: its state is its own on each CPU, because the kernel lets no socket hook
/// interrupt itself.
#[derive(Clone, Copy)]
pub(crate) enum Desk {
    Send = 0,
    Receive = 1,
    SendPage = 2,
    SendUnix = 3,
    /// Probes of functions may be preempted and run again: each task's storage has its state.
    Plain = 4,
}

pub(crate) const DESKS: usize = 4;

/// Where the bytes of a call stand in the user's memory.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// The buffer, or the array of `struct iovec`.
    address: u64,
    /// Address of the first byte; 0: not known.
    pub(crate) first_address: u64,
    /// The first eight bytes as they stand there, 0 where there are fewer (a short head is the
    /// agent's affair) or they are not known.
    pub(crate) first: u64,
    /// Entries of the array; 0: `address` is the buffer.
    vectors: u32,
    /// A [`Missing`]: why the bytes are not known, if they are not.
    pub(crate) missing: u32,
}

/// Where in the call the walk stands. `piece.record` is made up for the whole call at first; its
/// offset and sequence number move along.
pub(crate) struct Walk {
    source: Source,
    pub(crate) piece: Piece,
    /// Flags that all records of the call share.
    flags: u16,
    /// No record of this call has been written yet.
    first: bool,
    /// Address of the next `struct iovec`, and how many there are.
    vector: u64,
    vectors: u32,
    /// The segment in hand.
    pub(crate) segment: u64,
    pub(crate) segment_left: u32,
    /// Bytes of the call not accounted for yet.
    pub(crate) left: u32,
    /// Bytes that may still be captured.
    wanted: u32,
    /// Bytes at the call's beginning that the agent does not need.
    skip: u32,
    /// Of the segment in hand, bytes that have been looked at and go into the next record.
    pub(crate) run: u32,
    pub(crate) frame: Frame,
}

/// One step of a walk; its result 1 ends it.
pub(crate) type Step = unsafe extern "C" fn(u64, *mut u32) -> u64;

#[inline(always)]
pub(crate) fn at(desk: u32) -> Option<&'static mut Walk> {
    let walk = if desk == Desk::Plain as u32 {
        tls::walk()?
    } else {
        WALKS.get_ptr_mut(desk)?
    };
    // SAFETY: see `Desk`.
    Some(unsafe { &mut *walk })
}

/// Looks at the call's first bytes. The result comes out of a map: of what is loaded from there the
/// verifier knows nothing, so that it need not follow each way that led here on its own.
#[inline(always)]
pub(crate) fn source(desk: Desk, buffers: Buffers) -> Option<Source> {
    let source = &raw mut at(desk as u32)?.source;
    // SAFETY: the program's own element; volatile, or the compiler would keep what it wrote.
    unsafe {
        ptr::write_volatile(&raw mut (*source).address, buffers.address);
        ptr::write_volatile(&raw mut (*source).vectors, buffers.vectors);
        ptr::write_volatile(&raw mut (*source).missing, buffers.missing);
        let first_address = if ptr::read_volatile(&raw const (*source).vectors) == 0 {
            buffers.address
        } else {
            caller::read::<IoVec>(buffers.address).map_or(0, |first| first.base)
        };
        ptr::write_volatile(&raw mut (*source).first_address, first_address);
        let first_address = ptr::read_volatile(&raw const (*source).first_address);
        let first = caller::read::<u64>(first_address).unwrap_or(0);
        ptr::write_volatile(&raw mut (*source).first, first);
        Some(ptr::read_volatile(source))
    }
}

/// Records of one call. `skip`: bytes at its beginning that the agent does not need. `reads`: what the
/// task reads with it.
#[inline(always)]
pub(crate) fn walk(desk: Desk, piece: Piece, source: Source, wanted: u32, skip: u32, reads: Reads) {
    if !begin(desk, piece, source, wanted, skip, Frame::default(), reads) {
        return;
    }
    if HAS_LOOP.load() != 0 {
        return steps(desk, step, MAX_STEPS);
    }
    let mut desk = desk as u32;
    for index in MAX_STEPS - UNROLLED_STEPS..MAX_STEPS {
        // SAFETY: what `steps` passes.
        if unsafe { step(u64::from(index), &raw mut desk) } != 0 {
            break;
        }
    }
}

/// As [`walk`], for HTTP/2: its own steps decide what travels. Gives the frame that the stream stands
/// in behind the call.
#[inline(always)]
pub(crate) fn walk_frames(
    desk: Desk,
    piece: Piece,
    source: Source,
    frame: Frame,
    step: Step,
    max_steps: u32,
) -> Frame {
    if !begin(desk, piece, source, 0, 0, frame, Reads::Frames) {
        return Frame::default();
    }
    steps(desk, step, max_steps);
    // SAFETY: as in `source`.
    at(desk as u32).map_or(Frame::default(), |walk| unsafe {
        ptr::read_volatile(&raw const walk.frame)
    })
}

/// 1: calls can be walked in as many steps as it takes.
#[inline(always)]
pub(crate) fn has_loop() -> bool {
    HAS_LOOP.load() != 0
}

#[inline(always)]
fn begin(
    desk: Desk,
    piece: Piece,
    source: Source,
    wanted: u32,
    skip: u32,
    frame: Frame,
    reads: Reads,
) -> bool {
    let Some(walk) = at(desk as u32) else {
        return false;
    };
    let left = piece.record.len;
    let flat = source.vectors == 0;
    *walk = Walk {
        flags: piece.record.header.flags,
        piece,
        first: true,
        vector: source.address,
        vectors: source.vectors,
        segment: if flat { source.address } else { 0 },
        segment_left: if flat { left } else { 0 },
        left,
        wanted,
        skip,
        source,
        run: 0,
        frame,
    };
    walk.flags |= task::ask(&mut walk.piece.record, reads);
    true
}

#[inline(always)]
fn steps(desk: Desk, step: Step, max_steps: u32) {
    let mut desk = desk as u32;
    // SAFETY: the callback has the shape the helper wants, `desk` outlives the call.
    unsafe { bpf_loop(max_steps, step as *mut c_void, (&raw mut desk).cast(), 0) };
}

/// One step of the walk; 1 ends it.
#[inline(never)]
unsafe extern "C" fn step(index: u64, desk: *mut u32) -> u64 {
    // SAFETY: the context that `walk` passed.
    let Some(walk) = at(unsafe { *desk }) else {
        return 1;
    };
    if walk.left == 0 {
        return 1;
    }
    let Some(missing) = segment(walk) else {
        return 0;
    };
    if missing as u8 != Missing::None as u8 || index == u64::from(MAX_STEPS - 1) {
        rest(
            walk,
            if missing as u8 == Missing::None as u8 {
                Missing::Vector
            } else {
                missing
            },
        );
        return 1;
    }
    let mut take = if walk.segment_left > walk.wanted {
        walk.wanted
    } else {
        walk.segment_left
    };
    if walk.segment_left <= SMALL_SEGMENT {
        take = walk.segment_left;
    }
    let mut cover = walk.segment_left;
    if take > MAX_PIECE {
        take = MAX_PIECE;
        cover = MAX_PIECE;
    }
    walk.wanted -= if take > walk.wanted {
        walk.wanted
    } else {
        take
    };
    walk.piece.record.missing = Missing::None as u8;
    let mut tail = 0;
    if take < cover {
        walk.piece.record.missing = Missing::Budget as u8;
        let end = walk.segment.wrapping_add(u64::from(cover));
        if cover >= TAIL_BYTES as u32
            && let Some(bytes) =
                caller::read::<[u8; TAIL_BYTES]>(end.wrapping_sub(TAIL_BYTES as u64))
        {
            walk.piece.record.tail = bytes;
            tail = DataFlags::TAIL;
        }
    }
    write(walk, take, cover, tail);
    if walk.left == 0 { 1 } else { 0 }
}

/// Makes the segment in hand one with bytes that are wanted. `None`: the step was used up on that.
#[inline(always)]
pub(crate) fn segment(walk: &mut Walk) -> Option<Missing> {
    if walk.segment_left == 0 {
        if walk.vectors == 0 {
            return Some(Missing::Vector);
        }
        let Some(next) = caller::read::<IoVec>(walk.vector) else {
            return Some(Missing::Fault);
        };
        walk.vector = walk.vector.wrapping_add(size_of::<IoVec>() as u64);
        walk.vectors -= 1;
        walk.segment = next.base;
        walk.segment_left = if next.len > u64::from(walk.left) {
            walk.left
        } else {
            next.len as u32
        };
        if walk.segment_left == 0 {
            return None;
        }
    }
    // A range that the agent does not need is passed over: the next record's offset says so.
    let over = if walk.skip > walk.segment_left {
        walk.segment_left
    } else {
        walk.skip
    };
    if over > 0 {
        walk.skip -= over;
        advance(walk, over);
        if walk.segment_left == 0 {
            return None;
        }
    }
    Some(Missing::None)
}

/// One record for all that is left, without bytes.
#[inline(always)]
pub(crate) fn rest(walk: &mut Walk, missing: Missing) {
    count(if missing as u8 == Missing::Fault as u8 {
        Counter::MissingFault
    } else {
        Counter::MissingVector
    });
    walk.piece.record.missing = missing as u8;
    let left = walk.left;
    walk.segment_left = left;
    write(walk, 0, left, 0);
}

/// One record of the next `cover` bytes of the segment in hand, the first `take` of which travel.
#[inline(always)]
pub(crate) fn write(walk: &mut Walk, take: u32, cover: u32, flags: u16) {
    let mut flags = walk.flags | flags | if walk.first { DataFlags::CALL_START } else { 0 };
    if cover == walk.left {
        flags |= DataFlags::CALL_END;
    }
    walk.piece.record.header.flags = flags;
    walk.piece.record.header.captured = take;
    walk.piece.record.len = cover;
    walk.piece.address = walk.segment;
    let written = emit::data(&mut walk.piece);
    if walk.first {
        count(if written {
            Counter::CallsRecorded
        } else {
            Counter::CallsRingFull
        });
        walk.first = false;
    }
    advance(walk, cover);
}

#[inline(always)]
fn advance(walk: &mut Walk, bytes: u32) {
    walk.segment = walk.segment.wrapping_add(u64::from(bytes));
    walk.segment_left -= bytes;
    walk.left -= bytes;
    walk.piece.record.offset = walk.piece.record.offset.wrapping_add(u64::from(bytes));
    walk.piece.record.seq = walk.piece.record.seq.wrapping_add(bytes);
}
