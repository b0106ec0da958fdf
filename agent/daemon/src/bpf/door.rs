//! The programs that see sockets and processes, and the two doors through which socket calls are seen.

use std::fmt;

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, FExit, ProgramError, fexit::FExitLink, sock_ops::SockOpsLink,
        tp_btf::BtfTracePointLink,
    },
};

use super::{
    kernel_btf::KernelBtf,
    load::{Error, Probes, program_error},
};

/// How socket calls are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `tp_btf` on `sock_send_length` and `sock_recv_length` (Linux 6.3).
    Tracepoints,
    /// `fexit` on the functions below the socket calls.
    Functions,
}

/// A program that is attached until this is dropped.
pub(super) enum Watching {
    Tracepoint(#[expect(dead_code, reason = "dropped, not read")] BtfTracePointLink),
    Function(#[expect(dead_code, reason = "dropped, not read")] FExitLink),
    SockOps(#[expect(dead_code, reason = "dropped, not read")] SockOpsLink),
}

/// Attached while weft runs: new processes are judged by them.
const PROCESSES: [&str; 3] = [
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
];
/// Attached while somebody may be traced, as what stands behind a door.
const SOCKETS: [&str; 2] = ["inet_sock_set_state", "tcp_destroy_sock"];
const TRACEPOINTS: [&str; 2] = ["sock_send_length", "sock_recv_length"];
const FUNCTIONS: [&str; 3] = ["tcp_sendmsg", "unix_stream_sendmsg", "sock_recvmsg"];
/// Gone since Linux 6.5.
const SENDPAGE: &str = "tcp_sendpage";

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracepoints => "tp_btf sock_send_length, sock_recv_length",
            Self::Functions => "fexit tcp_sendmsg, unix_stream_sendmsg, sock_recvmsg",
        })
    }
}

// === impl Probes ===

impl Probes {
    /// The programs that see sockets are attached.
    pub(crate) fn is_watching(&self) -> bool {
        !self.watching.is_empty()
    }

    /// Attaches the programs that see sockets, or takes them out: where nobody is traced, nobody pays.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn watch(&mut self, somebody: bool) -> Result<(), Error> {
        if !somebody {
            self.follow(false)?;
            self.watching.clear();
        } else if self.watching.is_empty() {
            let ebpf = &mut self.ebpf;
            let mut watching = match self.door {
                Door::Tracepoints => attach_tracepoints(ebpf)?,
                Door::Functions => attach_functions(ebpf, self.sendpage)?,
            };
            for name in SOCKETS {
                watching.push(attach_tracepoint(ebpf, name)?);
            }
            self.watching = watching;
            self.follow(true)?;
        }
        Ok(())
    }
}

/// Loads and attaches the programs that see sockets; the second value is whether the door has
/// [`SENDPAGE`], too.
pub(super) fn open(
    ebpf: &mut Ebpf,
    kernel: &KernelBtf,
    btf: &Btf,
    wanted: Option<Door>,
) -> Result<(Door, bool, Vec<Watching>), Error> {
    let sendpage = kernel.has_function(SENDPAGE);
    let mut reasons = Vec::new();
    for door in [Door::Tracepoints, Door::Functions] {
        if wanted.is_some_and(|wanted| wanted != door) {
            continue;
        }
        let opened = match door {
            Door::Tracepoints => open_tracepoints(ebpf, kernel, btf),
            Door::Functions => open_functions(ebpf, kernel, btf),
        };
        match opened {
            Ok(mut watching) => {
                for name in SOCKETS {
                    load_tracepoint(ebpf, name, btf)?;
                    watching.push(attach_tracepoint(ebpf, name)?);
                }
                return Ok((door, sendpage, watching));
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Error::NoDoor(reasons.join("; ")))
}

fn open_tracepoints(
    ebpf: &mut Ebpf,
    kernel: &KernelBtf,
    btf: &Btf,
) -> Result<Vec<Watching>, String> {
    if !TRACEPOINTS.iter().all(|name| kernel.has_tracepoint(name)) {
        return Err("no tracepoint sock_send_length (Linux 6.3)".to_owned());
    }
    TRACEPOINTS
        .iter()
        .try_for_each(|name| load_tracepoint(ebpf, name, btf))
        .and_then(|()| attach_tracepoints(ebpf))
        .map_err(|error| error.to_string())
}

fn open_functions(ebpf: &mut Ebpf, kernel: &KernelBtf, btf: &Btf) -> Result<Vec<Watching>, String> {
    if let Some(name) = FUNCTIONS.iter().find(|name| !kernel.has_function(name)) {
        return Err(format!("no function {name} to trace"));
    }
    let sendpage = kernel.has_function(SENDPAGE);
    for name in functions(sendpage) {
        let loaded = fexit(ebpf, name).and_then(|program| {
            let loaded = program.load(name, btf);
            loaded.map_err(|error| program_error(name, &error))
        });
        loaded.map_err(|error| error.to_string())?;
    }
    attach_functions(ebpf, sendpage).map_err(|error| error.to_string())
}

fn functions(sendpage: bool) -> impl Iterator<Item = &'static str> {
    FUNCTIONS.into_iter().chain(sendpage.then_some(SENDPAGE))
}

fn attach_tracepoints(ebpf: &mut Ebpf) -> Result<Vec<Watching>, Error> {
    let names = TRACEPOINTS.iter();
    names.map(|name| attach_tracepoint(ebpf, name)).collect()
}

fn attach_functions(ebpf: &mut Ebpf, sendpage: bool) -> Result<Vec<Watching>, Error> {
    let attach = |name: &str| {
        let failed = |error: ProgramError| program_error(name, &error);
        let program = fexit(ebpf, name)?;
        let id = program.attach().map_err(failed)?;
        program
            .take_link(id)
            .map(Watching::Function)
            .map_err(failed)
    };
    functions(sendpage).map(attach).collect()
}

fn load_tracepoint(ebpf: &mut Ebpf, name: &str, btf: &Btf) -> Result<(), Error> {
    let loaded = btf_tracepoint(ebpf, name)?.load(name, btf);
    loaded.map_err(|error| program_error(name, &error))
}

pub(super) fn attach_tracepoint(ebpf: &mut Ebpf, name: &str) -> Result<Watching, Error> {
    let failed = |error: ProgramError| program_error(name, &error);
    let program = btf_tracepoint(ebpf, name)?;
    let id = program.attach().map_err(failed)?;
    program
        .take_link(id)
        .map(Watching::Tracepoint)
        .map_err(failed)
}

fn btf_tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| absent(name))?;
    program
        .try_into()
        .map_err(|error| program_error(name, &error))
}

fn fexit<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut FExit, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| absent(name))?;
    program
        .try_into()
        .map_err(|error| program_error(name, &error))
}

/// Who sees processes stays attached as long as its program is loaded.
pub(super) fn watch_processes(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    for name in PROCESSES {
        load_tracepoint(ebpf, name, btf)?;
        let attached = btf_tracepoint(ebpf, name)?.attach();
        attached.map_err(|error| program_error(name, &error))?;
    }
    Ok(())
}

fn absent(name: &str) -> Error {
    Error::Program {
        program: name.to_owned(),
        message: "not in the kernel object".to_owned(),
    }
}
