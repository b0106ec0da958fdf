//! Loads the programs that this kernel can run, and attaches them.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    process,
};

use aya::{
    Btf, BtfError as AyaBtfError, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};
use aya_log::EbpfLogger;
use weft_abi::{Counter, TlsProbes};

use super::{
    control::{PodConnectionHint, PodControl},
    door::{self, Door, Watching},
    inject::Injection,
    kernel_btf::{BtfError, KernelBtf},
    offsets::{FIELDS, Need},
    ring::Ring,
    user::{UserProbes, Way},
};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weft-probes"));

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Tries only this door.
    pub(crate) door: Option<Door>,
    /// Tries only this way for probes in user programs.
    pub(crate) way: Option<Way>,
    /// Size of the ring buffer, bytes; a power of two.
    pub(crate) ring_bytes: u32,
    /// Trace contexts may be written.
    pub(crate) writes: bool,
}

/// Maps that only the writing of trace contexts needs: the kernel makes all their elements at once.
const OF_WRITING: [&str; 5] = ["SERVES", "WORKERS", "WORK", "DESTINATIONS", "SOCKETS"];

/// The attached programs and their maps. Dropping it, or the process's end, detaches all.
pub(crate) struct Probes {
    pub(crate) ring: Ring,
    pub(super) control: Array<MapData, PodControl>,
    pub(super) current: weft_abi::Control,
    pub(super) processes: HashMap<MapData, u32, u32>,
    pub(super) cgroups: HashMap<MapData, u64, u32>,
    pub(super) ports: HashMap<MapData, u16, u32>,
    pub(super) hints: HashMap<MapData, u64, PodConnectionHint>,
    counters: PerCpuArray<MapData, u64>,
    pub(super) door: Door,
    /// The door has this function, too.
    pub(super) sendpage: bool,
    /// Of the programs that see sockets. Empty: nobody is traced.
    pub(super) watching: Vec<Watching>,
    /// What is off on this kernel, and why.
    limits: Vec<String>,
    /// `None`: off on this kernel.
    user: Option<UserProbes>,
    /// Of the programs for user code, which leave with it.
    user_verified: Vec<(String, u32)>,
    /// `None`: nothing is written.
    pub(super) injection: Option<Injection>,
    pub(super) has_loop: bool,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    pub(super) ebpf: Ebpf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    KernelBtf(#[from] BtfError),
    #[error("the kernel's BTF cannot be used: {0}")]
    Btf(#[from] AyaBtfError),
    #[error("this kernel has no field {0}, which weft cannot do without")]
    MissingField(String),
    #[error(
        "not permitted to load BPF programs: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
    )]
    Privileges,
    #[error("the kernel does not let socket calls be seen: {0}")]
    NoDoor(String),
    #[error("program `{program}`: {message}")]
    Program { program: String, message: String },
    #[error("the kernel object cannot be loaded: {0}")]
    Object(#[from] EbpfError),
    #[error("map `{map}`: {source}")]
    Map { map: &'static str, source: MapError },
    #[error("the kernel object has no map `{0}`")]
    NoMap(&'static str),
    #[error("the ring buffer: {0}")]
    Ring(#[from] io::Error),
}

impl Probes {
    /// Loads and attaches everything. Nothing is selected yet: see [`Probes::select`].
    ///
    /// # Errors
    /// What the kernel or the privileges do not allow, named.
    pub(crate) fn load(options: Options) -> Result<Self, Error> {
        let probes = Self::attached(options);
        // The kernel's type information was some hundred thousand pieces of memory.
        // SAFETY: nothing is handed over.
        unsafe { libc::malloc_trim(0) };
        probes
    }

    fn attached(options: Options) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() && !has_bpf_privilege() {
            return Err(Error::Privileges);
        }
        let kernel = KernelBtf::of_running_kernel()?;
        let btf = Btf::from_sys_fs()?;
        let mut limits = Vec::new();
        let offsets = offsets(&kernel, &mut limits)?;
        let own = process::id();
        let wake_bytes = u64::from(options.ring_bytes / 4);
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&btf));
        for (name, offset) in &offsets {
            loader.override_global(name, offset, true);
        }
        let has_loop = u32::from(
            is_helper_supported(ProgramType::TracePoint, BpfHelper::BPF_FUNC_loop).unwrap_or(false),
        );
        loader.override_global("HAS_LOOP", &has_loop, true);
        loader.override_global("OWN_TGID", &own, true);
        loader.override_global("WAKE_BYTES", &wake_bytes, true);
        loader.map_max_entries("RECORDS", options.ring_bytes);
        if !options.writes {
            for map in OF_WRITING {
                loader.map_max_entries(map, 1);
            }
        }
        // Task storage: only the kernel programs use it.
        loader.allow_unsupported_maps();
        let mut ebpf = loader.load(OBJECT)?;
        let (door, sendpage, watching) = door::open(&mut ebpf, &kernel, &btf, options.door)?;
        door::watch_processes(&mut ebpf, &btf)?;
        let way = options.way.unwrap_or_else(Way::best);
        let user = match UserProbes::load(&mut ebpf, OBJECT, way) {
            Ok(user) => Some(user),
            Err(error) => {
                let error = program_error("tls", &error);
                limits.push(format!("plaintext of TLS: {error}"));
                None
            }
        };
        let log = match EbpfLogger::init(&mut ebpf) {
            Ok(log) => Some(log),
            Err(error) => {
                limits.push(format!("warnings of the kernel programs: {error}"));
                None
            }
        };
        let Some(Map::RingBuf(records)) = ebpf.take_map("RECORDS") else {
            return Err(Error::NoMap("RECORDS"));
        };
        Ok(Self {
            ring: Ring::new(records)?,
            control: take(&mut ebpf, "CONTROL")?,
            current: weft_abi::Control {
                sample_below: 1 << 32,
                tls: if user.is_some() {
                    TlsProbes::ANY | TlsProbes::GO
                } else {
                    0
                },
                ..weft_abi::Control::default()
            },
            processes: take(&mut ebpf, "PROCESSES")?,
            cgroups: take(&mut ebpf, "CGROUPS")?,
            ports: take(&mut ebpf, "PORTS")?,
            hints: take(&mut ebpf, "HINTS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            door,
            sendpage,
            watching,
            limits,
            user_verified: user.as_ref().map_or_else(Vec::new, UserProbes::verified),
            user,
            injection: None,
            has_loop: has_loop != 0,
            log,
            ebpf,
        })
    }

    pub(crate) fn door(&self) -> Door {
        self.door
    }

    /// The programs for user code, for who attaches them; once.
    pub(crate) fn take_user(&mut self) -> Option<UserProbes> {
        self.user.take()
    }

    pub(crate) fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Sums over all CPUs, in the order of [`Counter::ALL`].
    pub(crate) fn counters(&self) -> Vec<(Counter, u64)> {
        let sum = |&counter: &Counter| {
            let values = self.counters.get(&(counter as u32), 0);
            (counter, values.map_or(0, |values| values.iter().sum()))
        };
        Counter::ALL.iter().map(sum).collect()
    }

    /// Records that the ring had no room for.
    pub(crate) fn lost(&self) -> u64 {
        let values = self.counters.get(&(Counter::RecordsRingFull as u32), 0);
        values.map_or(0, |values| values.iter().sum())
    }

    /// Hooks that the kernel left out because one was already running on that CPU: its own count
    /// (`recursion_misses` of each program, Linux 5.12).
    pub(crate) fn missed(&self) -> u64 {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| recursion_misses(program))
            .sum()
    }

    /// Name and verified instructions of each loaded program.
    pub(crate) fn verified(&self) -> Vec<(String, u32)> {
        let mut rows: Vec<_> = self
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                Some((
                    name.to_owned(),
                    program.info().ok()?.verified_instruction_count()?,
                ))
            })
            .chain(self.user_verified.iter().cloned())
            .collect();
        rows.sort();
        rows
    }

    /// Hands the kernel programs' warnings to the log.
    pub(crate) fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }
}

