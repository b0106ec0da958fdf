//! HTTP/2 (RFC 9113 §4.1): frames are told apart here, so that the payload of long DATA frames need
//! not travel. What the frames say is the agent's affair.

use weft_abi::{Connection, Counter, Direction, FRAME_HEADER_BYTES, Frame, Half, Missing};

use crate::{
    call::{self, Call},
    caller,
    emit::Piece,
    maps::count,
    task::Reads,
    walk::{self, Desk, MAX_PIECE, Source, Walk},
};

const DATA: u32 = 0;
/// Stands for what is no frame: the client's connection preface.
const NO_FRAME: u32 = 0xff;
const PREFACE_BYTES: u32 = 24;
/// DATA frames up to this length travel whole.
const SHORT_DATA_BYTES: u32 = 128;
/// Of longer ones the first bytes: the prefix of a gRPC message.
const LEAD_BYTES: u32 = 5;
/// Bytes captured of a call while it is not known where frames begin.
const OUT_OF_STEP_BYTES: u32 = 16 << 10;
/// Frames and segments of one call at most.
const MAX_STEPS: u32 = 1024;
/// A record is written before its payload could not take another frame's header.
const FULL_RUN: u32 = MAX_PIECE - FRAME_HEADER_BYTES;

/// The connection's first bytes in this direction: a client's preface, or a server's first frame.
#[inline(always)]
pub(crate) fn begin(state: &mut Connection, direction: Direction, preface_comes: bool) {
    let (here, there) = match direction {
        Direction::Rx => (&mut state.rx, &mut state.tx),
        Direction::Tx => (&mut state.tx, &mut state.rx),
    };
    here.frame = Frame {
        known: 1,
        header: FRAME_HEADER_BYTES,
        length_and_type: PREFACE_BYTES << 8 | NO_FRAME,
        left: if preface_comes { PREFACE_BYTES } else { 0 },
    };
    if there.offset == 0 {
        there.frame = Frame {
            known: 1,
            left: 0,
            ..here.frame
        };
        if !preface_comes {
            there.frame.left = PREFACE_BYTES;
        }
    }
}

/// The stream goes on behind `bytes` that were not looked at.
#[inline(always)]
pub(crate) fn pass(frame: &mut Frame, bytes: u32) {
    if frame.left >= bytes {
        frame.left -= bytes;
    } else {
        frame.known = 0;
    }
}

/// The agent says that a frame begins at stream offset `at`: of use while the stream stands there.
#[inline(always)]
pub(crate) fn step_in(frame: &mut Frame, at: u64, stands_at: u64) {
    if frame.known == 0 && at != 0 && at == stands_at {
        *frame = Frame {
            known: 1,
            header: FRAME_HEADER_BYTES,
            ..Frame::default()
        };
    }
}

/// A call on a connection that speaks HTTP/2.
#[inline(always)]
pub(crate) fn call(desk: Desk, call: &Call, mut piece: Piece, source: Source, half: &mut Half) {
    let frame = half.frame;
    if source.missing != Missing::None as u32 {
        pass(&mut half.frame, call.moved);
        return call::missing(&mut piece, source);
    }
    if frame.known == 0 || !walk::has_loop() {
        half.frame.known = 0;
        return walk::walk(desk, piece, source, OUT_OF_STEP_BYTES, 0, Reads::Frames);
    }
    // The call that ends the payload makes a record, for its time.
    if is_behind_lead(&frame) && frame.left > call.moved {
        half.frame.left -= call.moved;
        return count(Counter::CallsSkipped);
    }
    half.frame = walk::walk_frames(desk, piece, source, frame, step, MAX_STEPS);
}

/// In the part of a long DATA frame that does not travel.
#[inline(always)]
fn is_behind_lead(frame: &Frame) -> bool {
    let length = frame.length_and_type >> 8;
    let passed = length.wrapping_sub(frame.left);
    frame.length_and_type & 0xff == DATA
        && length > SHORT_DATA_BYTES
        && frame.left > 0
        && passed >= LEAD_BYTES
}

/// Looks at one frame's header, and at as much of its payload as the segment has.
#[inline(never)]
unsafe extern "C" fn step(index: u64, desk: *mut u32) -> u64 {
    // SAFETY: the context that `walk` passed.
    let Some(walk) = walk::at(unsafe { *desk }) else {
        return 1;
    };
    if walk.left == 0 {
        return 1;
    }
    if walk.run == 0 {
        let Some(missing) = walk::segment(walk) else {
            return 0;
        };
        if missing as u8 != Missing::None as u8 {
            return give_up(walk, missing);
        }
    }
    if index == u64::from(MAX_STEPS - 1) {
        return give_up(walk, Missing::Vector);
    }
    if walk.frame.left == 0 && !header(walk) {
        return give_up(walk, Missing::Fault);
    }
    let here = walk.segment_left.wrapping_sub(walk.run);
    let left = walk.frame.left;
    let mut take = if left > here { here } else { left };
    if is_behind_lead(&walk.frame) {
        walk.frame.left -= take;
        let run = walk.run;
        walk.run = 0;
        walk.piece.record.missing = Missing::Budget as u8;
        walk::write(walk, run, run.wrapping_add(take), 0);
        return u64::from(walk.left == 0);
    }
    let length = walk.frame.length_and_type >> 8;
    let passed = length.wrapping_sub(left);
    if walk.frame.length_and_type & 0xff == DATA
        && length > SHORT_DATA_BYTES
        && passed < LEAD_BYTES
        && take > LEAD_BYTES - passed
    {
        take = LEAD_BYTES - passed;
    }
    let room = MAX_PIECE.wrapping_sub(walk.run);
    if take > room {
        take = room;
    }
    walk.run += take;
    walk.frame.left -= take;
    if walk.run == walk.segment_left || walk.run > FULL_RUN {
        let run = walk.run;
        walk.run = 0;
        walk.piece.record.missing = Missing::None as u8;
        walk::write(walk, run, run, 0);
    }
    u64::from(walk.left == 0)
}

/// Takes in what the segment has of a frame's header. False: the memory is gone.
#[inline(always)]
fn header(walk: &mut Walk) -> bool {
    let frame = &mut walk.frame;
    if frame.header >= FRAME_HEADER_BYTES {
        frame.header = 0;
        frame.length_and_type = 0;
    }
    let here = walk.segment_left.wrapping_sub(walk.run);
    let address = walk.segment.wrapping_add(u64::from(walk.run));
    let mut took = 1;
    if frame.header == 0 && here >= FRAME_HEADER_BYTES {
        let Some(word) = caller::read::<[u8; 4]>(address) else {
            return false;
        };
        frame.length_and_type = u32::from_be_bytes(word);
        took = FRAME_HEADER_BYTES;
    } else if frame.header < 4 {
        let Some(byte) = caller::read::<u8>(address) else {
            return false;
        };
        frame.length_and_type = frame.length_and_type << 8 | u32::from(byte);
    }
    frame.header += took;
    walk.run += took;
    if frame.header >= FRAME_HEADER_BYTES {
        frame.left = frame.length_and_type >> 8;
    }
    true
}

/// What is left of the call is not looked at.
#[inline(always)]
fn give_up(walk: &mut Walk, missing: Missing) -> u64 {
    walk.run = 0;
    walk.frame.known = 0;
    walk::rest(walk, missing);
    1
}
