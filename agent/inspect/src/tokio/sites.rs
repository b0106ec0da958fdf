//! Instructions at which ids are drawn and messages are sent. Both may stand in functions of their own, or in
//! each that spawns or sends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register as Name};
use memchr::memmem;

use super::functions::{Functions, Value};
use super::tables::Pointers;
use super::{Drawn, MAX_SITES, Sends};
use crate::code::{Extents, class, general, instructions};
use crate::elf::Image;
use crate::{Class, Site};

/// Bytes that are read of one place.
const MAX_BYTES: u64 = 96;
/// `state` in `AtomicWaker { waker: { vtable, data }, state }`.
const STATE: u64 = 16;
/// Size of what has a cache line of its own (`CachePadded` on x86-64).
const LINE: u64 = 128;

/// Where the ids of new tasks are drawn from a counter, by that one's address:
///
/// ```text
/// again: mov id, 1; lock xadd [NEXT_ID], id; test id, id; je again
/// ```
pub(super) fn drawn(image: &Image<'_>, pointers: &Pointers<'_, '_>) -> BTreeMap<u64, Vec<Drawn>> {
    /// `xadd` with one of the lower eight registers, and with the others.
    const ADDS: [&[u8]; 2] = [&[0x48, 0x0f, 0xc1], &[0x4c, 0x0f, 0xc1]];
    const LOCK: u8 = 0xf0;
    let mut found: BTreeMap<u64, Vec<Drawn>> = BTreeMap::new();
    for add in ADDS {
        for (at, code) in places(image, add) {
            let locked = at.checked_sub(1).filter(|_| code.last() == Some(&LOCK));
            let Some((counter, drawn)) = locked.and_then(|at| draw(image, pointers, at)) else {
                continue;
            };
            let sites = found.entry(counter).or_default();
            if sites.len() <= MAX_SITES {
                sites.push(drawn);
            }
        }
    }
    found
}

/// `at`: of the prefix of the addition.
fn draw(image: &Image<'_>, pointers: &Pointers<'_, '_>, at: u64) -> Option<(u64, Drawn)> {
    // `mov r32, 1` has five bytes, or six.
    let [set, add, again] = [6, 5].into_iter().find_map(|bytes| {
        let mut code = instructions(image, at.checked_sub(bytes)?, MAX_BYTES);
        let [set, add, test, again] = [code.next()?, code.next()?, code.next()?, code.next()?];
        let id = add.op1_register();
        let is_draw = set.code() == Code::Mov_r32_imm32
            && set.immediate32() == 1
            && set.op0_register().full_register() == id
            && add.ip() == at
            && add.code() == Code::Xadd_rm64_r64
            && add.op0_kind() == OpKind::Memory
            && tests(&test, id)
            && again.mnemonic() == Mnemonic::Je
            && again.near_branch_target() == set.ip();
        is_draw.then_some([set, add, again])
    })?;
    let counter = if add.is_ip_rel_memory_operand() {
        add.ip_rel_memory_address()
    } else {
        loaded(image, pointers, &add, set.ip())?
    };
    let id = general(add.op1_register())?;
    let site = site(image, &again)?;
    Some((counter, Drawn { site, id }))
}

/// The address that stands in the instruction's base, which is loaded shortly before `start`.
fn loaded(
    image: &Image<'_>,
    pointers: &Pointers<'_, '_>,
    it: &Instruction,
    start: u64,
) -> Option<u64> {
    /// Of the load, and up to so much room.
    const LOAD: u64 = 7;
    const ROOM: u64 = 32;
    if it.memory_index() != Name::None || it.memory_displacement64() != 0 {
        return None;
    }
    (LOAD..LOAD + ROOM).find_map(|before| {
        let from = start.checked_sub(before)?;
        let mut code = instructions(image, from, before);
        let load = code.next()?;
        let slot = load.ip_rel_memory_address();
        let loads = load.code() == Code::Mov_r64_rm64
            && load.is_ip_rel_memory_operand()
            && load.op0_register() == it.memory_base();
        let idle = loads && code.all(|it| it.mnemonic() == Mnemonic::Nop);
        idle.then(|| pointers.pointer(slot))?
    })
}

