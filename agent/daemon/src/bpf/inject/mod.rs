//! Writing `traceparent` into requests: the programs, what they are told, and the trial that they have
//! to stand on this kernel before they see any program's connection.

mod trial;

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
};

use aya::{
    Btf, Ebpf,
    maps::{Array, HashMap, MapData, SockHash},
    programs::{BtfTracePoint, CgroupAttachMode, ProgramError, SkMsg, SockOps},
};
use weft_abi::{Destination, InjectControl};

use super::{
    Probes,
    door::{Door, Watching, attach_tracepoint},
    load::{Error, program_error, take},
};
use crate::discover;

/// The kernel programs that write, and their maps.
pub(crate) struct Injection {
    control: Array<MapData, PodInjectControl>,
    destinations: HashMap<MapData, PodDestination, u32>,
    workers: HashMap<MapData, u32, u32>,
    /// Attached while somebody may be traced.
    followers: Vec<Watching>,
}

/// How trace contexts are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    /// The sampled flag is set for traces whose random part is not below.
    pub(crate) keep_from: u64,
    /// Blocking workers carry on the trace that a `traceparent` has brought.
    pub(crate) carry: bool,
    /// And its sampled flag.
    pub(crate) parent_based: bool,
}

/// [`InjectControl`] as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodInjectControl(InjectControl);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodInjectControl {}

/// [`Destination`] as a map key.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodDestination(Destination);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodDestination {}

const BY_SELECTED: u32 = 1;
const BY_WEFT: u32 = 2;

// === impl Injection ===

impl Injection {
    /// Loads, attaches and tries. From then on nothing is written until [`Probes::inject`].
    ///
    /// # Errors
    /// What this kernel does not have, or what is not as it would be without.
    fn open(ebpf: &mut Ebpf, door: Door, has_loop: bool) -> Result<Self, String> {
        if door != Door::Tracepoints {
            return Err("the positions of sent bytes need sock_send_length (Linux 6.3)".to_owned());
        }
        if !has_loop {
            return Err("heads are read with bpf_loop (Linux 5.17)".to_owned());
        }
        load(ebpf)?;
        let mut injection = Self {
            followers: attach(ebpf)?,
            control: take(ebpf, "INJECT").map_err(|error| error.to_string())?,
            destinations: take(ebpf, "DESTINATIONS").map_err(|error| error.to_string())?,
            workers: take(ebpf, "WORKERS").map_err(|error| error.to_string())?,
        };
        let trial = InjectControl {
            mode: BY_WEFT,
            ..InjectControl::default()
        };
        injection.set(trial)?;
        let tried = trial::run(&mut injection);
        injection.set(InjectControl::default())?;
        tried.map(|()| injection)
    }

    /// Plaintext requests go there.
    fn learn(&mut self, destination: SocketAddr) -> Result<(), String> {
        let address = match destination.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let key = PodDestination(Destination {
            address: address.octets(),
            port: u32::from(destination.port()),
        });
        self.destinations
            .insert(key, 1, 0)
            .map_err(|error| error.to_string())
    }

    fn set(&mut self, control: InjectControl) -> Result<(), String> {
        self.control
            .set(0, PodInjectControl(control), 0)
            .map_err(|error| error.to_string())
    }
}

// === impl Probes ===

impl Probes {
    /// Makes ready to write `traceparent`. Nothing is left attached on failure.
    ///
    /// # Errors
    /// Why it is not done on this kernel.
    pub(crate) fn open_injection(&mut self) -> Result<(), String> {
        let opened = Injection::open(&mut self.ebpf, self.door, self.has_loop);
        if opened.is_err() {
            detach(&mut self.ebpf);
        }
        self.injection = Some(opened?);
        Ok(())
    }

    /// Attaches the programs that write, after those that see sockets, or takes them out.
    pub(super) fn follow(&mut self, somebody: bool) -> Result<(), Error> {
        let Self {
            injection, ebpf, ..
        } = self;
        if let Some(injection) = injection {
            injection.followers.clear();
            if somebody {
                injection.followers = attach(ebpf).map_err(|message| Error::Program {
                    program: "write_header".to_owned(),
                    message,
                })?;
            }
        }
        Ok(())
    }

