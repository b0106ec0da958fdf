//! Probes on instructions of user programs: one for each file and place, whatever the number of
//! processes that run it.

use std::{fs::File, io, os::fd::AsRawFd as _};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, ProgramArray},
    programs::{
        ProbeKind, ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use weft_abi::{Runtime, Site};

/// The kernel program that runs at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Enter,
    Leave,
    /// On a function's first instruction; runs when the function returns.
    Return,
    /// A dynamic loader has mapped libraries.
    Mapped,
    /// A goroutine was made.
    GoCreated,
    /// A goroutine gives work away.
    GoGives,
    /// A goroutine takes it.
    GoTakes,
    /// A goroutine begins to serve a connection.
    GoPlumbing,
    /// A goroutine begins to serve a stream.
    GoServes,
    /// A goroutine has read a request on a stream.
    GoReads,
    /// A goroutine queues a request.
    GoQueues,
    /// A goroutine sends it.
    GoSends,
    /// CPython: a function returns a new context or greenlet.
    PyMade,
    /// One is no more.
    PyFreed,
    /// CPython: `socket._accept` returns.
    PyAccepted,
    /// uvloop: a transport begins to call its protocol with what was read.
    UvloopReads,
    /// The same for the first time, of a new connection.
    UvloopConnected,
    /// It has called it.
    UvloopCalled,
    /// A transport is given bytes.
    UvloopWrites,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) hook: Hook,
    /// Offset in the file, bytes.
    pub(crate) offset: u64,
    pub(crate) site: Site,
}

/// Probes in the kernel, until it is dropped.
pub(crate) struct Attached {
    links: Vec<UProbeLink>,
}

const ENTER: &str = "tls_enter";
const LEAVE: &str = "tls_leave";
const MAPPED: &str = "libraries_mapped";
/// In the order of [`Hook`].
const RUNTIME: [(&str, ProbeKind); 15] = [
    ("go_created", ProbeKind::Entry),
    ("go_gives", ProbeKind::Entry),
    ("go_takes", ProbeKind::Entry),
    ("go_plumbing", ProbeKind::Entry),
    ("go_serves", ProbeKind::Entry),
    ("go_reads", ProbeKind::Entry),
    ("go_queues", ProbeKind::Entry),
    ("go_sends", ProbeKind::Entry),
    ("py_made", ProbeKind::Return),
    ("py_freed", ProbeKind::Entry),
    ("py_accepted", ProbeKind::Return),
    ("uvloop_reads", ProbeKind::Entry),
    ("uvloop_connected", ProbeKind::Entry),
    ("uvloop_called", ProbeKind::Return),
    ("uvloop_writes", ProbeKind::Entry),
];
const RUNTIMES: &str = "RUNTIMES";
/// Called by `LEAVE` through the map `NEXT`.
const DATA: &str = "tls_data";
const NEXT: &str = "TLS_DATA";

/// The programs for user code, apart from the others: another thread attaches them.
pub(crate) struct UserProbes {
    /// Emptied by the kernel when nobody holds it.
    _next: ProgramArray<MapData>,
    /// By [`Hook`].
    programs: Vec<UProbe>,
    runtimes: HashMap<MapData, u32, PodRuntime>,
}

/// [`Runtime`] as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodRuntime(Runtime);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodRuntime {}

// === impl Attached ===

impl Attached {
    /// How many probes it has.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }
}

// === impl UserProbes ===

impl UserProbes {
    /// Loads the programs; they are attached as libraries are found.
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, ProgramError> {
        let info = |ebpf: &mut Ebpf, name, load: bool| {
            let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
            let program: &mut UProbe = program.try_into()?;
            if load {
                program.load()?;
            }
            program.info()
        };
        let handle = |info, name: &'static str, kind| {
            // SAFETY: an entry probe and a return probe are the same to the kernel's verifier; only
            // the way of attaching differs.
            unsafe { UProbe::from_program_info(info, name.into(), kind) }
        };
        let data: &mut UProbe = ebpf
            .program_mut(DATA)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()?;
        data.load()?;
        let fd = data.fd()?.try_clone().map_err(ProgramError::IOError)?;
        let mut next = ebpf
            .take_map(NEXT)
            .ok_or(ProgramError::NotLoaded)
            .and_then(|map| Ok(ProgramArray::try_from(map)?))?;
        next.set(0, &fd, 0)?;
        let enter = info(ebpf, ENTER, true)?;
        let leave = info(ebpf, LEAVE, true)?;
        let again = info(ebpf, LEAVE, false)?;
        let mapped = info(ebpf, MAPPED, true)?;
        let mut programs = vec![
            handle(enter, ENTER, ProbeKind::Entry)?,
            handle(leave, LEAVE, ProbeKind::Entry)?,
            handle(again, LEAVE, ProbeKind::Return)?,
            handle(mapped, MAPPED, ProbeKind::Entry)?,
        ];
        for (name, kind) in RUNTIME {
            programs.push(handle(info(ebpf, name, true)?, name, kind)?);
        }
        let runtimes = ebpf
            .take_map(RUNTIMES)
            .ok_or(ProgramError::NotLoaded)
            .and_then(|map| Ok(HashMap::try_from(map)?))?;
        Ok(Self {
            _next: next,
            programs,
            runtimes,
        })
    }

    /// Tells the kernel programs what a process runs: until it ends or runs something else.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn know(&mut self, tgid: u32, runtime: Runtime) -> io::Result<()> {
        let put = self.runtimes.insert(tgid, PodRuntime(runtime), 0);
        put.map_err(io::Error::other)
    }

    pub(crate) fn forget(&mut self, tgid: u32) {
        let _absent = self.runtimes.remove(&tgid);
    }

    /// Puts probes on all the places of a file, or on none.
    ///
    /// # Errors
    /// What the kernel said: the file system may not allow it, or the file may be gone.
    pub(crate) fn attach(&mut self, file: &File, places: &[Place]) -> io::Result<Attached> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut links = Vec::with_capacity(places.len());
        for place in places {
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(place.offset),
                cookie: Some(place.site.cookie()),
            };
            let program = &mut self.programs[place.hook as usize];
            let attached = program
                .attach(point, &path, UProbeScope::AllProcesses)
                .and_then(|id| program.take_link(id));
            links.push(attached.map_err(io::Error::other)?);
        }
        Ok(Attached { links })
    }
}
