//! Programs that do nothing, at the hooks that weft uses: what remains is the cost of the hook and of the kernel's statistics.

use anyhow::{Context as _, Result};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

const TRACEPOINTS: [&str; 2] = ["sock_send_length", "sock_recv_length"];

/// `r0 = 0; exit`
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Detached when dropped.
pub(crate) struct EmptyPrograms(#[expect(dead_code, reason = "keeps the programs attached")] Ebpf);

// === impl EmptyPrograms ===

impl EmptyPrograms {
    pub(crate) fn attach() -> Result<Self> {
        let mut loaded = Ebpf::load(&object_file()?).context("cannot load an empty program")?;
        let btf = Btf::from_sys_fs()?;
        for tracepoint in TRACEPOINTS {
            let program: &mut BtfTracePoint = loaded
                .program_mut(tracepoint)
                .context("no such program")?
                .try_into()?;
            program
                .load(tracepoint, &btf)
                .and_then(|()| program.attach())
                .with_context(|| format!("cannot attach an empty program to {tracepoint}"))?;
        }
        Ok(Self(loaded))
    }
}

fn object_file() -> Result<Vec<u8>> {
    let endianness = if cfg!(target_endian = "little") {
        Endianness::Little
    } else {
        Endianness::Big
    };
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    for tracepoint in TRACEPOINTS {
        let name = format!("tp_btf/{tracepoint}");
        let section = object.add_section(Vec::new(), name.into_bytes(), SectionKind::Text);
        object.append_section_data(section, &NOTHING, 8);
        object.add_symbol(Symbol {
            name: tracepoint.into(),
            value: 0,
            size: NOTHING.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    Ok(object.write()?)
}