fn has_bpf_privilege() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| {
        sets.effective
            .contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
            || sets.effective.contains(CapabilitySet::SYS_ADMIN)
    })
}

fn recursion_misses(program: &aya::programs::Program) -> Option<u64> {
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

fn offsets(
    kernel: &KernelBtf,
    limits: &mut Vec<String>,
) -> Result<Vec<(&'static str, u32)>, Error> {
    let mut found = Vec::with_capacity(FIELDS.len());
    for field in FIELDS {
        match (field.offset(kernel), field.need) {
            (Some(offset), _) => found.push((field.global, offset)),
            (None, Need::Always) => return Err(Error::MissingField(field.name())),
            (None, Need::Switches(what)) => {
                limits.push(format!("{what}: this kernel has no {}", field.name()));
            }
        }
    }
    Ok(found)
}

/// How the lines begin that the verifier adds to its reason.
const STATISTICS: [&str; 3] = ["processed", "verification time", "stack depth"];

/// The verifier's whole log goes to the debug log, its last lines into the error.
pub(super) fn program_error(name: &str, error: &ProgramError) -> Error {
    let message = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let text = verifier_log.to_string();
            log::debug!("{name}: verifier log:\n{text}");
            let last: Vec<_> = text
                .lines()
                .rev()
                .filter(|line| !STATISTICS.iter().any(|start| line.starts_with(start)))
                .take(2)
                .collect();
            format!(
                "{io_error} {}",
                last.into_iter().rev().collect::<Vec<_>>().join(" / ")
            )
        }
        ProgramError::SyscallError(call) => format!("{}: {}", call.call, call.io_error),
        other => other.to_string(),
    };
    Error::Program {
        program: name.to_owned(),
        message,
    }
}

pub(super) fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or(Error::NoMap(name))?;
    M::try_from(map).map_err(|source| Error::Map { map: name, source })
}