    /// Selected processes' requests get a `traceparent` from now on.
    ///
    /// # Errors
    /// The kernel took no word.
    pub(crate) fn inject(&mut self, writing: Writing) -> Result<(), String> {
        let Some(injection) = &mut self.injection else {
            return Ok(());
        };
        self.current.inject = 1;
        injection.set(InjectControl {
            mode: BY_SELECTED,
            carry: u32::from(writing.carry),
            parent_based: u32::from(writing.parent_based),
            reserved: 0,
            keep_from: writing.keep_from,
        })?;
        self.write_control().map_err(|error| error.to_string())
    }

    /// The threads of a process work on one request at a time, or do not.
    pub(crate) fn works_alone(&mut self, tgid: u32, alone: bool) {
        let Some(Injection { workers, .. }) = &mut self.injection else {
            return;
        };
        // What does not stand there is not written for.
        let _full = if alone {
            workers.insert(tgid, 1, 0)
        } else {
            workers.remove(&tgid)
        };
    }

    /// Requests that go there may be written into. False: the kernel did not take it.
    pub(crate) fn learn_destination(&mut self, destination: SocketAddr) -> bool {
        self.injection
            .as_mut()
            .is_none_or(|injection| injection.learn(destination).is_ok())
    }
}

/// After the programs that see all socket calls: these know the connection's state by then.
const FOLLOWERS: [(&str, &str); 2] = [
    ("received_by_worker", "sock_recv_length"),
    ("sent_by_worker", "sock_send_length"),
];

fn load(ebpf: &mut Ebpf) -> Result<(), String> {
    let failed = |error: ProgramError| program_error("write_header", &error).to_string();
    let sockets = ebpf.map("SOCKETS").ok_or("no map SOCKETS")?;
    let sockets: SockHash<_, u64> = sockets
        .try_into()
        .map_err(|error: aya::maps::MapError| error.to_string())?;
    let sockets = sockets
        .fd()
        .try_clone()
        .map_err(|error| error.to_string())?;
    let writer = ebpf.program_mut("write_header").ok_or("no program")?;
    let writer: &mut SkMsg = writer.try_into().map_err(failed)?;
    writer.load().map_err(failed)?;
    writer.attach(&sockets).map_err(failed)?;
    let failed = |error: ProgramError| program_error("watch_connections", &error).to_string();
    let watcher = ebpf.program_mut("watch_connections").ok_or("no program")?;
    let watcher: &mut SockOps = watcher.try_into().map_err(failed)?;
    watcher.load().map_err(failed)?;
    let btf = Btf::from_sys_fs().map_err(|error| error.to_string())?;
    for (name, tracepoint) in FOLLOWERS {
        let failed = |error: ProgramError| program_error(name, &error).to_string();
        let follower = ebpf.program_mut(name).ok_or("no program")?;
        let follower: &mut BtfTracePoint = follower.try_into().map_err(failed)?;
        follower.load(tracepoint, &btf).map_err(failed)?;
    }
    Ok(())
}

fn attach(ebpf: &mut Ebpf) -> Result<Vec<Watching>, String> {
    let root = discover::cgroup_root().map_err(|error| error.to_string())?;
    let root =
        File::open(&root).map_err(|error: io::Error| format!("{}: {error}", root.display()))?;
    let failed = |error: ProgramError| program_error("watch_connections", &error).to_string();
    let watcher = ebpf.program_mut("watch_connections").ok_or("no program")?;
    let watcher: &mut SockOps = watcher.try_into().map_err(failed)?;
    // As a link: beside others' programs, and gone with this process.
    let id = watcher
        .attach(&root, CgroupAttachMode::Single)
        .map_err(failed)?;
    let mut attached = vec![Watching::SockOps(watcher.take_link(id).map_err(failed)?)];
    for (name, _) in FOLLOWERS {
        let follower = attach_tracepoint(ebpf, name).map_err(|error| error.to_string())?;
        attached.push(follower);
    }
    Ok(attached)
}

/// What was not attached needs no thought.
fn detach(ebpf: &mut Ebpf) {
    if let Some(Ok(watcher)) = ebpf
        .program_mut("watch_connections")
        .map(<&mut SockOps>::try_from)
    {
        let _gone = watcher.unload();
    }
    for (name, _) in FOLLOWERS {
        if let Some(Ok(follower)) = ebpf.program_mut(name).map(<&mut BtfTracePoint>::try_from) {
            let _gone = follower.unload();
        }
    }
    if let Some(Ok(writer)) = ebpf.program_mut("write_header").map(<&mut SkMsg>::try_from) {
        let _gone = writer.unload();
    }
}
