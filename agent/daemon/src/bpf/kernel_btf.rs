//! Reads `/sys/kernel/btf/vmlinux`: where a field stands in a structure of the running kernel, and
//! which functions it has. Format: `Documentation/bpf/btf.rst`.

use std::{fs, io, path::Path};

pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Type information of the running kernel.
pub(crate) struct KernelBtf {
    data: Vec<u8>,
    /// Offset in `data` of each type's descriptor, by type id; id 0 is `void`.
    types: Vec<usize>,
    strings: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    #[error("cannot read {VMLINUX}: {0} (the kernel needs CONFIG_DEBUG_INFO_BTF)")]
    Read(#[from] io::Error),
    #[error("malformed kernel BTF at byte {0}")]
    Malformed(usize),
}

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

const MAGIC: u16 = 0xeb9f;
const TYPE_SIZE: usize = 12;
/// Structures nested deeper than this are not followed.
const MAX_DEPTH: u32 = 8;

impl KernelBtf {
    pub(crate) fn of_running_kernel() -> Result<Self, BtfError> {
        Self::parse(fs::read(Path::new(VMLINUX))?)
    }

    fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let header = |at| word(&data, at);
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()[..]) {
            return Err(BtfError::Malformed(0));
        }
        let base = header(4)? as usize;
        let (type_at, type_len) = (base + header(8)? as usize, header(12)? as usize);
        let strings = base + header(16)? as usize;
        let mut types = vec![0];
        let mut at = type_at;
        while at < type_at + type_len {
            let info = word(&data, at + 4)?;
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            types.push(at);
            at += TYPE_SIZE
                + match kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * members,
                    kind::ENUM | kind::FUNC_PROTO => 8 * members,
                    _ => 0,
                };
        }
        Ok(Self {
            data,
            types,
            strings,
        })
    }

    /// Whether the kernel has this function (and could let it be traced).
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.find(kind::FUNC, name).is_some()
    }

    /// Whether the kernel has this tracepoint: its prototype is a typedef that BTF keeps.
    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))
            .is_some()
    }

    /// Id of the type of this kind and name. Looked for anew each time: a table of all names would
    /// cost more memory and time than the few dozen questions.
    fn find(&self, kind: u32, name: &str) -> Option<u32> {
        let found = self.types.iter().skip(1).position(|&at| {
            word(&self.data, at + 4).is_ok_and(|info| info >> 24 & 0x1f == kind)
                && self.name_is(at, name.as_bytes())
        })?;
        u32::try_from(found + 1).ok()
    }

    /// Byte offset of a field such as `__sk_common.skc_family` in `structure`; members of unnamed
    /// structures and unions are found as in C. `None`: this kernel has no such field.
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut current = self.find(kind::STRUCT, structure)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, member_type) = self.member(current, name.as_bytes(), MAX_DEPTH)?;
            bits += offset;
            current = member_type;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Bit offset and type of a member.
    fn member(&self, structure: u32, wanted: &[u8], depth: u32) -> Option<(u32, u32)> {
        let at = self.resolve(structure)?;
        let info = word(&self.data, at + 4).ok()?;
        if !matches!(info >> 24 & 0x1f, kind::STRUCT | kind::UNION) || depth == 0 {
            return None;
        }
        // With the kind flag set, the upper byte of an offset is a bit field's width.
        let mask = if info >> 31 == 1 {
            0x00ff_ffff
        } else {
            u32::MAX
        };
        for index in 0..(info & 0xffff) as usize {
            let member = at + TYPE_SIZE + 12 * index;
            let member_type = word(&self.data, member + 4).ok()?;
            let offset = word(&self.data, member + 8).ok()? & mask;
            if self.name_is(member, wanted) {
                return Some((offset, member_type));
            }
            if self.name_is(member, b"")
                && let Some((inner, found)) = self.member(member_type, wanted, depth - 1)
            {
                return Some((offset + inner, found));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<usize> {
        for _ in 0..16 {
            let at = *self.types.get(id as usize).filter(|_| id != 0)?;
            let info = word(&self.data, at + 4).ok()?;
            match info >> 24 & 0x1f {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = word(&self.data, at + 8).ok()?;
                }
                _ => return Some(at),
            }
        }
        None
    }

    fn name_is(&self, at: usize, wanted: &[u8]) -> bool {
        let Ok(offset) = word(&self.data, at) else {
            return false;
        };
        let start = self.strings + offset as usize;
        self.data.get(start..start + wanted.len()) == Some(wanted)
            && self.data.get(start + wanted.len()) == Some(&0)
    }
}

fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(BtfError::Malformed(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_kernel_has_what_we_know_of_it() {
        let Ok(btf) = KernelBtf::of_running_kernel() else {
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        assert_eq!(btf.offset("sock", "__sk_common.skc_family"), Some(16));
        assert!(
            btf.offset("sock", "__sk_common.skc_dport").is_some(),
            "inside an unnamed union"
        );
        assert!(btf.offset("task_struct", "comm").is_some());
        assert_eq!(btf.offset("sock", "no_such_field"), None);
        assert_eq!(btf.offset("no_such_struct", "x"), None);
        assert!(btf.has_function("tcp_sendmsg"));
        assert!(!btf.has_function("no_such_function"));
        assert!(btf.has_tracepoint("sched_process_fork"));
    }

    #[test]
    fn malformed_bytes_are_an_error() {
        assert!(KernelBtf::parse(Vec::new()).is_err());
        assert!(KernelBtf::parse(vec![0; 64]).is_err());
        let mut cut = MAGIC.to_ne_bytes().to_vec();
        cut.extend_from_slice(&[1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        assert!(KernelBtf::parse(cut).is_err());
    }
}
