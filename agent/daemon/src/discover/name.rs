//! A good name for a service that nobody named: what a person would call the program.

use std::path::Path;

use super::ProcessFacts;
use crate::config::{ResourceOverrides, ServiceRule};

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameSource {
    /// `OTEL_SERVICE_NAME` of the process's own environment.
    OwnVariable,
    /// `service.name` in `OTEL_RESOURCE_ATTRIBUTES` of the process's own environment.
    OwnAttributes,
    /// The agent's configuration.
    Configured,
    /// Title, script, module, jar or main class.
    Program,
    Package,
    Executable,
    /// Nothing but the kernel's name for it is known.
    Comm,
}

impl NameSource {
    /// Somebody has named it; else it is a guess.
    pub(super) fn is_said(self) -> bool {
        matches!(
            self,
            Self::OwnVariable | Self::OwnAttributes | Self::Configured
        )
    }
}

pub(crate) fn service_name(
    facts: &ProcessFacts,
    overrides: &ResourceOverrides,
) -> (String, NameSource) {
    if let Some(name) = &facts.otel_service_name {
        return (name.clone(), NameSource::OwnVariable);
    }
    let attribute = facts
        .otel_attributes
        .iter()
        .find(|(key, _)| key == "service.name");
    if let Some((_, name)) = attribute {
        return (name.clone(), NameSource::OwnAttributes);
    }
    let rule = overrides
        .services
        .iter()
        .find(|rule| rule.name.is_some() && rule.matches(&facts.exe));
    if let Some(name) = rule
        .and_then(|rule| rule.name.clone())
        .or_else(|| overrides.service_name.clone())
    {
        return (name, NameSource::Configured);
    }
    derived(facts)
}

impl ServiceRule {
    /// As in the selection: a glob without `/` is for the executable's name.
    pub(crate) fn matches(&self, exe: &Path) -> bool {
        if self.exe.glob().glob().contains('/') {
            self.exe.is_match(exe)
        } else {
            exe.file_name().is_some_and(|name| self.exe.is_match(name))
        }
    }
}

