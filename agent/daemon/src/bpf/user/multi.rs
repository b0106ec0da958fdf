//! Links of the kind `uprobe_multi` (Linux 6.6): one holds all the places of a file at which one program runs, and
//! they come and go together. To take probes out, the kernel waits until calls under way have passed them, a hundred
//! milliseconds on some versions: for each probe that is a perf event, one after the other; for each link here,
//! and for links of several threads at the same time.
//!
//! aya 0.14 knows neither the link nor the attach type that its programs are loaded with, so both are asked of
//! the kernel directly.

use std::{
    ffi::{CStr, c_long},
    fs, io,
    mem::{size_of, zeroed},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    thread,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
    programs::{ProbeKind, ProgramError},
};
use aya_obj::{
    Object, VerifierLog,
    generated::{
        BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type::BPF_TRACE_UPROBE_MULTI, bpf_attr, bpf_cmd,
        bpf_prog_type::BPF_PROG_TYPE_KPROBE,
    },
};

use super::Place;

const LOG_BYTES: usize = 16 << 20;
/// Statistics, and the way through the program.
const LOG_LEVEL: u32 = 4 | 1;
/// So many links are taken out at the same time.
const THREADS: usize = 32;

/// Programs of the kernel object, to be loaded for such links.
pub(super) struct Loader {
    object: Object,
    btf: OwnedFd,
}

/// Probes of one program in one file, until it is dropped.
pub(super) struct Link(#[expect(dead_code, reason = "closed when dropped")] OwnedFd);

// === impl Loader ===

impl Loader {
    /// `ebpf` is the same object, loaded: it has the maps, and no one has taken any of them yet.
    pub(super) fn new(bytes: &[u8], ebpf: &Ebpf, names: &[&str]) -> Result<Self, ProgramError> {
        let refused = |message: String| ProgramError::IOError(io::Error::other(message));
        let mut object = Object::parse(bytes).map_err(|error| refused(error.to_string()))?;
        let btf = type_information(&mut object)?;
        object
            .programs
            .retain(|name, _| names.contains(&name.as_str()));
        let maps = object.maps.iter().map(|(name, map)| {
            let loaded = ebpf.map(name).and_then(data);
            let loaded = loaded.ok_or_else(|| refused(format!("no map `{name}`")))?;
            Ok((name.clone(), loaded.fd().as_fd().as_raw_fd(), map.clone()))
        });
        let maps: Vec<_> = maps.collect::<Result<_, ProgramError>>()?;
        let text = object.functions.keys().map(|(section, _)| *section);
        let text = text.collect();
        object
            .relocate_maps(
                maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
                &text,
            )
            .and_then(|()| object.relocate_calls(&text))
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { object, btf })
    }

    pub(super) fn load(&self, name: &str) -> Result<OwnedFd, ProgramError> {
        let program = self.object.programs.get(name);
        let program = program.ok_or(ProgramError::NotLoaded)?;
        let function = self.object.functions.get(&program.function_key());
        let function = function.ok_or(ProgramError::NotLoaded)?;
        let types = function.func_info.func_info_bytes();
        let lines = function.line_info.line_info_bytes();
        // SAFETY: plain integers, for which all-zero bytes are valid.
        let mut attr: bpf_attr = unsafe { zeroed() };
        // SAFETY: the kernel reads this member for `BPF_PROG_LOAD`.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
        load.expected_attach_type = BPF_TRACE_UPROBE_MULTI as u32;
        load.insns = address(&function.instructions);
        load.insn_cnt = function.instructions.len() as u32;
        load.license = program.license.as_ptr() as u64;
        // The last byte stays 0.
        let room = load.prog_name.len() - 1;
        for (to, from) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        load.prog_btf_fd = self.btf.as_raw_fd().cast_unsigned();
        load.func_info = address(&types);
        load.func_info_cnt = function.func_info.len() as u32;
        load.func_info_rec_size = function.func_info_rec_size as u32;
        load.line_info = address(&lines);
        load.line_info_cnt = function.line_info.len() as u32;
        load.line_info_rec_size = function.line_info_rec_size as u32;
        if let Ok(program) = descriptor(bpf_cmd::BPF_PROG_LOAD, &attr) {
            return Ok(program);
        }
        let mut log = vec![0_u8; LOG_BYTES];
        // SAFETY: as above.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.log_level = LOG_LEVEL;
        load.log_size = LOG_BYTES as u32;
        load.log_buf = log.as_mut_ptr() as u64;
        descriptor(bpf_cmd::BPF_PROG_LOAD, &attr).map_err(|io_error| {
            let text = CStr::from_bytes_until_nul(&log).unwrap_or_default();
            ProgramError::LoadError {
                io_error,
                verifier_log: VerifierLog::new(text.to_string_lossy().into_owned()),
            }
        })
    }
}

