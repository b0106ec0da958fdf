//! `weft doctor`: what this kernel and this host allow.

use std::fmt::Write as _;

use crate::bpf::{Capability, State};

/// The table, and whether tracing is possible at all.
pub(crate) fn report(capabilities: &[Capability]) -> String {
    let mut text = String::new();
    let system = rustix::system::uname();
    let _ = writeln!(
        text,
        "weft {} on Linux {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    );
    let width = capabilities
        .iter()
        .map(|capability| capability.name.len())
        .max()
        .unwrap_or(0);
    for Capability { name, state } in capabilities {
        let _ = match state {
            State::On(hook) => writeln!(text, "  on   {name:width$}  {hook}"),
            State::Off { reason, fix } => {
                writeln!(
                    text,
                    "  off  {name:width$}  {reason}\n       {:width$}  fix: {fix}",
                    ""
                )
            }
        };
    }
    text
}

/// `name instructions` lines.
pub(crate) fn verified(programs: &[(String, u32)]) -> String {
    programs
        .iter()
        .fold(String::new(), |mut text, (name, instructions)| {
            let _ = writeln!(text, "{name} {instructions}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let off = State::Off {
            reason: "not permitted".to_owned(),
            fix: "run as root",
        };
        let list = [
            Capability {
                name: "socket calls",
                state: State::On("tp_btf".to_owned()),
            },
            Capability {
                name: "process life",
                state: off,
            },
        ];
        let text = report(&list);
        let expected = "  on   socket calls  tp_btf\n  off  process life  not permitted\n                     fix: run as root\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
