//! Probes on instructions of user programs: one for each file and place, whatever the number of
//! processes that run it.

mod event;
mod multi;

use std::{
    ffi::{CStr, CString},
    fmt,
    fs::File,
    io, iter,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, ProgramArray},
    programs::{ProbeKind, ProgramError, UProbe},
};
use weft_abi::{Runtime, Site};

/// How probes come to their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One link for all places of a file at which the same program runs (Linux 6.6).
    Multi,
    /// A perf event for each place.
    PerfEvents,
}

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
    /// JVM: a thread wakes another one.
    JvmWakes,
    /// Tokio: a new task gets its id.
    TokioDrawn,
    /// Tokio: a message was sent through a channel.
    TokioSends,
    /// Node.js: a callback begins.
    NodeEnters,
    /// The same since Node.js 22.
    NodeEntersVariant,
    /// The same for a native object.
    NodeEntersWrap,
    /// It has returned.
    NodeLeaves,
    /// No reactions of promises are left.
    NodeDrained,
    /// Somebody asks for a reaction.
    NodeAsked,
    /// `then` has done so.
    NodeThen,
    /// A reaction begins.
    NodeReacts,
    /// Young objects have moved.
    NodeScavenged,
    /// All objects may have moved.
    NodeCompacted,
    /// A session of HTTP/2 is given a request.
    NodeSubmitting,
    /// It has been.
    NodeSubmitted,
    /// A session begins to send.
    NodeSending,
    /// It has sent.
    NodeSent,
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
#[must_use]
pub(crate) struct Attached {
    probes: usize,
    links: Links,
}

enum Links {
    Multi(Vec<multi::Link>),
    PerfEvents(Vec<event::Link>),
}

/// In the order of [`Hook`].
const HOOKS: [(&str, ProbeKind); 36] = [
    ("tls_enter", ProbeKind::Entry),
    ("tls_leave", ProbeKind::Entry),
    ("tls_leave", ProbeKind::Return),
    ("libraries_mapped", ProbeKind::Entry),
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
    ("jvm_wakes", ProbeKind::Entry),
    ("tokio_drawn", ProbeKind::Entry),
    ("tokio_sends", ProbeKind::Entry),
    ("node_enters", ProbeKind::Entry),
    ("node_enters_variant", ProbeKind::Entry),
    ("node_enters_wrap", ProbeKind::Entry),
    ("node_leaves", ProbeKind::Entry),
    ("node_drained", ProbeKind::Entry),
    ("node_asked", ProbeKind::Entry),
    ("node_then", ProbeKind::Entry),
    ("node_reacts", ProbeKind::Entry),
    ("node_scavenged", ProbeKind::Return),
    ("node_compacted", ProbeKind::Return),
    ("node_submitting", ProbeKind::Entry),
    ("node_submitted", ProbeKind::Return),
    ("node_sending", ProbeKind::Entry),
    ("node_sent", ProbeKind::Return),
];
const RUNTIMES: &str = "RUNTIMES";
/// Called by `tls_leave` through the map `NEXT`.
const DATA: &str = "tls_data";
const NEXT: &str = "TLS_DATA";

/// The programs for user code, apart from the others: another thread attaches them.
pub(crate) struct UserProbes {
    /// Emptied by the kernel when nobody holds it.
    _next: ProgramArray<MapData>,
    programs: Programs,
    runtimes: HashMap<MapData, u32, PodRuntime>,
}

/// By [`Hook`].
enum Programs {
    Multi {
        programs: Vec<OwnedFd>,
        /// Called by another.
        data: OwnedFd,
    },
    PerfEvents {
        programs: Vec<OwnedFd>,
        source: event::Source,
    },
}

/// [`Runtime`] as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodRuntime(Runtime);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodRuntime {}

// === impl Way ===

impl Way {
    /// The best that this kernel has.
    pub(super) fn best() -> Self {
        match multi::supported() {
            Ok(()) => Self::Multi,
            Err(error) => {
                log::debug!("no uprobe_multi links: {error}");
                Self::PerfEvents
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Multi => "uprobe_multi links",
            Self::PerfEvents => "a perf event each, taken out one by one (Linux 6.6 can do better)",
        })
    }
}

// === impl Attached ===

impl Attached {
    /// How many probes it has.
    pub(crate) fn len(&self) -> usize {
        self.probes
    }

    /// Takes all of them out, and returns when they are: sooner than one after the other, where the kernel allows.
    pub(crate) fn take_out(all: impl IntoIterator<Item = Self>) {
        let mut together = Vec::new();
        for attached in all {
            match attached.links {
                Links::Multi(links) => together.extend(links),
                // Under a lock of the kernel's own: threads would not help.
                Links::PerfEvents(links) => drop(links),
            }
        }
        multi::Link::take_out(together);
    }
}