// === impl Link ===

impl Link {
    /// All the places, or none. Places may repeat.
    pub(super) fn new(
        program: BorrowedFd<'_>,
        kind: ProbeKind,
        path: &CStr,
        places: &[&Place],
    ) -> io::Result<Self> {
        let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
        let cookies: Vec<u64> = places.iter().map(|place| place.site.cookie()).collect();
        let flags = match kind {
            ProbeKind::Entry => 0,
            ProbeKind::Return => BPF_F_UPROBE_MULTI_RETURN,
        };
        link(program, flags, path, &offsets, &cookies).map(Self)
    }

    /// Returns when no place has its probe any more.
    pub(super) fn take_out(links: Vec<Self>) {
        let mut shares: Vec<Vec<Self>> = Vec::new();
        shares.resize_with(links.len().min(THREADS), Vec::new);
        for (number, link) in links.into_iter().enumerate() {
            shares[number % THREADS].push(link);
        }
        let threads: Vec<_> = shares
            .into_iter()
            .filter_map(|share| {
                let thread = thread::Builder::new().name("weft-detach".to_owned());
                // Without a thread they have gone when this returns, too.
                thread.spawn(move || drop(share)).ok()
            })
            .collect();
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}

/// Whether this kernel has such links: as libbpf tries it, with a path at which there is no file.
///
/// # Errors
/// What it has instead.
pub(super) fn supported() -> io::Result<()> {
    const PROGRAM: [[u8; 8]; 2] = [
        // r0 = 0; exit
        [0xb7, 0, 0, 0, 0, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    // SAFETY: plain integers, for which all-zero bytes are valid.
    let mut attr: bpf_attr = unsafe { zeroed() };
    // SAFETY: the kernel reads this member for `BPF_PROG_LOAD`.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    load.insns = address(&PROGRAM);
    load.insn_cnt = PROGRAM.len() as u32;
    load.license = c"GPL".as_ptr() as u64;
    let program = descriptor(bpf_cmd::BPF_PROG_LOAD, &attr)?;
    match link(program.as_fd(), 0, c"/", &[0], &[0]) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a probe in a directory")),
    }
}

/// Puts a program into a map of programs.
pub(super) fn set(map: &MapData, index: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let program = program.as_raw_fd();
    // SAFETY: plain integers, for which all-zero bytes are valid.
    let mut attr: bpf_attr = unsafe { zeroed() };
    // SAFETY: the kernel reads this member for `BPF_MAP_UPDATE_ELEM`.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.fd().as_fd().as_raw_fd().cast_unsigned();
    update.key = &raw const index as u64;
    update.__bindgen_anon_1.value = &raw const program as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &attr).map(|_| ())
}

/// Instructions that the verifier has walked: Linux 5.16 says so.
pub(super) fn verified(program: BorrowedFd<'_>) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("verified_insns:")?.trim().parse().ok())
}

fn link(
    program: BorrowedFd<'_>,
    flags: u32,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    // SAFETY: plain integers, for which all-zero bytes are valid.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: the kernel reads this member for the attach type.
    let multi = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
    multi.path = path.as_ptr() as u64;
    multi.offsets = address(offsets);
    multi.cookies = address(cookies);
    multi.cnt = offsets.len() as u32;
    multi.flags = flags;
    descriptor(bpf_cmd::BPF_LINK_CREATE, &attr)
}

/// The object's types once more: to get those that are loaded, by their number, takes CAP_SYS_ADMIN.
fn type_information(object: &mut Object) -> Result<OwnedFd, ProgramError> {
    let refused = |message: &str| ProgramError::IOError(io::Error::other(message.to_owned()));
    let features = aya::features().btf();
    let features = features.ok_or_else(|| refused("the kernel takes no type information"))?;
    let types = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| refused(&error.to_string()))?;
    let bytes = types
        .ok_or_else(|| refused("an object without type information"))?
        .to_bytes();
    // SAFETY: plain integers, for which all-zero bytes are valid.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_7.btf = address(&bytes);
    attr.__bindgen_anon_7.btf_size = bytes.len() as u32;
    descriptor(bpf_cmd::BPF_BTF_LOAD, &attr).map_err(ProgramError::IOError)
}

/// `None`: a map of a kind that weft does not use.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::SockHash(data)
        | Map::Unsupported(data) => Some(data),
        _ => None,
    }
}

fn address<T>(values: &[T]) -> u64 {
    values.as_ptr() as u64
}

pub(super) fn descriptor(command: bpf_cmd, attr: &bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands give a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn bpf(command: bpf_cmd, attr: &bpf_attr) -> io::Result<c_long> {
    // SAFETY: what the attributes point to is borrowed by the callers until this returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<bpf_attr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
