//! A private view of the distribution's archive: own source list, package lists and download directory, and an empty list of
//! installed packages. It reads the machine's apt configuration (mirror, proxy, keys) and changes nothing of it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub struct PrivateApt {
    dir: PathBuf,
}

impl PrivateApt {
    /// Makes (or makes again) the view in `dir`. `more_suites` are read from the same archive as the machine's own suite, for
    /// instance `trixie-backports`.
    pub fn open(dir: &Path, more_suites: &[&str]) -> Result<Self> {
        let apt = Self {
            dir: dir.to_owned(),
        };
        for sub in ["lists/partial", "cache/archives/partial", "empty"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot make {}", dir.join(sub).display()))?;
        }
        fs::write(dir.join("status"), "")?;
        fs::write(dir.join("apt.sources"), source_list(more_suites)?)?;
        fs::write(dir.join("apt.conf"), apt.configuration()?)?;
        Ok(apt)
    }

    /// Fetches the package lists: to be called before [`Self::download`].
    pub fn update(&self) -> Result<()> {
        // Not `--error-on=any`: it would fail on a warning too. What is missing shows when a package is not found.
        run(self.apt_get().arg("update")).map(drop)
    }

    /// Whether the archive holds the package: not every distribution has all of them.
    pub fn has(&self, package: &str) -> bool {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", self.dir.join("apt.conf")).args([
            "show",
            "--no-all-versions",
            package,
        ]);
        run(&mut command).is_ok()
    }

    /// Fetches `packages` and all they depend on; gives the package files.
    pub fn download<S: AsRef<OsStr>>(&self, packages: &[S]) -> Result<Vec<PathBuf>> {
        let install = |mode: &str| {
            run(self
                .apt_get()
                .args([mode, "--no-install-recommends", "install"])
                .args(packages))
        };
        let plan = install("--simulate")?;
        install("--download-only")?;
        let archives = self.dir.join("cache/archives");
        let files: Vec<PathBuf> = plan
            .lines()
            .filter_map(planned_file)
            .map(|name| archives.join(name))
            .collect();
        match files.iter().find(|file| !file.is_file()) {
            Some(missing) => bail!("apt-get did not fetch {}", missing.display()),
            None => Ok(files),
        }
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", self.dir.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// The machine's own ways to reach the archive, and nothing else of its configuration: its hooks would touch the system.
    fn configuration(&self) -> Result<String> {
        let mut text = String::new();
        for line in run(Command::new("apt-config").arg("dump"))?.lines() {
            if line.starts_with("Acquire::") || line.starts_with("APT::Architecture") {
                text.push_str(line);
                text.push('\n');
            }
        }
        let dir = self.dir.display();
        write!(
            text,
            r#"Dir::Etc::Parts "{dir}/empty";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceList "{dir}/apt.sources";
Dir::Etc::SourceParts "{dir}/empty";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "{dir}/empty";
Dir::State "{dir}";
Dir::State::Lists "{dir}/lists";
Dir::State::Status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Cache::PkgCache "";
Dir::Cache::SrcPkgCache "";
Dir::Log "{dir}";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
"#
        )?;
        Ok(text)
    }
}

/// `Inst nginx (1:1.22-9 Debian:12/stable [amd64]) []` is fetched as `nginx_1%3a1.22-9_amd64.deb`.
fn planned_file(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let (inside, _) = rest.split_once(')')?;
    let version = inside.split_whitespace().next()?.replace(':', "%3a");
    let architecture = inside.rsplit_once('[')?.1.trim_end_matches(']');
    Some(format!("{name}_{version}_{architecture}.deb"))
}

/// The machine's sources, cut down to the distribution's own suites: one foreign archive that is out of reach would fail them all.
fn source_list(more_suites: &[&str]) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|value| value.trim_matches('"').to_owned())
        .context("/etc/os-release names no VERSION_CODENAME: only Debian and Ubuntu are known")?;
    let mut stanzas = Vec::new();
    for (path, text) in configured_sources()? {
        if path
            .extension()
            .is_some_and(|extension| extension == "sources")
        {
            stanzas.extend(deb822(&text));
        } else {
            stanzas.extend(text.lines().filter_map(one_line));
        }
    }
    let mut list = String::new();
    let mut more = more_suites.join(" ");
    for mut stanza in stanzas {
        let own: Vec<&str> = stanza
            .suites
            .split_whitespace()
            .filter(|suite| {
                let rest = suite.strip_prefix(&codename);
                rest.is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates"))
            })
            .collect();
        if own.is_empty()
            || !stanza
                .components
                .split_whitespace()
                .any(|component| component == "main")
        {
            continue;
        }
        let mut kept = own.join(" ");
        if own.contains(&codename.as_str()) && !more.is_empty() {
            write!(kept, " {more}")?;
            more.clear();
        }
        stanza.suites = kept;
        list.push_str(&stanza.text());
    }
    if list.is_empty() {
        bail!(
            "apt knows no source of {codename}: add the distribution's archive to /etc/apt/sources.list"
        );
    }
    Ok(list)
}

