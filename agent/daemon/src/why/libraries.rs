//! Mapped files that decide what can be seen of a process.

use std::{fmt, fmt::Write as _, path::PathBuf};

use weft_inspect::{
    Class, Direction, Finding, Function, Inspection, Library as TlsLibrary, Return, Site,
};

use crate::{
    bpf::SiteCosts,
    runtimes::Runtime as Tasks,
    tls::{self, Identity, Trial, Tried},
};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Library {
    path: PathBuf,
    pub(super) role: Role,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Found by what the file contains.
    Tls(Tls),
    /// Known by its name, and not read.
    OtherTls(&'static str),
    Runtime(&'static str),
    /// Found by what the file contains.
    Tasks(Tasks),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) library: TlsLibrary,
    build_id: Vec<u8>,
    file: Identity,
    /// Of a Go program.
    module: Option<String>,
}

pub(super) fn mapped(pid: u32) -> Vec<Library> {
    let mut libraries = Vec::new();
    for file in tls::mapped(pid).unwrap_or_default() {
        let inspection = file
            .open()
            .ok()
            .and_then(|open| tls::inspect(&open).ok())
            .unwrap_or_default();
        let tasks = Tasks::of(&inspection).map(Role::Tasks);
        let Inspection {
            build_id,
            go,
            goroutines: _,
            proxy: _,
            python: _,
            jvm: _,
            tokio: _,
            node: _,
            libraries: found,
            mapped: _,
        } = inspection;
        let name = file.path.file_name().and_then(|name| name.to_str());
        let role = name.filter(|_| found.is_empty()).and_then(role);
        let tls = found.into_iter().map(|library| {
            Role::Tls(Tls {
                library,
                build_id: build_id.clone(),
                file: file.identity,
                module: go.as_ref().and_then(|go| go.module.clone()),
            })
        });
        libraries.extend(
            role.into_iter()
                .chain(tls)
                .chain(tasks)
                .map(|role| Library {
                    path: file.path.clone(),
                    role,
                }),
        );
    }
    libraries.sort_by(|one, other| one.path.cmp(&other.path));
    libraries
}

fn role(name: &str) -> Option<Role> {
    const TLS: [(&str, &str); 5] = [
        ("libssl3.so", "NSS"),
        ("libnspr4", "NSS"),
        ("libmbedtls", "Mbed TLS"),
        ("libwolfssl", "wolfSSL"),
        ("libjsse", "JSSE"),
    ];
    const RUNTIMES: [(&str, &str); 5] = [
        ("libpython", "CPython"),
        (
            "libjvm.so",
            "HotSpot JVM, whose own TLS (JSSE) cannot be read",
        ),
        ("libruby", "Ruby"),
        ("libphp", "PHP"),
        ("libnode", "Node.js"),
    ];
    let known = |table: &[(&str, &'static str)]| {
        let entry = table.iter().find(|(prefix, _)| name.starts_with(prefix));
        entry.map(|(_, what)| *what)
    };
    let tls = known(&TLS).map(Role::OtherTls);
    tls.or_else(|| known(&RUNTIMES).map(Role::Runtime))
}

impl Tls {
    /// How it stands, where it was found by its code.
    fn trial(&self, trials: &[(Tried, Trial)]) -> Option<String> {
        if self.library.finding != Finding::Code || !self.is_read() {
            return None;
        }
        let tried = Tried {
            file: self.file,
            library: tls::site_name(&self.library),
        };
        let known = trials.iter().find(|(of, _)| *of == tried);
        let trial = known.map_or(Trial::Open, |(_, trial)| *trial);
        Some(format!("  {trial}"))
    }

    /// Some of its plaintext can be read.
    pub(super) fn is_read(&self) -> bool {
        !self.library.functions.is_empty()
    }
}

// === impl Library ===

impl Library {
    /// What it is, then a line for each function that is watched and for each that cannot be.
    pub(super) fn lines(
        &self,
        costs: Option<&SiteCosts>,
        trials: Option<&[(Tried, Trial)]>,
    ) -> Vec<String> {
        let path = self.path.display();
        match &self.role {
            Role::Tls(tls) => {
                let mut lines = vec![format!("{path} ({tls})")];
                lines.extend(trials.and_then(|trials| tls.trial(trials)));
                let functions = tls.library.functions.iter();
                lines.extend(functions.map(|function| format!("  {}", Probes { function, costs })));
                let problems = tls.library.problems.iter();
                lines.extend(problems.map(|problem| format!("  not read: {}", problem.0)));
                lines
            }
            Role::OtherTls(name) => vec![format!("{path} (TLS: {name}, which is not read)")],
            Role::Runtime(name) => vec![format!("{path} (runtime: {name})")],
            Role::Tasks(runtime) => vec![format!("{path} (runtime: {runtime})")],
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let evidence = match self.library.finding {
            Finding::Symbols => "by its symbols",
            Finding::GoTable => "by Go's table of functions",
            Finding::Code => "by its code",
        };
        write!(f, "TLS: {}, {evidence}", tls::stack_name(&self.library))?;
        if let Some(module) = &self.module {
            write!(f, ", in {module}")?;
        }
        if !self.build_id.is_empty() {
            let mut id = String::new();
            for byte in &self.build_id {
                let _ = write!(id, "{byte:02x}");
            }
            write!(f, ", build {id}")?;
        }
        Ok(())
    }
}

/// The probes of a function: where each stands, how it is executed, and what a call costs with them.
struct Probes<'a> {
    function: &'a Function,
    costs: Option<&'a SiteCosts>,
}

impl fmt::Display for Probes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, costs } = self;
        let class = |site: Site| match site.class {
            Class::Emulated => "emulated",
            Class::Stepped => "single-stepped",
        };
        let does = match function.direction {
            Direction::Read => "reads",
            Direction::Write => "writes",
        };
        let entry = function.entry;
        write!(
            f,
            "{does} {}: begins at {:#x} {}",
            function.name,
            entry.offset,
            class(entry)
        )?;
        let (sites, returning): (Vec<Site>, _) = match &function.returns {
            Return::Sites(sites) => (sites.clone(), None),
            Return::Parts(parts) => (parts.iter().map(|part| part.site).collect(), None),
            Return::Probe { function } => (Vec::new(), Some(*function)),
            Return::Either { sites, function } => (sites.clone(), Some(*function)),
        };
        for site in &sites {
            write!(f, ", ends at {:#x} {}", site.offset, class(*site))?;
        }
        if let Some(site) = returning {
            write!(f, ", ends when {:#x} returns", site.offset)?;
        }
        if let Some(costs) = costs {
            let of = |site: Site| match site.class {
                Class::Emulated => costs.emulated,
                Class::Stepped => costs.stepped,
            };
            // A call passes one of the places where it may end.
            let ends = sites.iter().copied().map(of);
            let end = ends.chain(returning.map(|_| costs.returning));
            let call = of(entry) + end.fold(0.0, f64::max);
            write!(f, "; {call:.0} ns a call here")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use weft_inspect::{Arguments, Outcome, Register};

    use super::*;

    #[test]
    fn a_function_and_what_its_probes_cost() {
        let emulated = |offset| Site {
            offset,
            class: Class::Emulated,
        };
        let stepped = |offset| Site {
            offset,
            class: Class::Stepped,
        };
        let costs = SiteCosts {
            emulated: 500.0,
            stepped: 4000.0,
            returning: 1500.0,
        };
        let check = |returns, expected: &str| {
            let function = Function {
                name: "SSL_read",
                direction: Direction::Read,
                entry: emulated(0x10),
                arguments: Arguments {
                    session: Register::Rdi,
                    buffer: Register::Rsi,
                    length: Register::Rdx,
                },
                outcome: Outcome::Bytes(Register::Rax),
                returns,
            };
            let told = Probes {
                function: &function,
                costs: Some(&costs),
            };
            assert_eq!(told.to_string(), expected);
        };
        check(
            Return::Sites(vec![emulated(0x20), stepped(0x30)]),
            "reads SSL_read: begins at 0x10 emulated, ends at 0x20 emulated, ends at 0x30 \
             single-stepped; 4500 ns a call here",
        );
        check(
            Return::Probe {
                function: emulated(0x10),
            },
            "reads SSL_read: begins at 0x10 emulated, ends when 0x10 returns; 2000 ns a call here",
        );
    }

    #[test]
    fn roles() {
        for (name, expected) in [
            ("libssl3.so", Some(Role::OtherTls("NSS"))),
            ("libruby-3.1.so.3.1", Some(Role::Runtime("Ruby"))),
            ("libssl.so.3", None),
            ("libc.so.6", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
