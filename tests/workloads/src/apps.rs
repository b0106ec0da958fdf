//! The small applications of `apps/`, put into the root file system and built there where they need it.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::cache::cache_dir;
use crate::{Group, Workloads};

/// Directory of the applications, as programs see it.
pub const DIR: &str = "/srv/apps";

const FILES: &[(&str, &str)] = &[
    ("python/hop.py", include_str!("../apps/python/hop.py")),
    ("node/hop.js", include_str!("../apps/node/hop.js")),
    ("go/hop.go", include_str!("../apps/go/hop.go")),
    ("java/Hop.java", include_str!("../apps/java/Hop.java")),
    ("ruby/hop.rb", include_str!("../apps/ruby/hop.rb")),
    ("ruby/config.ru", include_str!("../apps/ruby/config.ru")),
    ("php/index.php", include_str!("../apps/php/index.php")),
    ("otel/client.py", include_str!("../apps/otel/client.py")),
    ("http2/hop.mjs", include_str!("../apps/http2/hop.mjs")),
    ("http2/hop.py", include_str!("../apps/http2/hop.py")),
    ("grpc/server.py", include_str!("../apps/grpc/server.py")),
    ("grpc/client.py", include_str!("../apps/grpc/client.py")),
    ("grpc/echo.go", include_str!("../apps/grpc/echo.go")),
    ("tasks/gate.py", include_str!("../apps/tasks/gate.py")),
    ("tasks/ask.py", include_str!("../apps/tasks/ask.py")),
    ("tasks/gate.js", include_str!("../apps/tasks/gate.js")),
    ("tasks/gate.go", include_str!("../apps/tasks/gate.go")),
    ("tasks/Gate.java", include_str!("../apps/tasks/Gate.java")),
    (
        "tasks/Client.java",
        include_str!("../apps/tasks/Client.java"),
    ),
    ("rust/Cargo.toml", include_str!("../apps/rust/Cargo.toml")),
    ("rust/Cargo.lock", include_str!("../apps/rust/Cargo.lock")),
    ("rust/src/main.rs", include_str!("../apps/rust/src/main.rs")),
    ("tls/server.py", include_str!("../apps/tls/server.py")),
    ("tls/client.py", include_str!("../apps/tls/client.py")),
    ("tls/server.js", include_str!("../apps/tls/server.js")),
    ("tls/client.js", include_str!("../apps/tls/client.js")),
    ("tls/fetch.js", include_str!("../apps/tls/fetch.js")),
    ("tls/curl.py", include_str!("../apps/tls/curl.py")),
    ("tls/tls.go", include_str!("../apps/tls/tls.go")),
    ("tls/Tls.java", include_str!("../apps/tls/Tls.java")),
    (
        "shop/storefront/storefront.py",
        include_str!("../apps/shop/storefront/storefront.py"),
    ),
    (
        "shop/catalog/index.php",
        include_str!("../apps/shop/catalog/index.php"),
    ),
    (
        "shop/stock/config.ru",
        include_str!("../apps/shop/stock/config.ru"),
    ),
    (
        "shop/recommendations/recommendations.js",
        include_str!("../apps/shop/recommendations/recommendations.js"),
    ),
];

/// Source, product and command of what is compiled.
const BUILDS: &[(Group, &str, &str, &[&str])] = &[
    (
        Group::Go,
        "go/hop.go",
        "go/hop",
        &["/usr/bin/go", "build", "-o", "hop", "hop.go"],
    ),
    (
        Group::Go,
        "tls/tls.go",
        "tls/tls",
        &[
            "/usr/bin/go",
            "build",
            "-ldflags",
            "-s -w",
            "-o",
            "tls",
            "tls.go",
        ],
    ),
    (
        Group::Go,
        "tasks/gate.go",
        "tasks/gate",
        &[
            "/usr/bin/go",
            "build",
            "-ldflags",
            "-s -w",
            "-o",
            "gate",
            "gate.go",
        ],
    ),
    (
        Group::Grpc,
        "grpc/echo.go",
        "grpc/echo",
        &[
            "/usr/bin/go",
            "build",
            "-ldflags",
            "-s -w",
            "-o",
            "echo",
            "echo.go",
        ],
    ),
    (
        Group::Java,
        "java/Hop.java",
        "java/Hop.class",
        &["/usr/bin/javac", "Hop.java"],
    ),
    (
        Group::Java,
        "tasks/Gate.java",
        "tasks/Gate.class",
        &["/usr/bin/javac", "Gate.java"],
    ),
    (
        Group::Java,
        "tasks/Client.java",
        "tasks/Client.class",
        &["/usr/bin/javac", "Client.java"],
    ),
];

pub(crate) fn ensure(workloads: &Workloads, groups: &[Group]) -> Result<()> {
    let dir = workloads.root().join(DIR.trim_start_matches('/'));
    for &(name, text) in FILES {
        let path = dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text)?;
    }
    for &(group, source, product, command) in BUILDS {
        if groups.contains(&group) && is_older(&dir.join(product), &dir.join(source)) {
            build(workloads, source, command)?;
        }
    }
    if groups.contains(&Group::Rust) {
        build_rust(&dir.join("rust"))?;
    }
    Ok(())
}

/// The program as it is, and without its symbols: by this machine's own cargo, linked so that it needs nothing
/// of the root file system.
fn build_rust(dir: &Path) -> Result<()> {
    const PRODUCTS: [(&str, &[&str]); 2] =
        [("gate", &[]), ("gate-stripped", &["-C", "strip=symbols"])];
    for (product, options) in PRODUCTS {
        if !is_older(&dir.join(product), &dir.join("src/main.rs"))
            && !is_older(&dir.join(product), &dir.join("Cargo.lock"))
        {
            continue;
        }
        eprintln!("workloads: building rust/{product}");
        let target = cache_dir().join("rust");
        let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["rustc", "--release", "--locked", "--bin", "gate"])
            .args(["--", "-C", "target-feature=+crt-static"])
            .args(options)
            .current_dir(dir)
            .env("CARGO_TARGET_DIR", &target)
            // What builds this project is not for it.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!(
                "cannot build rust/{product}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        fs::copy(target.join("release/gate"), dir.join(product))?;
    }
    Ok(())
}

fn build(workloads: &Workloads, source: &str, command: &[&str]) -> Result<()> {
    eprintln!("workloads: building {source}");
    let (program, arguments) = command.split_first().context("an empty build command")?;
    let place = Path::new(DIR).join(source);
    let output = workloads
        .command_in(None, place.parent().unwrap_or(Path::new(DIR)), program)
        .args(arguments)
        .env("GOCACHE", "/var/tmp/go-build")
        .env("GO111MODULE", "off")
        // Where Debian's packages of Go libraries put their sources.
        .env("GOPATH", "/usr/share/gocode")
        .env("CGO_ENABLED", "0")
        .output()?;
    if !output.status.success() {
        bail!(
            "cannot build {source}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn is_older(product: &Path, source: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    match (changed(product), changed(source)) {
        (Ok(product), Ok(source)) => product < source,
        _ => true,
    }
}