/// `process.runtime.name` where the executable tells.
pub(super) fn runtime(facts: &ProcessFacts) -> Option<&'static str> {
    Some(match Interpreter::of(facts.exe_name()?)? {
        Interpreter::Python => "cpython",
        Interpreter::Node => "nodejs",
        Interpreter::Bun => "bun",
        Interpreter::Deno => "deno",
        Interpreter::Java => "java",
        Interpreter::Ruby => "ruby",
        Interpreter::Php => "php",
        Interpreter::Perl => "perl",
        Interpreter::Shell | Interpreter::BusyBox => return None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpreter {
    Python,
    Node,
    Bun,
    Deno,
    Java,
    Ruby,
    Php,
    Perl,
    Shell,
    BusyBox,
}

impl Interpreter {
    fn of(exe: &str) -> Option<Self> {
        let family = exe.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        Some(match family {
            "python" | "pypy" | "uwsgi" => Self::Python,
            "node" | "nodejs" => Self::Node,
            "bun" => Self::Bun,
            "deno" => Self::Deno,
            "java" => Self::Java,
            "ruby" | "jruby" => Self::Ruby,
            "php" | "php-cgi" => Self::Php,
            "perl" => Self::Perl,
            "sh" | "bash" | "dash" => Self::Shell,
            "busybox" => Self::BusyBox,
            _ => return None,
        })
    }

    /// Options whose value is the next argument.
    fn takes_value(self, option: &str) -> bool {
        let options: &[&str] = match self {
            Self::Python => &["-W", "-X", "--check-hash-based-pycs"],
            Self::Node | Self::Bun | Self::Deno => &[
                "-r",
                "--require",
                "--import",
                "--loader",
                "--env-file",
                "-C",
                "--conditions",
            ],
            Self::Java => &[
                "-cp",
                "-classpath",
                "--class-path",
                "-p",
                "--module-path",
                "--add-modules",
                "--add-opens",
                "--add-exports",
                "--add-reads",
                "--upgrade-module-path",
            ],
            Self::Ruby => &["-I", "-r", "-C", "-E"],
            Self::Php => &["-c", "-d", "-S", "-t"],
            Self::Perl => &["-I", "-M"],
            Self::Shell => &["-o", "+o", "-O"],
            Self::BusyBox => &[],
        };
        options.contains(&option)
    }
}

fn derived(facts: &ProcessFacts) -> (String, NameSource) {
    let Some(exe) = facts.exe_name() else {
        let comm = if facts.comm.is_empty() {
            "unknown_service"
        } else {
            &facts.comm
        };
        return (comm.to_owned(), NameSource::Comm);
    };
    let args: Vec<&str> = facts
        .args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.is_empty())
        .collect();
    if let Some(name) = args.first().and_then(|title| of_title(title)) {
        return (name, NameSource::Program);
    }
    if let Some(interpreter) = Interpreter::of(exe) {
        let found = of_arguments(interpreter, args.get(1..).unwrap_or_default());
        let named = match interpreter {
            Interpreter::BusyBox => applet(&args),
            Interpreter::Node | Interpreter::Bun => {
                if let Some(name) = package(facts, &args) {
                    return (name, NameSource::Package);
                }
                found
            }
            _ => found,
        };
        if let Some(name) = named {
            return (name, NameSource::Program);
        }
    }
    (exe.to_owned(), NameSource::Executable)
}

/// Some servers write what they are over their arguments.
fn of_title(title: &str) -> Option<String> {
    let inside = |open: char, close: char| {
        let start = title.rfind(open)? + 1;
        let end = start + title[start..].find(close)?;
        (end > start).then(|| title[start..end].to_owned())
    };
    if title.starts_with("gunicorn: ") {
        return inside('[', ']').map(|app| module_of(&app));
    }
    if title.starts_with("puma") && title.contains(' ') {
        return inside('[', ']').filter(|name| !name.contains("tcp:"));
    }
    None
}

fn of_arguments(interpreter: Interpreter, args: &[&str]) -> Option<String> {
    if interpreter == Interpreter::Java {
        return java(args);
    }
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match (interpreter, *arg) {
            // A program in an argument has no name.
            (Interpreter::Python | Interpreter::Shell, "-c")
            | (Interpreter::Node | Interpreter::Ruby | Interpreter::Perl, "-e")
            | (Interpreter::Node, "-p" | "--eval" | "--print")
            | (Interpreter::Php, "-r") => return None,
            (Interpreter::Python, "-m") => {
                let module = rest.next()?;
                return Some(
                    launched(module, rest.as_slice()).unwrap_or_else(|| (*module).to_owned()),
                );
            }
            (Interpreter::Php, "-f") => return rest.next().map(|script| stem(script)),
            (Interpreter::Bun | Interpreter::Deno, "run") => {}
            (_, option) if interpreter.takes_value(option) => {
                rest.next();
            }
            (_, option) if option.starts_with('-') => {}
            // Read from a descriptor: a program without a name.
            (_, script) if script.starts_with("/dev/") => return None,
            (_, script) => {
                let name = stem(script);
                return Some(launched(&name, rest.as_slice()).unwrap_or(name));
            }
        }
    }
    None
}

/// Servers that are handed the program as `module:object`, and tools that run a file.
fn launched(launcher: &str, args: &[&str]) -> Option<String> {
    match launcher {
        "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "granian" => {
            let app = args.iter().find(|arg| arg.contains(':') && is_module(arg));
            // gunicorn takes a module alone, too, as its last argument.
            let last = args
                .last()
                .filter(|arg| launcher == "gunicorn" && is_module(arg));
            app.or(last).map(|app| module_of(app))
        }
        "flask" => {
            let separate = args.iter().position(|arg| matches!(*arg, "-A" | "--app"));
            let joined = args.iter().find_map(|arg| arg.strip_prefix("--app="));
            let app = separate
                .and_then(|index| args.get(index + 1).copied())
                .or(joined)?;
            Some(stem(app.split(':').next().unwrap_or(app)))
        }
        "celery" => {
            let index = args.iter().position(|arg| matches!(*arg, "-A" | "--app"))?;
            args.get(index + 1).map(|app| module_of(app))
        }
        "ts-node" | "tsx" | "nodemon" => args
            .iter()
            .find(|arg| !arg.starts_with('-'))
            .map(|script| stem(script)),
        _ => None,
    }
}