// === impl UserProbes ===

impl UserProbes {
    /// Loads the programs; they are attached as libraries are found. `bytes` is the object, `ebpf` what was loaded
    /// of it.
    pub(super) fn load(ebpf: &mut Ebpf, bytes: &[u8], way: Way) -> Result<Self, ProgramError> {
        let programs = match way {
            Way::Multi => multi_programs(ebpf, bytes)?,
            Way::PerfEvents => Programs::PerfEvents {
                programs: programs(ebpf)?,
                source: event::Source::open().map_err(ProgramError::IOError)?,
            },
        };
        let map = |ebpf: &mut Ebpf, name| ebpf.take_map(name).ok_or(ProgramError::NotLoaded);
        Ok(Self {
            _next: map(ebpf, NEXT)?.try_into()?,
            programs,
            runtimes: map(ebpf, RUNTIMES)?.try_into()?,
        })
    }

    pub(crate) fn way(&self) -> Way {
        match self.programs {
            Programs::Multi { .. } => Way::Multi,
            Programs::PerfEvents { .. } => Way::PerfEvents,
        }
    }

    /// Name and verified instructions of each program that aya does not know of.
    pub(super) fn verified(&self) -> Vec<(String, u32)> {
        let Programs::Multi { programs, data } = &self.programs else {
            return Vec::new();
        };
        let names = HOOKS.into_iter().map(|(name, _)| name).chain([DATA]);
        let rows = iter::zip(names, programs.iter().chain([data]));
        let rows = rows.filter_map(|(name, program)| {
            Some((name.to_owned(), multi::verified(program.as_fd())?))
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows.dedup();
        rows
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
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let links = match &self.programs {
            Programs::Multi { programs, .. } => Links::Multi(by_program(programs, &path, places)?),
            Programs::PerfEvents { programs, source } => {
                let link = |place: &Place| {
                    let hook = place.hook as usize;
                    source.link(programs[hook].as_fd(), HOOKS[hook].1, &path, place)
                };
                Links::PerfEvents(places.iter().map(link).collect::<Result<_, _>>()?)
            }
        };
        Ok(Attached {
            probes: places.len(),
            links,
        })
    }
}

fn by_program(programs: &[OwnedFd], path: &CStr, places: &[Place]) -> io::Result<Vec<multi::Link>> {
    let mut links = Vec::new();
    for (hook, (program, (_, kind))) in iter::zip(programs, HOOKS).enumerate() {
        let of_hook = places.iter().filter(|place| place.hook as usize == hook);
        let of_hook: Vec<_> = of_hook.collect();
        if !of_hook.is_empty() {
            links.push(multi::Link::new(program.as_fd(), kind, path, &of_hook)?);
        }
    }
    Ok(links)
}

fn multi_programs(ebpf: &Ebpf, bytes: &[u8]) -> Result<Programs, ProgramError> {
    let names = HOOKS.map(|(name, _)| name);
    let loader = multi::Loader::new(bytes, ebpf, &[&names[..], &[DATA]].concat())?;
    let Some(Map::ProgramArray(next)) = ebpf.map(NEXT) else {
        return Err(ProgramError::NotLoaded);
    };
    let data = loader.load(DATA)?;
    multi::set(next, 0, data.as_fd()).map_err(ProgramError::IOError)?;
    let mut programs: Vec<OwnedFd> = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let program = match names[..number].iter().position(|known| known == name) {
            // The same at a function's return: only the way of attaching differs.
            Some(known) => programs[known].try_clone().map_err(ProgramError::IOError)?,
            None => loader.load(name)?,
        };
        programs.push(program);
    }
    Ok(Programs::Multi { programs, data })
}

fn programs(ebpf: &mut Ebpf) -> Result<Vec<OwnedFd>, ProgramError> {
    fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProgramError> {
        let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
        let program: &mut UProbe = program.try_into()?;
        if program.fd().is_err() {
            program.load()?;
        }
        Ok(program)
    }
    let data = loaded(ebpf, DATA)?.fd()?.try_clone();
    let data = data.map_err(ProgramError::IOError)?;
    let next = ebpf.map_mut(NEXT).ok_or(ProgramError::NotLoaded)?;
    ProgramArray::try_from(next)?.set(0, &data, 0)?;
    // An entry probe and a return probe are the same to the kernel's verifier; only the way of attaching differs.
    let handle = |(name, _)| {
        let program = loaded(ebpf, name)?.fd()?.as_fd();
        program.try_clone_to_owned().map_err(ProgramError::IOError)
    };
    HOOKS.into_iter().map(handle).collect()
}
