//! What this kernel and host allow, for `weft doctor` and the log.

use super::{
    kernel_btf::KernelBtf,
    load::{Error, Options, Probes},
    offsets::{FIELDS, Need},
    sites::SiteCosts,
};

/// One thing weft can do.
#[derive(Clone, Debug)]
pub(crate) struct Capability {
    pub(crate) name: &'static str,
    pub(crate) state: State,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// The hook or mechanism it uses.
    On(String),
    Off {
        reason: String,
        fix: &'static str,
    },
}

/// Tries what the kernel allows by doing it: every program is loaded, attached and dropped again.
pub(crate) fn capabilities(options: Options) -> (Vec<Capability>, Option<Probes>) {
    let mut list = Vec::new();
    let kernel = match KernelBtf::of_running_kernel() {
        Ok(kernel) => {
            list.push(on(
                "kernel type information",
                "/sys/kernel/btf/vmlinux".to_owned(),
            ));
            kernel
        }
        Err(error) => {
            list.push(off(
                "kernel type information",
                error.to_string(),
                "use a kernel built with CONFIG_DEBUG_INFO_BTF",
            ));
            return (list, None);
        }
    };
    let mut probes = match Probes::load(options) {
        Ok(probes) => probes,
        Err(error) => {
            let fix = match &error {
                Error::Privileges => "run as root",
                Error::NoDoor(_) | Error::MissingField(_) => "use Linux 5.15 or later",
                _ => "`--log-level debug` shows the kernel's whole answer: please report it",
            };
            list.push(off("socket calls", error.to_string(), fix));
            return (list, None);
        }
    };
    list.push(on("socket calls", probes.door().to_string()));
    let tls = "plaintext of TLS";
    if let Some(mut user) = probes.take_user() {
        // The one way to know: to put probes into weft's own file.
        match SiteCosts::measure(&mut user) {
            Ok(costs) => {
                list.push(on(
                    tls,
                    format!(
                        "uprobes at the borders of the TLS libraries that processes have mapped, by {}",
                        user.way()
                    ),
                ));
                list.push(on("cost of such a probe", costs.to_string()));
            }
            Err(error) => list.push(off(
                tls,
                format!("no probe can be put into a program: {error}"),
                "use Linux 6.6 or later; before it many kernels want CAP_SYS_ADMIN for this",
            )),
        }
    } else {
        let said = probes.limits().iter();
        let reason = said.filter_map(|limit| limit.strip_prefix(tls)?.strip_prefix(": "));
        list.push(off(
            tls,
            reason.collect::<Vec<_>>().join("; "),
            "run as root with CAP_BPF and CAP_PERFMON",
        ));
    }
    list.push(match probes.open_injection() {
        Ok(()) => on(
            "writing traceparent",
            "sock_ops, sk_msg; tried on a connection of weft's own".to_owned(),
        ),
        Err(reason) => off("writing traceparent", reason, "none is known"),
    });
    list.push(on(
        "connection life",
        "tp_btf inet_sock_set_state, tcp_destroy_sock".to_owned(),
    ));
    list.push(on(
        "process life",
        "tp_btf sched_process_fork, _exec, _exit".to_owned(),
    ));
    for field in FIELDS {
        if let Need::Switches(what) = field.need {
            list.push(match field.offset(&kernel) {
                Some(_) => on(what, field.name()),
                None => off(
                    what,
                    format!("this kernel has no {}", field.name()),
                    "a newer kernel",
                ),
            });
        }
    }
    list.dedup_by_key(|capability| capability.name);
    (list, Some(probes))
}

/// What a probe in a user program costs here; `None` where that cannot be tried.
pub(crate) fn site_costs(options: Options) -> Option<SiteCosts> {
    let mut probes = Probes::load(options).ok()?;
    SiteCosts::measure(&mut probes.take_user()?).ok()
}

fn on(name: &'static str, hook: String) -> Capability {
    Capability {
        name,
        state: State::On(hook),
    }
}

fn off(name: &'static str, reason: String, fix: &'static str) -> Capability {
    Capability {
        name,
        state: State::Off { reason, fix },
    }
}