/// `shop.main:app` and `shop.main:create()` are `shop.main`.
fn module_of(app: &str) -> String {
    app.split([':', '(']).next().unwrap_or(app).to_owned()
}

fn is_module(text: &str) -> bool {
    let module = text.split([':', '(']).next().unwrap_or_default();
    let starts = module.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts
        && module
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

fn java(args: &[&str]) -> Option<String> {
    let property = [
        "-Dotel.service.name=",
        "-Dspring.application.name=",
        "--spring.application.name=",
    ]
    .iter()
    .find_map(|prefix| args.iter().find_map(|arg| arg.strip_prefix(prefix)))
    .filter(|name| !name.is_empty());
    if let Some(name) = property {
        return Some(name.to_owned());
    }
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match *arg {
            "-jar" => {
                return rest
                    .next()
                    .map(|jar| without_version(&stem(jar)).to_owned());
            }
            "-m" | "--module" => {
                let module = rest.next()?;
                return Some(
                    module
                        .split('/')
                        .next_back()
                        .map_or(*module, last_part)
                        .to_owned(),
                );
            }
            option if Interpreter::Java.takes_value(option) => {
                rest.next();
            }
            option if option.starts_with('-') || option.starts_with('@') => {}
            // A source file is run as it is.
            file if file.ends_with(".java") => return Some(stem(file)),
            class => return Some(last_part(class).to_owned()),
        }
    }
    None
}

