//! Node.js in a program or in its shared library: where callbacks and reactions of promises begin, where
//! garbage is collected, and what of the memory tells whose they are. Versions that were looked at: 14, 18 to 24.
//!
//! Offsets are read from code:
//!
//! ```text
//! InternalCallbackScope::InternalCallbackScope   lea rdi, [environment + async_hooks]; call push_async_context
//! AsyncHooks::push_async_context                 mov fields, [this + ids]; .. movsd xmm, [fields]; .. movsd xmm, [fields + 8]
//! PromiseFulfillReactionJob                      cmp rbx, [r13 + undefined]
//! CallFunction_ReceiverIsAny                     mov rsi, [rdi + context]
//! AsyncFunctionAwaitResolveClosure               mov reg, [rsi + 1fh]: the generator
//! ```

mod builtins;
#[cfg(test)]
mod tests;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register as Name};

use crate::code::{Limits, class, instructions, sites};
use crate::elf::{Image, Stubs, Symbols};
use crate::{Problem, Register, Site};
use builtins::{Builtin, Builtins};

/// What a file brings of Node.js. Addresses are the file's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Offset in `Environment` of the pointer to the ids of async resources, bytes.
    pub ids: u32,
    /// From a function (V8's tagged pointer) to its context, bytes.
    pub function_context: u32,
    /// From the root register to `undefined`, bytes.
    pub undefined: u32,
    /// What the first word of native objects is whose callback belongs to whoever has made them.
    pub one_shot: Vec<u64>,
    /// By how much addresses of code are larger than its offsets in the file (wraps around).
    pub bias: u64,
    /// `InternalCallbackScope` takes its object as a variant (since Node.js 22).
    pub variant: bool,
    /// Offset in `AsyncWrap` of its id, and of what has triggered it, bytes.
    pub wrap_ids: u32,
    /// Its constructor.
    pub enters: Vec<Site>,
    /// Its constructor from an `AsyncWrap`.
    pub enters_wrap: Vec<Site>,
    /// Its `Close`.
    pub leaves: Vec<Site>,
    /// `MicrotaskQueue::OnCompleted`.
    pub drained: Vec<Site>,
    /// `PerformPromiseThen`.
    pub asked: Vec<Site>,
    /// Where `PromisePrototypeThen` returns.
    pub then: Vec<Site>,
    /// `PromiseFulfillReactionJob` and `PromiseRejectReactionJob`.
    pub reacts: Vec<Site>,
    /// `Heap::Scavenge`.
    pub scavenged: Vec<Site>,
    /// `Heap::MarkCompact` and `Heap::MinorMarkCompact`.
    pub compacted: Vec<Site>,
    /// `Http2Session::SubmitRequest`.
    pub submits: Vec<Site>,
    /// `Http2Session::SendPendingData`.
    pub sends: Vec<Site>,
    /// Of whole sentences.
    pub problems: Vec<Problem>,
}

/// `node::InternalCallbackScope(node::Environment*, ..)`.
const SCOPES: [&str; 2] = [
    "_ZN4node21InternalCallbackScopeC1EPNS_11EnvironmentE",
    "_ZN4node21InternalCallbackScopeC2EPNS_11EnvironmentE",
];
const WRAP_SCOPES: [&str; 2] = [
    "_ZN4node21InternalCallbackScopeC1EPNS_9AsyncWrapEi",
    "_ZN4node21InternalCallbackScopeC2EPNS_9AsyncWrapEi",
];
const CLOSE: &str = "_ZN4node21InternalCallbackScope5CloseEv";
const PUSH: &str = "_ZN4node10AsyncHooks18push_async_contextE";
const COMPLETED: [&str; 2] = [
    "_ZN2v88internal14MicrotaskQueue11OnCompletedEPNS0_7IsolateE",
    "_ZNK2v88internal14MicrotaskQueue11OnCompletedEPNS0_7IsolateE",
];
const SCAVENGE: &str = "_ZN2v88internal4Heap8ScavengeEv";
const COMPACT: &str = "_ZN2v88internal4Heap11MarkCompactEv";
const MINOR: [&str; 2] = [
    "_ZN2v88internal4Heap16MinorMarkCompactEv",
    "_ZN2v88internal4Heap14MinorMarkSweepEv",
];
const SUBMIT: &str = "_ZN4node5http212Http2Session13SubmitRequestE";
const SEND: &str = "_ZN4node5http212Http2Session15SendPendingDataEv";
/// Virtual tables of what connects, looks a name up, or reads a file.
const ONE_SHOT: [&str; 3] = [
    "_ZTVN4node11ConnectWrapE",
    "_ZTVN4node10cares_wrap18GetAddrInfoReqWrapE",
    "_ZTVN4node2fs13FSReqCallbackE",
];
/// Part of a mangled name that says that a variant is taken.
const VARIANT: &str = "St7variantI";
/// A part of a function that stands apart.
const COLD: &str = ".cold";
/// A virtual table's address in an object is behind its head.
const TABLE_HEAD: u64 = 16;
/// Bytes of code that are looked at of each function.
const MAX_BYTES: u64 = 1024;
/// From a context to its extension.
const EXTENSION: u64 = 0x1f;

