//! CPython in a program or in its shared library, and the modules that bring tasks of their own: where a
//! thread's current context stands, and where contexts, greenlets and writes of uvloop begin and end.
//!
//! Offsets are read from the code of exported functions, whose versions 3.9 to 3.14 were looked at:
//!
//! ```text
//! PyContext_CopyCurrent            mov ctx, [tstate + context]; test ctx, ctx; je
//! PyGILState_GetThisThreadState    mov edi, [autoTSSkey._key]; jmp pthread_getspecific
//!                                  or lea rdi, [_PyRuntime + autoTSSkey]; .. PyThread_tss_get
//! ```

mod greenlet;
mod socket;
#[cfg(test)]
mod tests;
mod uvloop;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::Site;
use crate::code::{class, instructions};
use crate::elf::{Image, Symbols};

pub use greenlet::Greenlets;
pub use uvloop::Transports;

/// What a file brings of CPython. Addresses are the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Python {
    /// The interpreter.
    Interpreter(Contexts),
    /// The module `_socket`: where its sockets' `_accept` begins.
    Socket(Site),
    /// The module `greenlet._greenlet`.
    Greenlet(Greenlets),
    /// The module `uvloop.loop`.
    Uvloop(Transports),
}

/// How the contexts of an interpreter are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Offset of `context` in `PyThreadState`, bytes.
    pub context: u32,
    /// Address of the key (`pthread_key_t`) of the threads' states.
    pub thread_key: u64,
    /// Address of `PyContext_Type`.
    pub context_type: u64,
    /// By how much addresses of code are larger than its offsets in the file (wraps around).
    pub bias: u64,
    /// `PyContext_CopyCurrent`, whose return value is a new context.
    pub made: Site,
    /// `tp_dealloc` of `PyContext_Type`, whose first argument ends.
    pub freed: Site,
    /// As [`Python::Socket`], where the interpreter has that module built in.
    pub accepts: Option<Site>,
}

const COPY: &str = "PyContext_CopyCurrent";
const STATE: &str = "PyGILState_GetThisThreadState";
const CONTEXT_TYPE: &str = "PyContext_Type";
const RUNTIME: &str = "_PyRuntime";
/// Bytes of code that are looked at of each function.
const MAX_BYTES: u64 = 160;
/// Offsets in `PyThreadState` that `context` may have.
const FIELDS: std::ops::Range<u64> = 0x40..0x400;
/// `tp_dealloc` in `PyTypeObject`.
const DEALLOC: u64 = 48;
/// `pthread_key_t` in `Py_tss_t`.
const KEY: u64 = 4;

pub(crate) fn wants(name: &[u8]) -> bool {
    [COPY, STATE, socket::INIT, greenlet::INIT]
        .map(str::as_bytes)
        .contains(&name)
        || uvloop::wants(name)
}

/// `None`: nothing of it. The error is the reason for the user.
pub(crate) fn find(
    image: &Image<'_>,
    symbols: &Symbols<'_>,
) -> Option<Result<Python, &'static str>> {
    if symbols.named(COPY).next().is_some() {
        return Some(contexts(image, symbols).map(Python::Interpreter));
    }
    if symbols.named(socket::INIT).next().is_some() {
        return Some(Ok(Python::Socket(socket::accepts(image)?)));
    }
    if symbols.named(greenlet::INIT).next().is_some() {
        return Some(greenlet::find(image).map(Python::Greenlet));
    }
    Some(uvloop::find(image, symbols)?.map(Python::Uvloop))
}

