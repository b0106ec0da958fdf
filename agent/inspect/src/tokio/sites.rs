//! Instructions at which ids are drawn and messages are sent. Both may stand in functions of their own, or in
//! each that spawns or sends.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register as Name};
use memchr::memmem;

use super::tables::Pointers;
use super::{Drawn, MAX_SITES, Sends};
use crate::code::{class, general, instructions};
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
pub(super) fn drawn(
    image: &Image<'_>,
    pointers: &Pointers<'_, '_>,
) -> BTreeMap<u64, Vec<Drawn>> {
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
/// `named`: code of those functions that a symbol names.
pub(super) fn sends(image: &Image<'_>, named: &[Range<u64>]) -> Vec<Sends> {
    /// Behind `or new,`: the mask, and the prefix of what follows.
    const MASK: &[u8] = &[0x02, 0xf0];
    let all = places(image, MASK).filter_map(|(at, _)| send(image, named, at.checked_sub(3)?));
    all.take(MAX_SITES + 1).collect()
}

fn send(image: &Image<'_>, named: &[Range<u64>], at: u64) -> Option<Sends> {
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
    if !is_wake || ![branch.next_ip(), branch.near_branch_target()].into_iter().any(|arm| wakes(image, arm, &change)) {
        return None;
    }
    let state = change.memory_displacement64();
    let offset = state.checked_sub(STATE)?;
    let is_named = named.iter().any(|range| range.contains(&at));
    if !is_named && !offset.is_multiple_of(LINE) {
        return None;
    }
    Some(Sends {
        site: site(image, &branch)?,
        waker: general(waker)?,
        offset: u32::try_from(offset).ok()?,
        padded: !is_named,
    })
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
fn places<'a>(
    image: &Image<'a>,
    bytes: &'static [u8],
) -> impl Iterator<Item = (u64, &'a [u8])> {
    let code = image.regions().filter(|region| image.code(region.address).is_some());
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