/// Where `AtomicWaker::wake` has changed the state:
///
/// ```text
/// again: mov new, old; or new, 2; lock cmpxchg [waker + 16], new; jne again
///        test old, old; jcc                                               old is rax
///        ..; xchg or lock and [waker + 16]; ..; call or jmp [vtable + 8]
/// ```
/// `named`: code of those functions that a symbol names. Other libraries have the same function, too: without
/// a name it is Tokio's if it is passed wakers that stand in a line of their own. The error is for the user.
pub(super) fn sends(
    image: &Image<'_>,
    pointers: &Pointers<'_, '_>,
    named: &[Range<u64>],
) -> Result<Vec<Sends>, &'static str> {
    /// Behind `or new,`: the mask, and the prefix of what follows.
    const MASK: &[u8] = &[0x02, 0xf0];
    let all = places(image, MASK).filter_map(|(at, _)| send(image, at.checked_sub(3)?));
    let all: Vec<_> = all.take(MAX_SITES + 1).collect();
    if all.len() > MAX_SITES {
        return Err("messages are sent in too many places");
    }
    let is_named = |send: &Send| named.iter().any(|range| range.contains(&send.at));
    // Within something larger, the waker has been taken from where it stands.
    let inlined = |send: &Send| send.sends.offset > 0;
    let mut functions: Vec<_> = all.iter().filter(|send| !inlined(send)).collect();
    if functions.iter().any(|send| is_named(send)) {
        functions.retain(|send| is_named(send));
    } else {
        let extents = Extents::told(image);
        functions.retain(|send| {
            let range = extents.range(image, send.at);
            range.is_some_and(|range| is_passed_padded(image, pointers, range.start))
        });
        if functions.len() > 1 {
            return Err("where channels wake their receivers is ambiguous");
        }
    }
    let is_wanted = |send: &&Send| inlined(send) || functions.iter().any(|it| it.at == send.at);
    let sends: Vec<_> = all
        .iter()
        .filter(is_wanted)
        .map(|send| send.sends)
        .collect();
    if sends.is_empty() {
        return Err("where channels wake their receivers is not found");
    }
    Ok(sends)
}

/// One of the places, at this address.
struct Send {
    at: u64,
    sends: Sends,
}

/// Whether the function is called with places in lines of their own, of larger objects.
fn is_passed_padded(image: &Image<'_>, pointers: &Pointers<'_, '_>, function: u64) -> bool {
    const MAX_CALLERS: usize = 64;
    const MIN_CALLERS: usize = 2;
    let is_padded = |value: Value| {
        let line = i64::try_from(LINE).unwrap_or(i64::MAX);
        matches!(value, Value::Offset(offset) if offset > 0 && offset % line == 0)
    };
    let mut functions = Functions::new(image, pointers);
    let mut callers = BTreeSet::new();
    for at in callers_of(image, pointers, function).take(MAX_CALLERS) {
        let calls = functions.around(at).into_iter().flat_map(|it| &it.calls);
        let padded = calls.filter(|call| call.target == function && is_padded(call.argument));
        callers.extend(padded.map(|call| call.at));
        if callers.len() >= MIN_CALLERS {
            return true;
        }
    }
    false
}

/// Addresses of calls, and of jumps in their stead.
fn callers_of<'i>(
    image: &'i Image<'_>,
    pointers: &'i Pointers<'_, '_>,
    function: u64,
) -> impl Iterator<Item = u64> + 'i {
    /// `call` and `jmp` by distance, and the same through a slot.
    const CALLS: [&[u8]; 4] = [&[0xe8], &[0xe9], &[0xff, 0x15], &[0xff, 0x25]];
    let slots = pointers.places_of(function);
    CALLS.into_iter().flat_map(move |call| {
        let slots = slots.clone();
        places(image, call).filter_map(move |(at, _)| {
            let distance = image.code(at)?.get(call.len()..)?.first_chunk()?;
            let distance = i64::from(i32::from_le_bytes(*distance));
            let behind = at.checked_add(call.len() as u64 + 4)?;
            let place = behind.checked_add_signed(distance)?;
            let is_call = match call.len() {
                1 => place == function,
                _ => slots.contains(&place),
            };
            is_call.then_some(at)
        })
    })
}