fn configured_sources() -> Result<Vec<(PathBuf, String)>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.retain(|path| {
        let extension = path.extension().and_then(OsStr::to_str);
        path.is_file() && matches!(extension, Some("list" | "sources"))
    });
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Ok((path, text))
        })
        .collect()
}

/// One entry of a source list, see sources.list(5).
#[derive(Clone, Debug, Default, PartialEq)]
struct Stanza {
    uris: String,
    suites: String,
    components: String,
    /// Other fields, as written: `Signed-By`, `Trusted`, ...
    options: Vec<(String, String)>,
}

impl Stanza {
    fn text(&self) -> String {
        let Self {
            uris,
            suites,
            components,
            options,
        } = self;
        let mut text =
            format!("Types: deb\nURIs: {uris}\nSuites: {suites}\nComponents: {components}\n");
        for (name, value) in options {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text
    }
}

/// The newer form: stanzas of fields, continued by indented lines.
fn deb822(text: &str) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    for block in text.split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        let mut stanza = Stanza::default();
        let mut usable = true;
        for (name, value) in fields {
            match name.to_ascii_lowercase().as_str() {
                "types" => usable &= value.split_whitespace().any(|kind| kind == "deb"),
                "enabled" => usable &= !matches!(value.as_str(), "no" | "false" | "0"),
                "uris" => stanza.uris = value,
                "suites" => stanza.suites = value,
                "components" => stanza.components = value,
                _ => stanza.options.push((name, value)),
            }
        }
        if usable && !stanza.uris.is_empty() {
            stanzas.push(stanza);
        }
    }
    stanzas
}

/// The older form: `deb [option=value ...] uri suite component...`.
fn one_line(line: &str) -> Option<Stanza> {
    let mut rest = line
        .split('#')
        .next()?
        .trim()
        .strip_prefix("deb ")?
        .trim_start();
    let mut stanza = Stanza::default();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (options, after) = bracketed.split_once(']')?;
        for option in options.split_whitespace() {
            let (name, value) = option.split_once('=')?;
            let name = match name {
                "arch" => "Architectures",
                "signed-by" => "Signed-By",
                "trusted" => "Trusted",
                _ => continue,
            };
            stanza
                .options
                .push((name.to_owned(), value.replace(',', " ")));
        }
        rest = after.trim_start();
    }
    let mut words = rest.split_whitespace();
    stanza.uris = words.next()?.to_owned();
    stanza.suites = words.next()?.to_owned();
    stanza.components = words.collect::<Vec<_>>().join(" ");
    Some(stanza)
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}: Debian's or Ubuntu's apt is needed"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_source_list_are_read() {
        let line = one_line(
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib # mine",
        );
        let block = deb822(
            "# c\nTypes: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main contrib\nArchitectures: amd64\nSigned-By: /k.gpg\n",
        );
        assert_eq!(block, Vec::from_iter(line));
    }

    #[test]
    fn a_planned_package_names_its_file() {
        let line = "Inst nginx (1:1.22-9 Debian:12.11/oldstable, Debian-Security [amd64]) []";
        assert_eq!(
            planned_file(line).as_deref(),
            Some("nginx_1%3a1.22-9_amd64.deb")
        );
        assert_eq!(planned_file("Conf nginx (1.22-9 Debian:12 [amd64])"), None);
    }

    #[test]
    fn source_packages_and_disabled_stanzas_are_left_out() {
        assert_eq!(one_line("deb-src http://mirror/debian bookworm main"), None);
        assert_eq!(
            deb822("Types: deb\nEnabled: no\nURIs: http://mirror\nSuites: a\n"),
            []
        );
        assert_eq!(
            deb822("Types: deb-src\nURIs: http://mirror\nSuites: a\n"),
            []
        );
    }
}