fn last_part(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

/// `cart-1.4.2-SNAPSHOT` is `cart`.
fn without_version(name: &str) -> &str {
    let version = name
        .match_indices('-')
        .find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version
        .filter(|(at, _)| *at > 0)
        .map_or(name, |(at, _)| &name[..at])
}

/// `busybox httpd`, or `httpd` by a link.
fn applet(args: &[&str]) -> Option<String> {
    let called = stem(args.first()?);
    if called == "busybox" {
        args.get(1).map(|applet| (*applet).to_owned())
    } else {
        Some(called)
    }
}

/// `name` of the nearest package.json, from the script's directory upwards.
fn package(facts: &ProcessFacts, args: &[&str]) -> Option<String> {
    const LEVELS: usize = 4;
    const BYTES: u64 = 64 << 10;
    let script = args
        .iter()
        .skip(1)
        .find(|arg| !arg.starts_with('-') && **arg != "run")?;
    let script = facts.cwd.join(script);
    // A tool that npm installed is not the program.
    if script
        .components()
        .any(|part| part.as_os_str() == "node_modules")
    {
        return None;
    }
    let root = Path::new("/proc").join(facts.pid.to_string()).join("root");
    script
        .ancestors()
        .skip(1)
        .take(LEVELS)
        .find_map(|directory| {
            let path = root
                .join(directory.strip_prefix("/").ok()?)
                .join("package.json");
            let size = std::fs::metadata(&path).ok()?.len();
            let text = (size <= BYTES).then(|| std::fs::read(&path).ok())??;
            let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
            Some(package.get("name")?.as_str()?.to_owned()).filter(|name| !name.is_empty())
        })
}

fn stem(path: &str) -> String {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exe: &str, command: &str, expected: &str) {
        let facts = ProcessFacts {
            pid: u32::MAX,
            exe: exe.into(),
            comm: "comm".to_owned(),
            args: command.split(' ').map(ToOwned::to_owned).collect(),
            ..ProcessFacts::default()
        };
        assert_eq!(derived(&facts).0, expected, "{command}");
    }

    #[test]
    fn programs() {
        for (exe, command, expected) in [
            ("/usr/sbin/nginx", "nginx -g daemon", "nginx"),
            (
                "/usr/bin/python3.11",
                "python3 /srv/cart.py --port 1",
                "cart",
            ),
            (
                "/usr/bin/python3.11",
                "python3 -u -W ignore cart.py",
                "cart",
            ),
            (
                "/usr/bin/python3.11",
                "python3 -m http.server 8000",
                "http.server",
            ),
            (
                "/usr/bin/python3.11",
                "python3 -m gunicorn -w 4 shop.main:app",
                "shop.main",
            ),
            (
                "/usr/bin/python3.11",
                "python3 /usr/bin/gunicorn -b 0.0.0.0:80 app:app",
                "app",
            ),
            (
                "/usr/bin/python3.11",
                "python3 /usr/bin/gunicorn -b 0.0.0.0:80 wsgi",
                "wsgi",
            ),
            (
                "/usr/bin/python3.11",
                "/v/bin/python /v/bin/uvicorn api.web:app --port 1",
                "api.web",
            ),
            (
                "/usr/bin/python3.11",
                "python3 /v/bin/flask --app shop run",
                "shop",
            ),
            (
                "/usr/bin/python3.11",
                "python3 -m flask --app=src/web.py run",
                "web",
            ),
            ("/usr/bin/python3.11", "python3 -c print(1)", "python3.11"),
            ("/usr/bin/node", "node --require ./x.js server.js", "server"),
            ("/usr/bin/node", "node -e 1", "node"),
            (
                "/usr/lib/jvm/bin/java",
                "java -Xmx1g -cp a:b com.shop.Cart",
                "Cart",
            ),
            (
                "/usr/lib/jvm/bin/java",
                "java -jar /opt/cart-1.4.2-SNAPSHOT.jar",
                "cart",
            ),
            (
                "/usr/lib/jvm/bin/java",
                "java -Dspring.application.name=till -jar x.jar",
                "till",
            ),
            (
                "/usr/lib/jvm/bin/java",
                "java -m shop/com.shop.Main",
                "Main",
            ),
            ("/usr/lib/jvm/bin/java", "java Hello.java 80", "Hello"),
            ("/usr/bin/ruby3.1", "ruby -I lib /srv/till.rb", "till"),
            (
                "/usr/bin/php8.2",
                "php -S 127.0.0.1:80 router.php",
                "router",
            ),
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm8.2"),
            ("/usr/bin/perl", "perl -I lib app.pl", "app"),
            ("/bin/busybox", "busybox httpd -f", "httpd"),
            ("/bin/busybox", "/usr/sbin/httpd -f", "httpd"),
            ("/usr/bin/bash", "bash -x run.sh", "run"),
            ("/usr/bin/bash", "bash /dev/fd/3", "bash"),
        ] {
            check(exe, command, expected);
        }
    }

    #[test]
    fn titles() {
        let titled = |exe: &str, title: &str| {
            let args = vec![title.to_owned(), String::new()];
            derived(&ProcessFacts {
                exe: exe.into(),
                args,
                ..ProcessFacts::default()
            })
            .0
        };
        assert_eq!(
            titled("/usr/bin/python3.11", "gunicorn: worker [shop.main:app]"),
            "shop.main"
        );
        assert_eq!(
            titled("/usr/bin/ruby3.1", "puma 5.6 (tcp://0.0.0.0:80) [till]"),
            "till"
        );
        assert_eq!(titled("/usr/sbin/nginx", "nginx: worker process"), "nginx");
    }

    #[test]
    fn what_the_process_says_of_itself_comes_first() {
        let mut facts = ProcessFacts {
            exe: "/usr/sbin/nginx".into(),
            ..ProcessFacts::default()
        };
        let mut overrides = ResourceOverrides::default();
        let named =
            |facts: &ProcessFacts, overrides: &ResourceOverrides| service_name(facts, overrides);
        assert_eq!(
            named(&facts, &overrides),
            ("nginx".to_owned(), NameSource::Executable)
        );
        overrides.service_name = Some("all".to_owned());
        assert_eq!(
            named(&facts, &overrides),
            ("all".to_owned(), NameSource::Configured)
        );
        let exe = globset::Glob::new("nginx").unwrap().compile_matcher();
        let rule = ServiceRule {
            exe,
            name: Some("edge".to_owned()),
            namespace: None,
        };
        overrides.services.push(rule);
        assert_eq!(named(&facts, &overrides).0, "edge");
        facts.otel_attributes = vec![("service.name".to_owned(), "front".to_owned())];
        assert_eq!(
            named(&facts, &overrides),
            ("front".to_owned(), NameSource::OwnAttributes)
        );
        facts.otel_service_name = Some("door".to_owned());
        assert_eq!(
            named(&facts, &overrides),
            ("door".to_owned(), NameSource::OwnVariable)
        );
        assert_eq!(
            named(&ProcessFacts::named(3, "x"), &ResourceOverrides::default()).1,
            NameSource::Comm
        );
    }
}