pub(crate) fn wants(name: &[u8]) -> bool {
    let exact = [CLOSE, SCAVENGE, COMPACT, SEND];
    let exact = exact
        .iter()
        .chain(&COMPLETED)
        .chain(&MINOR)
        .chain(&WRAP_SCOPES);
    let begins = [SCOPES[0], SCOPES[1], PUSH, SUBMIT];
    let mut begins = begins.iter();
    (name.starts_with(b"_ZN") || name.starts_with(b"Builtins_"))
        && (exact.map(|it| it.as_bytes()).any(|it| it == name)
            || begins.any(|it| name.starts_with(it.as_bytes()))
            || builtins::wants(name))
}

/// `None`: nothing of it. The error is the reason for the user.
pub(crate) fn find(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
) -> Option<Result<Box<Node>, &'static str>> {
    let scope = symbols.iter().find(|it| is_function(it.name, SCOPES[1]))?;
    Some(node(image, symbols, scope.address, scope.name).map(Box::new))
}

fn is_function(name: &str, begin: &str) -> bool {
    name.starts_with(begin) && !name.ends_with(COLD)
}

fn node(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
    scope: u64,
    name: &str,
) -> Result<Node, &'static str> {
    let begun = |begin: &'static str| symbols.iter().find(|it| is_function(it.name, begin));
    let push = begun(PUSH).ok_or("AsyncHooks::push_async_context is not found")?;
    let stubs = Stubs::read(image, PUSH);
    let is_push = |target: u64| target == push.address || stubs.name(image, target).is_some();
    let hooks = hooks(instructions(image, scope, MAX_BYTES), is_push)
        .ok_or("the code of InternalCallbackScope has an unknown shape")?;
    let ids = ids(instructions(image, push.address, MAX_BYTES))
        .ok_or("the code of AsyncHooks::push_async_context has an unknown shape")?;
    let wrap = WRAP_SCOPES
        .iter()
        .find_map(|name| symbols.named(name).next());
    let wrap = wrap.ok_or("InternalCallbackScope is not found")?;
    let wrap_ids = pair(instructions(image, wrap.address, MAX_BYTES), Name::RSI)
        .ok_or("the code of InternalCallbackScope has an unknown shape")?;
    let builtins = Builtins::read(image, symbols)?;
    let builtin = |name| {
        builtins
            .named(name)
            .ok_or("not all of V8's builtins are found")
    };
    let code = |of: &Builtin| instructions(image, of.address, of.bytes);
    let fulfils = builtin("PromiseFulfillReactionJob")?;
    let undefined = undefined(code(&fulfils))
        .ok_or("the code of PromiseFulfillReactionJob has an unknown shape")?;
    let function_context = function_context(code(&builtin("CallFunction_ReceiverIsAny")?))
        .ok_or("the code of CallFunction_ReceiverIsAny has an unknown shape")?;
    if !reads_generator(code(&builtin("AsyncFunctionAwaitResolveClosure")?)) {
        return Err("the code of AsyncFunctionAwaitResolveClosure has an unknown shape");
    }
    let at = |of: &Builtin, registers: &[Register]| {
        let entry = entry(image, of.address, Limits::from_size(of.bytes), registers);
        entry.ok_or("a builtin of V8 has no code")
    };
    let job = [Register::Rbx, Register::Rcx];
    let reacts = vec![
        at(&fulfils, &job)?,
        at(&builtin("PromiseRejectReactionJob")?, &job)?,
    ];
    let asked = vec![at(
        &builtin("PerformPromiseThen")?,
        &[Register::Rbx, Register::Rdx],
    )?];
    let then = returns(image, code(&builtin("PromisePrototypeThen")?))
        .ok_or("PromisePrototypeThen does not return")?;
    let all = |names: &[&str], registers: &[Register]| -> Vec<Site> {
        let named = names.iter().flat_map(|name| symbols.named(name));
        let mut addresses: Vec<_> = named.map(|it| (it.address, it.bytes)).collect();
        addresses.sort_unstable();
        addresses.dedup_by_key(|it| it.0);
        let site = |(address, bytes)| entry(image, address, Limits::from_size(bytes), registers);
        addresses.into_iter().filter_map(site).collect()
    };
    let whole = |sites: Vec<Site>, why| {
        if sites.is_empty() {
            Err(why)
        } else {
            Ok(sites)
        }
    };
    let mut enters = Vec::new();
    for begin in SCOPES {
        let variant = name.contains(VARIANT);
        let ids = if variant { Register::R8 } else { Register::Rcx };
        let registers = [
            Register::Rdi,
            Register::Rsi,
            Register::Rdx,
            Register::Rcx,
            ids,
        ];
        let found = symbols.iter().filter(|it| is_function(it.name, begin));
        enters
            .extend(found.filter_map(|it| {
                entry(image, it.address, Limits::from_size(it.bytes), &registers)
            }));
    }
    enters.sort_unstable_by_key(|it| it.offset);
    enters.dedup();
    let submits = begun(SUBMIT)
        .and_then(|it| first(image, it.address))
        .into_iter()
        .collect::<Vec<_>>();
    let sends: Vec<Site> = symbols
        .named(SEND)
        .filter_map(|it| first(image, it.address))
        .collect();
    let (submits, sends, problems) = if submits.is_empty() || sends.is_empty() {
        let why =
            "calls over HTTP/2 are not told apart: the functions that send them are not found";
        (Vec::new(), Vec::new(), vec![Problem(why.to_owned())])
    } else {
        (submits, sends, Vec::new())
    };
    let scavenge = symbols.named(SCAVENGE);
    let scavenged: Vec<Site> = scavenge.filter_map(|it| first(image, it.address)).collect();
    let tables = Symbols::data(image, |name| ONE_SHOT.map(str::as_bytes).contains(&name));
    let mut one_shot: Vec<u64> = tables.iter().map(|it| it.address + TABLE_HEAD).collect();
    one_shot.dedup();
    let named = |name: &&str| symbols.named(name).next();
    let collect = [COMPACT].iter().chain(&MINOR).filter_map(named);
    let compacted: Vec<Site> = collect.filter_map(|it| first(image, it.address)).collect();
    let offset = image
        .offset(scope)
        .ok_or("InternalCallbackScope has no code")?;
    Ok(Node {
        ids: hooks.checked_add(ids).ok_or("offsets are too large")?,
        function_context,
        undefined,
        one_shot,
        bias: scope.wrapping_sub(offset),
        variant: name.contains(VARIANT),
        wrap_ids,
        enters: whole(enters, "InternalCallbackScope is not found")?,
        enters_wrap: whole(
            all(&WRAP_SCOPES, &[Register::Rdi, Register::Rsi]),
            "InternalCallbackScope is not found",
        )?,
        leaves: whole(
            all(&[CLOSE], &[]),
            "InternalCallbackScope::Close is not found",
        )?,
        drained: whole(
            all(&COMPLETED, &[]),
            "MicrotaskQueue::OnCompleted is not found",
        )?,
        asked,
        then,
        reacts,
        scavenged: whole(scavenged, "Heap::Scavenge is not found")?,
        compacted: whole(compacted, "Heap::MarkCompact is not found")?,
        submits,
        sends,
        problems,
    })
}

