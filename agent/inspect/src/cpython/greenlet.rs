//! greenlet 2 and later: a thread-local pointer leads to the thread's current greenlet.

use iced_x86::{Code, Instruction, OpKind, Register};
use object::LittleEndian;
use object::elf::{R_X86_64_DTPMOD64, Rela64, SHT_RELA};
use object::read::elf::{SectionHeader as _, SectionTable};

use super::{DEALLOC, entry, pointer};
use crate::Site;
use crate::code::instructions;
use crate::elf::{Image, Symbols};

/// How greenlets are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greenlets {
    /// Address of the word in which the dynamic linker puts the number of the module's thread-local storage.
    pub module: u64,
    /// Where in that storage the pointer to `ThreadState` stands, bytes.
    pub state: u64,
    /// As of [`Contexts`](super::Contexts).
    pub bias: u64,
    /// `tp_new` of `PyGreenlet_Type`, whose return value is a new greenlet.
    pub made: Site,
    /// `tp_dealloc`, whose first argument ends.
    pub freed: Site,
}

pub(super) const INIT: &str = "PyInit__greenlet";
const TYPE: &str = "PyGreenlet_Type";
/// `tp_new` in `PyTypeObject`.
const NEW: u64 = 312;
const MAX_BYTES: u64 = 512;
const MAX_RELOCATIONS: usize = 1 << 16;

pub(super) fn find(image: &Image<'_>) -> Result<Greenlets, &'static str> {
    let data = Symbols::data(image, |name| name == TYPE.as_bytes());
    let kind = data
        .named(TYPE)
        .next()
        .ok_or("PyGreenlet_Type is not found")?;
    let new = pointer(image, kind.address + NEW).ok_or("what makes greenlets is not found")?;
    let dealloc =
        pointer(image, kind.address + DEALLOC).ok_or("what frees greenlets is not found")?;
    let (module, state) = modules(image)
        .find_map(|module| {
            let code = instructions(image, new, MAX_BYTES);
            Some((module, state(image, code, module)?))
        })
        .ok_or("the code that makes greenlets has an unknown shape (greenlet before 2.0)")?;
    let site = |address| entry(image, address).ok_or("PyGreenlet_Type has no code");
    let made = site(new)?;
    Ok(Greenlets {
        module,
        state,
        bias: new.wrapping_sub(made.offset),
        made,
        freed: site(dealloc)?,
    })
}

/// Where numbers of thread-local storage are put.
fn modules(image: &Image<'_>) -> impl Iterator<Item = u64> {
    let sections = image.sections();
    let tables = sections.iter().flat_map(SectionTable::iter);
    let of = |section: &object::elf::SectionHeader64<LittleEndian>| {
        section
            .data_as_array::<Rela64<LittleEndian>, _>(LittleEndian, image.bytes())
            .unwrap_or_default()
    };
    let modules: Vec<u64> = tables
        .filter(|section| section.sh_type(LittleEndian) == SHT_RELA)
        .flat_map(of)
        .take(MAX_RELOCATIONS)
        .filter(|it| it.r_type(LittleEndian, false) == R_X86_64_DTPMOD64)
        .map(|it| it.r_offset.get(LittleEndian))
        .collect();
    modules.into_iter()
}

/// What says with 1 that there is none yet: it is set to that, or compared with it.
///
/// ```text
/// lea rdi, [module]; call __tls_get_addr; ..; mov qword [rax + place], 1
/// lea rdi, [module]; call __tls_get_addr; ..; mov state, [rax + place]; cmp state, 1
/// ```
pub(super) fn state(
    image: &Image<'_>,
    code: impl Iterator<Item = Instruction>,
    module: u64,
) -> Option<u64> {
    let mut asked = false;
    let mut loaded: Option<Instruction> = None;
    for it in code {
        let one = match it.code() {
            Code::Mov_rm64_imm32 => asked && is_variable(&it, 0),
            Code::Cmp_rm64_imm8 => {
                loaded.is_some_and(|load| it.op0_register() == load.op0_register())
            }
            _ => false,
        };
        if one && it.immediate(1) == 1 {
            let place = loaded
                .filter(|_| it.code() == Code::Cmp_rm64_imm8)
                .unwrap_or(it);
            let word = image.data(module.checked_add(8)?)?.first_chunk::<8>()?;
            return u64::from_le_bytes(*word).checked_add(place.memory_displacement64());
        }
        let lea = it.code() == Code::Lea_r64_m && it.is_ip_rel_memory_operand();
        asked |= lea && it.ip_rel_memory_address() == module;
        let is_load = asked && it.code() == Code::Mov_r64_rm64 && is_variable(&it, 1);
        loaded = is_load.then_some(it);
    }
    None
}

/// The operand stands behind the address that was asked for.
fn is_variable(it: &Instruction, operand: u32) -> bool {
    it.op_kind(operand) == OpKind::Memory
        && it.memory_base() == Register::RAX
        && it.memory_index() == Register::None
}
