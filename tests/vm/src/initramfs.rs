//! The guest's whole file system: busybox, weft, the requests to make and what serves them.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;
use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::matrix::Door;
use crate::smoke;

const INIT: &str = include_str!("init.sh");

/// A gzipped cpio archive.
pub(crate) fn build(busybox: &Path, weft: &Path) -> Result<Vec<u8>> {
    let busybox = fs::read(busybox).with_context(|| busybox.display().to_string())?;
    let program = fs::read(weft).with_context(|| {
        format!(
            "no weft at {}: run `cargo xtask build --release`",
            weft.display()
        )
    })?;
    if wants_loader(&program) {
        bail!(
            "{} is not self-contained: build it by `cargo xtask build --release`",
            weft.display()
        );
    }

    let mut tree = Tree::new();
    for directory in ["bin", "smoke", "smoke/www", "smoke/www/item"] {
        tree.directory(directory)?;
    }
    tree.program("init", INIT.as_bytes())?;
    tree.program("bin/busybox", &busybox)?;
    tree.program("bin/weft", &program)?;
    let doors = Door::ALL.map(|door| format!("{door}\n")).concat();
    tree.file("smoke/doors", doors.as_bytes())?;
    tree.file("smoke/requests", smoke::request_list().as_bytes())?;
    for file in smoke::served_files() {
        tree.file(&format!("smoke/www/{file}"), b"thread\n")?;
    }
    tree.finish()
}

struct Tree {
    archive: GzEncoder<Vec<u8>>,
    inodes: u32,
}

// === impl Tree ===

impl Tree {
    fn new() -> Self {
        Self {
            archive: GzEncoder::new(Vec::new(), Compression::fast()),
            inodes: 0,
        }
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        self.add(path, ModeFileType::Directory, 0o755, &[])
    }

    fn program(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.add(path, ModeFileType::Regular, 0o755, content)
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.add(path, ModeFileType::Regular, 0o644, content)
    }

    fn add(
        &mut self,
        path: &str,
        file_type: ModeFileType,
        mode: u32,
        content: &[u8],
    ) -> Result<()> {
        self.inodes += 1;
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large"))?;
        let mut writer = Builder::new(path)
            .ino(self.inodes)
            .mode(mode)
            .set_mode_file_type(file_type)
            .write(&mut self.archive, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        trailer(&mut self.archive)?;
        Ok(self.archive.finish()?)
    }
}

/// The guest has no C library.
fn wants_loader(program: &[u8]) -> bool {
    let Ok(header) = FileHeader64::<Endianness>::parse(program) else {
        return false;
    };
    let Ok(endian) = header.endian() else {
        return false;
    };
    header
        .program_headers(endian, program)
        .is_ok_and(|segments| {
            segments
                .iter()
                .any(|segment| segment.p_type(endian) == PT_INTERP)
        })
}