/// Offset of `async_hooks` in `Environment`.
fn hooks(code: impl Iterator<Item = Instruction>, is_push: impl Fn(u64) -> bool) -> Option<u32> {
    let mut argument = None;
    for it in code {
        match it.code() {
            Code::Lea_r64_m if it.op0_register() == Name::RDI => {
                let plain = it.memory_index() == Name::None
                    && ![Name::RIP, Name::RSP, Name::RBP].contains(&it.memory_base());
                argument = plain.then(|| it.memory_displacement64());
            }
            Code::Add_rm64_imm32 if it.op0_register() == Name::RDI => {
                argument = Some(it.immediate(1));
            }
            _ if it.flow_control() == FlowControl::Call => {
                if is_push(it.near_branch_target()) {
                    return u32::try_from(argument?).ok();
                }
                argument = None;
            }
            _ => {}
        }
    }
    None
}

/// Offset in `AsyncHooks` of the pointer to the ids: two `double`s are read there.
fn ids(code: impl Iterator<Item = Instruction>) -> Option<u32> {
    // Which field of `this` a register was loaded from, and fields through which the first of the two was read.
    let mut loaded: Vec<(Name, u64)> = Vec::new();
    let mut begun: Vec<u64> = Vec::new();
    let mut this = vec![Name::RDI];
    for it in code {
        let base = it.memory_base();
        let is_field = it.op1_kind() == OpKind::Memory && it.memory_index() == Name::None;
        let displacement = it.memory_displacement64();
        let reads_double = matches!(
            it.mnemonic(),
            Mnemonic::Movsd
                | Mnemonic::Movq
                | Mnemonic::Movhpd
                | Mnemonic::Movups
                | Mnemonic::Movupd
        );
        if reads_double && is_field {
            let whole = matches!(it.mnemonic(), Mnemonic::Movups | Mnemonic::Movupd);
            if let Some(&(_, field)) = loaded.iter().find(|entry| entry.0 == base) {
                if displacement == 0 && whole || displacement == 8 && begun.contains(&field) {
                    return u32::try_from(field).ok();
                }
                if displacement == 0 {
                    begun.push(field);
                }
            }
            continue;
        }
        let moves = matches!(it.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64);
        if moves && it.op0_kind() == OpKind::Register {
            let to = it.op0_register();
            loaded.retain(|entry| entry.0 != to);
            if is_field && this.contains(&base) {
                loaded.push((to, displacement));
            } else if it.op1_kind() == OpKind::Register && this.contains(&it.op1_register()) {
                this.push(to);
            }
        }
    }
    None
}