fn send(image: &Image<'_>, at: u64) -> Option<Send> {
    let mut code = instructions(image, at, MAX_BYTES);
    let [or, change, again, test, branch] = [
        code.next()?,
        code.next()?,
        code.next()?,
        code.next()?,
        code.next()?,
    ];
    let waker = change.memory_base();
    let is_wake = or.code() == Code::Or_rm64_imm8
        && or.immediate(1) == 2
        && or.op0_kind() == OpKind::Register
        && change.code() == Code::Cmpxchg_rm64_r64
        && change.op0_kind() == OpKind::Memory
        && change.op1_register() == or.op0_register()
        && change.memory_index() == Name::None
        && again.mnemonic() == Mnemonic::Jne
        && again.near_branch_target() < or.ip()
        && tests(&test, Name::RAX)
        && matches!(branch.mnemonic(), Mnemonic::Je | Mnemonic::Jne);
    if !is_wake
        || ![branch.next_ip(), branch.near_branch_target()]
            .into_iter()
            .any(|arm| wakes(image, arm, &change))
    {
        return None;
    }
    let state = change.memory_displacement64();
    let offset = state.checked_sub(STATE)?;
    if !offset.is_multiple_of(LINE) {
        return None;
    }
    let sends = Sends {
        site: site(image, &branch)?,
        waker: general(waker)?,
        offset: u32::try_from(offset).ok()?,
    };
    Some(Send { at, sends })
}

/// Whether the code from here on gives the state back and calls `wake` of the waker's table.
fn wakes(image: &Image<'_>, start: u64, change: &Instruction) -> bool {
    const MAX_INSTRUCTIONS: usize = 48;
    const WAKE: u64 = 8;
    let releases = |it: &Instruction| {
        it.op0_kind() == OpKind::Memory
            && it.memory_base() == change.memory_base()
            && it.memory_displacement64() == change.memory_displacement64()
            && (it.mnemonic() == Mnemonic::Xchg
                || it.mnemonic() == Mnemonic::And && it.has_lock_prefix())
    };
    let mut ways = vec![(start, false)];
    let mut left = MAX_INSTRUCTIONS;
    while let Some((from, mut released)) = ways.pop() {
        for it in instructions(image, from, MAX_BYTES) {
            if left == 0 {
                return false;
            }
            left -= 1;
            released |= releases(&it);
            match it.flow_control() {
                FlowControl::Next => {}
                FlowControl::ConditionalBranch if released => {
                    ways.push((it.near_branch_target(), released));
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                    let wakes = it.op0_kind() == OpKind::Memory
                        && it.memory_base() != Name::RIP
                        && it.memory_displacement64() == WAKE;
                    if released && wakes {
                        return true;
                    }
                    break;
                }
                _ => break,
            }
        }
    }
    false
}

/// `test register, register`.
fn tests(it: &Instruction, register: Name) -> bool {
    it.mnemonic() == Mnemonic::Test
        && it.op0_register() == register
        && it.op1_register() == register
}

/// Addresses in the code at which these bytes stand, and what stands before.
fn places<'a>(image: &Image<'a>, bytes: &'static [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
    let code = image
        .regions()
        .filter(|region| image.code(region.address).is_some());
    let code: Vec<_> = code.collect();
    code.into_iter().flat_map(move |region| {
        let found = memmem::find_iter(region.bytes, bytes);
        found.map(move |at| (region.address + at as u64, &region.bytes[..at]))
    })
}

/// A place that the kernel need not step over.
fn site(image: &Image<'_>, at: &Instruction) -> Option<Site> {
    let bytes = image.code(at.ip())?.get(..at.len())?;
    let class = class(bytes);
    (class == Class::Emulated).then_some(Site {
        offset: image.offset(at.ip())?,
        class,
    })
}
