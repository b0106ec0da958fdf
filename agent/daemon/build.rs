//! Builds the kernel programs for the BPF target and leaves the object in `OUT_DIR/weft-probes`.
//!
//! The tool chain is what `cargo xtask build` has put into the cache directory; nothing is
//! downloaded here.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use aya_build::{Package, Toolchain};
use object::build::elf::{Builder, SectionData};
use object::elf;

const PROBES: &str = "weft-probes";
/// Tells the second run of this program, which has the environment aya-build needs, from the first.
const INNER: &str = "WEFT_BUILD_INNER";
const SKIP: &str = "WEFT_SKIP_EBPF";

fn main() -> ExitCode {
    let inner = env::var_os(INNER).is_some();
    let built = if inner { build_with_aya() } else { build() };
    let Err(error) = built else {
        return ExitCode::SUCCESS;
    };
    println!("cargo::error={error}");
    // `cargo::error` ends the build; a failed script would only add pages of its own output.
    if inner {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    println!("cargo::rerun-if-changed=../../ebpf");
    for name in [SKIP, "WEFT_CACHE", "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os(SKIP).is_some_and(|value| value == "1") {
        fs::write(Path::new(&variable("OUT_DIR")?).join(PROBES), [])?;
        return Ok(());
    }

    let tools = BpfTools::find()?;
    // A process's environment is safely set only at its birth.
    let status = Command::new(env::current_exe()?)
        .env(INNER, "1")
        .env("PATH", tools.search_path()?)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &tools.library)
        .env("CARGO_TERM_QUIET", "true")
        // What the profile asks for the agent's sake.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the kernel programs (ebpf/probes) did not build".into())
    }
}

fn build_with_aya() -> Result<(), Box<dyn Error>> {
    let probes = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../ebpf/probes");
    let root_dir = probes.to_str().ok_or("the project's path is not UTF-8")?;
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    let package = Package {
        name: PROBES,
        root_dir,
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .map_err(|error| format!("{error:#}").replace('\n', " "))?;
    drop_debug_sections(&Path::new(&variable("OUT_DIR")?).join(PROBES))
}

/// The object carries BTF for the kernel; DWARF, from which that was made, is most of its size and nobody's.
fn drop_debug_sections(path: &Path) -> Result<(), Box<dyn Error>> {
    let whole = fs::read(path)?;
    let mut object = Builder::read(whole.as_slice())?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = [&b".debug_"[..], b".rel.debug_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    }
    object.delete_orphans();
    // The linker keeps the names of sections with those of symbols; here they stand apart.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut small = Vec::with_capacity(whole.len());
    object.write(&mut small)?;
    Ok(fs::write(path, small)?)
}

struct BpfTools {
    /// Sources of `core`.
    library: PathBuf,
    /// Directory of bpf-linker.
    bin: PathBuf,
}

impl BpfTools {
    /// The layout is that of `xtask/src/toolchain`.
    fn find() -> Result<Self, Box<dyn Error>> {
        let rustc = variable("RUSTC")?;
        let version = output(Command::new(&rustc).arg("-vV"))?;
        let release = version
            .lines()
            .find_map(|line| line.strip_prefix("release: "))
            .ok_or("rustc does not tell its release")?;
        let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let cached = cache_directory()?
            .join("toolchain")
            .join(format!("rustc-{release}"));

        let own = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
        let library = [own, cached.join("library")]
            .into_iter()
            .find(|library| library.join("core/src/lib.rs").exists());
        let bin = cached.join("bin");
        let linker = bin.join("bpf-linker");
        println!("cargo::rerun-if-changed={}", linker.display());
        match library {
            Some(library) if linker.exists() => Ok(Self { library, bin }),
            _ => Err(format!(
                "the eBPF tool chain for rustc {release} is not set up: run `cargo xtask build`"
            )
            .into()),
        }
    }

    fn search_path(&self) -> Result<OsString, Box<dyn Error>> {
        let path = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(
            [self.bin.clone()]
                .into_iter()
                .chain(env::split_paths(&path)),
        )?)
    }
}

fn cache_directory() -> Result<PathBuf, Box<dyn Error>> {
    let named = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named("WEFT_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|base| base.join("weft")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/weft")))
        .ok_or_else(|| "none of WEFT_CACHE, XDG_CACHE_HOME and HOME is set".into())
}

fn variable(name: &str) -> Result<OsString, Box<dyn Error>> {
    env::var_os(name)
        .ok_or_else(|| format!("{name} is not set: this program is run by cargo").into())
}

fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