/// Offset of two `double`s side by side in what a register leads to.
fn pair(code: impl Iterator<Item = Instruction>, register: Name) -> Option<u32> {
    let mut this = vec![register];
    let mut first = None;
    for it in code {
        let is_field = it.op1_kind() == OpKind::Memory && this.contains(&it.memory_base());
        let displacement = it.memory_displacement64();
        match it.mnemonic() {
            Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu if is_field => {
                return u32::try_from(displacement).ok();
            }
            Mnemonic::Movsd if is_field => match first {
                Some(first) if displacement == first + 8 => return u32::try_from(first).ok(),
                _ => first = Some(displacement),
            },
            Mnemonic::Mov if it.op0_kind() == OpKind::Register => {
                let to = it.op0_register();
                let copies = it.op1_kind() == OpKind::Register && this.contains(&it.op1_register());
                this.retain(|name| *name != to);
                if copies {
                    this.push(to);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where `undefined` stands: a handler is compared with it first.
fn undefined(code: impl Iterator<Item = Instruction>) -> Option<u32> {
    let compares = |it: &Instruction| {
        it.mnemonic() == Mnemonic::Cmp
            && it.memory_base() == Name::R13
            && [it.op0_register(), it.op1_register()].contains(&Name::RBX)
    };
    let found = code.take(12).find(compares)?;
    u32::try_from(found.memory_displacement64()).ok()
}

/// Where a function's context stands.
fn function_context(code: impl Iterator<Item = Instruction>) -> Option<u32> {
    let loads = |it: &Instruction| {
        it.code() == Code::Mov_r64_rm64
            && it.op0_register() == Name::RSI
            && it.op1_kind() == OpKind::Memory
            && it.memory_base() == Name::RDI
    };
    let found = code.take(12).find(loads)?;
    u32::try_from(found.memory_displacement64()).ok()
}

/// Whether what waits stands in the extension of its closure's context.
fn reads_generator(code: impl Iterator<Item = Instruction>) -> bool {
    code.take_while(|it| it.flow_control() != FlowControl::Call)
        .any(|it| {
            it.code() == Code::Mov_r64_rm64
                && it.op1_kind() == OpKind::Memory
                && it.memory_base() == Name::RSI
                && it.memory_displacement64() == EXTENSION
        })
}

/// All instructions that return.
fn returns(image: &Image<'_>, code: impl Iterator<Item = Instruction>) -> Option<Vec<Site>> {
    let returns = code.filter(|it| it.flow_control() == FlowControl::Return);
    let sites: Option<Vec<_>> = returns.map(|it| site(image, &it)).collect();
    sites.filter(|sites| !sites.is_empty())
}

/// The cheapest place near the function's beginning where these registers are still as they were.
fn entry(image: &Image<'_>, address: u64, limits: Limits, registers: &[Register]) -> Option<Site> {
    let chosen = sites(image, address, limits, registers);
    let chosen = chosen.filter(|it| it.arguments == registers);
    chosen.map(|it| it.entry).or_else(|| first(image, address))
}

/// A function's first instruction.
fn first(image: &Image<'_>, address: u64) -> Option<Site> {
    site(image, &instructions(image, address, MAX_BYTES).next()?)
}

fn site(image: &Image<'_>, at: &Instruction) -> Option<Site> {
    let bytes = image.code(at.ip())?.get(..at.len())?;
    Some(Site {
        offset: image.offset(at.ip())?,
        class: class(bytes),
    })
}