fn contexts(image: &Image<'_>, symbols: &Symbols<'_>) -> Result<Contexts, &'static str> {
    let function = |name| symbols.named(name).next().map(|symbol| symbol.address);
    let copy = function(COPY).ok_or("PyContext_CopyCurrent is not found")?;
    let state = function(STATE).ok_or("PyGILState_GetThisThreadState is not found")?;
    let data = Symbols::data(image, |name| {
        [CONTEXT_TYPE, RUNTIME].map(str::as_bytes).contains(&name)
    });
    let datum = |name| data.named(name).next().map(|symbol| symbol.address);
    let context_type = datum(CONTEXT_TYPE).ok_or("PyContext_Type is not found")?;
    let code = |address| instructions(image, address, MAX_BYTES);
    let context = context(code(copy))
        .or_else(|| {
            let inner = code(copy).find(|it| it.flow_control() == FlowControl::Call)?;
            context(code(inner.near_branch_target()))
        })
        .ok_or("the code of PyContext_CopyCurrent has an unknown shape")?;
    let thread_key = thread_key(code(state), datum(RUNTIME))
        .ok_or("the code of PyGILState_GetThisThreadState has an unknown shape")?;
    let freed = pointer(image, context_type + DEALLOC)
        .and_then(|address| entry(image, address))
        .ok_or("what frees contexts is not found")?;
    let made = entry(image, copy).ok_or("PyContext_CopyCurrent has no code")?;
    Ok(Contexts {
        context,
        thread_key,
        context_type,
        bias: copy.wrapping_sub(made.offset),
        made,
        freed,
        accepts: socket::accepts(image),
    })
}

/// The field of the thread's state that is tested as soon as it is loaded.
fn context(code: impl Iterator<Item = Instruction>) -> Option<u32> {
    let mut loaded: Option<Instruction> = None;
    for it in code {
        if let Some(load) = loaded
            && it.mnemonic() == Mnemonic::Test
            && it.op0_register() == load.op0_register()
            && it.op1_register() == load.op0_register()
        {
            return u32::try_from(load.memory_displacement64()).ok();
        }
        let is_field = it.code() == Code::Mov_r64_rm64
            && it.op1_kind() == OpKind::Memory
            && ![Register::RIP, Register::RSP, Register::None].contains(&it.memory_base())
            && it.memory_index() == Register::None
            && FIELDS.contains(&it.memory_displacement64());
        loaded = is_field.then_some(it);
        if it.flow_control() == FlowControl::Return {
            return None;
        }
    }
    None
}

/// Address of the key that is handed on. `runtime`: what a pointer that is loaded leads to.
fn thread_key(code: impl Iterator<Item = Instruction>, runtime: Option<u64>) -> Option<u64> {
    let mut base = Register::None;
    for it in code {
        match it.code() {
            Code::Mov_r32_rm32 if it.is_ip_rel_memory_operand() => {
                return Some(it.ip_rel_memory_address());
            }
            Code::Lea_r64_m if it.is_ip_rel_memory_operand() => {
                return it.ip_rel_memory_address().checked_add(KEY);
            }
            Code::Mov_r64_rm64 if it.is_ip_rel_memory_operand() => base = it.op0_register(),
            Code::Lea_r64_m if base != Register::None && it.memory_base() == base => {
                return runtime?
                    .checked_add(it.memory_displacement64())?
                    .checked_add(KEY);
            }
            Code::Add_rm64_imm32 | Code::Add_RAX_imm32
                if base != Register::None && it.op0_register() == base =>
            {
                return runtime?.checked_add(it.immediate(1))?.checked_add(KEY);
            }
            _ => {}
        }
        if it.flow_control() == FlowControl::Return {
            return None;
        }
    }
    None
}

/// The pointer to code that stands at this address once the file is loaded.
fn pointer(image: &Image<'_>, at: u64) -> Option<u64> {
    let relocated = image.relative().find(|it| it.at == at).map(|it| it.value);
    let stored = || {
        let bytes = image.data(at)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let pointer = relocated.or_else(stored)?;
    image.code(pointer).map(|_| pointer)
}

/// A function's first instruction.
fn entry(image: &Image<'_>, address: u64) -> Option<Site> {
    let first = instructions(image, address, MAX_BYTES).next()?;
    let bytes = image.code(address)?.get(..first.len())?;
    Some(Site {
        offset: image.offset(address)?,
        class: class(bytes),
    })
}
