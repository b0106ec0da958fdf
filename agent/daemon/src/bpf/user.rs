//! Probes on instructions of user programs: one for each file and place, whatever the number of
//! processes that run it.

use std::{fs::File, io, os::fd::AsRawFd as _};

use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use weft_abi::Site;

/// The kernel program that runs at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Enter,
    Leave,
    /// On a function's first instruction; runs when the function returns.
    Return,
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
    _links: Vec<UProbeLink>,
}

const HOOKS: [Hook; 3] = [Hook::Enter, Hook::Leave, Hook::Return];

impl Hook {
    fn program(self) -> &'static str {
        match self {
            Self::Enter => "tls_enter",
            Self::Leave => "tls_leave",
            Self::Return => "tls_return",
        }
    }
}

/// The programs for user code, apart from the others: another thread attaches them.
pub(crate) struct UserProbes {
    programs: [UProbe; HOOKS.len()],
}

impl UserProbes {
    /// Loads the programs; they are attached as libraries are found.
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, ProgramError> {
        let loaded = |ebpf: &mut Ebpf, hook: Hook| {
            let name = hook.program();
            let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
            let program: &mut UProbe = program.try_into()?;
            program.load()?;
            let kind = program.kind();
            // SAFETY: the kind that this very program was declared and loaded with.
            unsafe { UProbe::from_program_info(program.info()?, name.into(), kind) }
        };
        let [enter, leave, returned] = HOOKS;
        Ok(Self {
            programs: [
                loaded(ebpf, enter)?,
                loaded(ebpf, leave)?,
                loaded(ebpf, returned)?,
            ],
        })
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
        Ok(Attached { _links: links })
    }
}
