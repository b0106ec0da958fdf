//! Writing `traceparent` into requests: the programs, what they are told, and the trial that they have
//! to stand on this kernel before they see any program's connection.

mod trial;

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, SockHash},
    programs::{CgroupAttachMode, ProgramError, SkMsg, SockOps},
};
use weft_abi::{Destination, InjectControl};

use super::{
    Probes,
    load::{Door, program_error, take},
};
use crate::discover;

/// The kernel programs that write, and their maps.
pub(crate) struct Injection {
    control: Array<MapData, PodInjectControl>,
    destinations: HashMap<MapData, PodDestination, u32>,
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
        attach(ebpf)?;
        let mut injection = Self {
            control: take(ebpf, "INJECT").map_err(|error| error.to_string())?,
            destinations: take(ebpf, "DESTINATIONS").map_err(|error| error.to_string())?,
        };
        injection.set(BY_WEFT, 0)?;
        let tried = trial::run(&mut injection);
        injection.set(0, 0)?;
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

    fn set(&mut self, mode: u32, keep_from: u64) -> Result<(), String> {
        let control = InjectControl {
            mode,
            reserved: 0,
            keep_from,
        };
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

    /// Selected processes' requests get a `traceparent` from now on, with the sampled flag for traces
    /// whose random part is not below `keep_from`.
    ///
    /// # Errors
    /// The kernel took no word.
    pub(crate) fn inject(&mut self, keep_from: u64) -> Result<(), String> {
        let Some(injection) = &mut self.injection else {
            return Ok(());
        };
        self.current.inject = 1;
        injection.set(BY_SELECTED, keep_from)?;
        self.write_control().map_err(|error| error.to_string())
    }

    /// Requests that go there may be written into. False: the kernel did not take it.
    pub(crate) fn learn_destination(&mut self, destination: SocketAddr) -> bool {
        self.injection
            .as_mut()
            .is_none_or(|injection| injection.learn(destination).is_ok())
    }
}

fn attach(ebpf: &mut Ebpf) -> Result<(), String> {
    let root = discover::cgroup_root().map_err(|error| error.to_string())?;
    let root =
        File::open(&root).map_err(|error: io::Error| format!("{}: {error}", root.display()))?;
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
    // As a link: beside others' programs, and gone with this process.
    watcher
        .attach(&root, CgroupAttachMode::Single)
        .map_err(failed)?;
    Ok(())
}

/// What was not attached needs no thought.
fn detach(ebpf: &mut Ebpf) {
    if let Some(Ok(watcher)) = ebpf
        .program_mut("watch_connections")
        .map(<&mut SockOps>::try_from)
    {
        let _gone = watcher.unload();
    }
    if let Some(Ok(writer)) = ebpf.program_mut("write_header").map(<&mut SkMsg>::try_from) {
        let _gone = writer.unload();
    }
}
