//! Records into the ring buffer.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::Global;
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_ktime_get_ns, bpf_ringbuf_discard, bpf_ringbuf_query, bpf_ringbuf_reserve,
        bpf_ringbuf_submit,
        generated::{bpf_probe_read_user, bpf_ringbuf_output},
    },
};
use weft_abi::{Counter, DATA_CLASSES, DataRecord, Direction, RecordHeader, RecordKind, Wake};

use crate::maps::{self, CONTROL, RECORDS, add, count};

/// Fill of the ring, bytes, from which the agent is woken in [`Wake::Batch`].
#[unsafe(no_mangle)]
pub(crate) static WAKE_BYTES: Global<u64> = Global::new(1 << 20);

/// One piece of a call: the record, and where its payload stands in the user's memory.
pub(crate) struct Piece {
    pub(crate) record: DataRecord,
    pub(crate) address: u64,
}

/// Writes a data record with up to `piece.record.header.captured` bytes of payload.
/// False: the ring was full.
#[inline(never)]
pub(crate) fn data(piece: &mut Piece) -> bool {
    let captured = piece.record.header.captured as usize;
    if captured == 0 {
        class::<{ DATA_CLASSES[0] }>(piece)
    } else if captured <= DATA_CLASSES[1] {
        class::<{ DATA_CLASSES[1] }>(piece)
    } else if captured <= DATA_CLASSES[2] {
        class::<{ DATA_CLASSES[2] }>(piece)
    } else if captured <= DATA_CLASSES[3] {
        class::<{ DATA_CLASSES[3] }>(piece)
    } else {
        class::<{ DATA_CLASSES[4] }>(piece)
    }
}

#[repr(C)]
struct Sized<const N: usize> {
    record: DataRecord,
    payload: [u8; N],
}

#[inline(always)]
fn class<const N: usize>(piece: &mut Piece) -> bool {
    // SAFETY: a constant size; the result is checked.
    let slot =
        unsafe { bpf_ringbuf_reserve(maps::pointer(&RECORDS), size_of::<Sized<N>>() as u64, 0) }
            .cast::<Sized<N>>();
    if slot.is_null() {
        count(Counter::RecordsRingFull);
        return false;
    }
    let mut captured = piece.record.header.captured;
    if N > 0 {
        if captured > N as u32 {
            captured = N as u32;
        }
        // SAFETY: `captured <= N` bytes of the reserved slot; the helper checks the user's address.
        let failed = unsafe {
            bpf_probe_read_user(
                (&raw mut (*slot).payload).cast(),
                captured,
                piece.address as *const _,
            )
        };
        if failed != 0 {
            captured = 0;
            piece.record.missing = weft_abi::Missing::Fault as u8;
            count(Counter::MissingFault);
        }
    }
    piece.record.header.captured = captured;
    // SAFETY: the slot is reserved and of this size.
    unsafe {
        ptr::write(&raw mut (*slot).record, piece.record);
        bpf_ringbuf_submit(slot.cast(), wake());
    }
    count(Counter::Records);
    add(Counter::BytesCaptured, u64::from(captured));
    true
}

/// Writes a record of fixed size. False: the ring was full.
#[inline(always)]
pub(crate) fn output<T>(record: &T) -> bool {
    output_and(record, wake())
}

/// As [`output`], and the agent is woken: a new program is to be judged before its first request.
#[inline(always)]
pub(crate) fn output_at_once<T>(record: &T) -> bool {
    output_and(record, u64::from(BPF_RB_FORCE_WAKEUP))
}

#[inline(always)]
fn output_and<T>(record: &T, flags: u64) -> bool {
    // SAFETY: `record` is initialised to its last byte (`repr(C)` without padding).
    let failed = unsafe {
        bpf_ringbuf_output(
            maps::pointer(&RECORDS),
            ptr::from_ref(record).cast_mut().cast(),
            size_of::<T>() as u64,
            flags,
        )
    };
    count(if failed == 0 {
        Counter::Records
    } else {
        Counter::RecordsRingFull
    });
    failed == 0
}

/// As [`output`], for a record too large for the stack that is left: written in place.
#[inline(always)]
pub(crate) fn output_in_place<T: 'static>(record: &T) -> bool {
    let Some(slot) = reserve::<T>() else {
        return false;
    };
    submit(slot, record);
    true
}

/// Room for a record, to be [`submit`]ted or [`discard`]ed. `None`: the ring was full.
#[inline(always)]
pub(crate) fn reserve<T>() -> Option<&'static mut MaybeUninit<T>> {
    // SAFETY: a constant size; the result is checked.
    let slot = unsafe { bpf_ringbuf_reserve(maps::pointer(&RECORDS), size_of::<T>() as u64, 0) };
    if slot.is_null() {
        count(Counter::RecordsRingFull);
        return None;
    }
    // SAFETY: reserved and of this size.
    Some(unsafe { &mut *slot.cast::<MaybeUninit<T>>() })
}

#[inline(always)]
pub(crate) fn submit<T>(slot: &'static mut MaybeUninit<T>, record: &T) {
    // SAFETY: the slot is reserved and of this size.
    unsafe {
        ptr::copy_nonoverlapping(record, slot.as_mut_ptr(), 1);
        bpf_ringbuf_submit(slot.as_mut_ptr().cast(), wake());
    }
    count(Counter::Records);
}

#[inline(always)]
pub(crate) fn discard<T>(slot: &'static mut MaybeUninit<T>) {
    // SAFETY: the slot is reserved.
    unsafe { bpf_ringbuf_discard(slot.as_mut_ptr().cast(), 0) };
}

/// What records are stamped with.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no argument.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn header(
    kind: RecordKind,
    direction: Direction,
    flags: u16,
    tgid: u32,
    tid: u32,
    time_ns: u64,
) -> RecordHeader {
    RecordHeader {
        kind: kind as u8,
        direction: direction as u8,
        flags,
        tid,
        tgid,
        captured: 0,
        time_ns,
    }
}

#[inline(always)]
fn wake() -> u64 {
    let batch = CONTROL
        .get(0)
        .is_some_and(|control| control.wake == Wake::Batch as u32);
    if !batch {
        return 0;
    }
    // SAFETY: a query of our own ring.
    let waiting =
        unsafe { bpf_ringbuf_query(maps::pointer(&RECORDS), u64::from(BPF_RB_AVAIL_DATA)) };
    // By each record above the mark. It costs the caller an interrupt, and so slows down who would fill the ring:
    // woken once in 64 KiB, the agent lost 16 % of the spans of HTTP/2 at saturation, at the same rate of requests.
    u64::from(if waiting > WAKE_BYTES.load() {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}
