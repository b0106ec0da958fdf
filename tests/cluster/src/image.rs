//! Images, made on the node by buildah from the distribution's packages and from weft's own Dockerfile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use weft_workloads::{Group, Workloads};

use crate::command::Run as _;
use crate::node::{self, Node, PAUSE_IMAGE};

/// A third party's program with what it needs around it, and nothing of this machine.
struct Image {
    name: &'static str,
    /// None: the node's own static tools.
    packages: &'static [&'static str],
    /// Below the applications of `tests/workloads`, and what must have been built for it.
    application: Option<(&'static str, Group)>,
    /// After `FROM scratch` and the packages.
    commands: &'static str,
}

pub(crate) const NGINX: &str = "localhost/weft-nginx:1";
pub(crate) const PYTHON: &str = "localhost/weft-python:1";
pub(crate) const NODE: &str = "localhost/weft-node:1";
pub(crate) const GO: &str = "localhost/weft-go:1";
pub(crate) const WEFT: &str = "localhost/weft:test";

const IMAGES: &[Image] = &[
    Image {
        name: PAUSE_IMAGE,
        packages: &[],
        application: None,
        commands: "COPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\", \"sleep\", \"2147483647\"]\n",
    },
    Image {
        name: NGINX,
        packages: &["nginx"],
        application: None,
        commands: "ENTRYPOINT [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]\n",
    },
    Image {
        name: PYTHON,
        packages: &["python3", "gunicorn", "python3-flask", "python3-requests"],
        application: Some(("python/hop.py", Group::Python)),
        commands: "WORKDIR /srv/apps/python\n\
            ENTRYPOINT [\"/usr/bin/gunicorn\", \"--worker-tmp-dir\", \"/dev/shm\", \"--worker-class\", \"gthread\", \"--keep-alive\", \"30\", \
            \"--threads\", \"8\", \"--bind\", \"0.0.0.0:8080\", \"hop:app\"]\n",
    },
    Image {
        name: NODE,
        packages: &["nodejs", "node-express"],
        application: Some(("node/hop.js", Group::Node)),
        commands: "ENV HOST=0.0.0.0 PORT=8080\nENTRYPOINT [\"/usr/bin/node\", \"/srv/apps/node/hop.js\"]\n",
    },
    Image {
        name: GO,
        packages: &[],
        application: Some(("go/hop", Group::Go)),
        commands: "ENV HOST=0.0.0.0 PORT=8080\nENTRYPOINT [\"/srv/apps/go/hop\"]\n",
    },
];

fn cache() -> PathBuf {
    node::parts().images
}

/// Fetches what the images are made of.
pub(crate) fn ensure() -> Result<()> {
    fs::create_dir_all(cache())?;
    for image in IMAGES {
        if !image.packages.is_empty() {
            weft_workloads::root_of_packages(&image.root(), &[], image.packages)
                .with_context(|| format!("cannot fetch the packages of {}", image.name))?;
        }
    }
    Ok(())
}

/// Builds what is not in the cache, and hands all to the node's containerd.
pub(crate) fn load_all(node: &Node) -> Result<()> {
    for image in IMAGES {
        image.ensure(node)?;
        node.ctr(&["images", "import", &format!("/images/{}.tar", image.file())])?;
    }
    Ok(())
}

/// Builds weft's image from its Dockerfile, and hands it to the node's containerd.
pub(crate) fn load_weft(node: &Node, program: &Path, tag: &str) -> Result<()> {
    let context = node.place.run.join("exchange/weft");
    make_context(&context, program, &node.place.root)?;
    let dockerfile = root().join("deploy/Dockerfile");
    fs::copy(&dockerfile, context.join("Dockerfile"))
        .with_context(|| format!("no {}", dockerfile.display()))?;
    fs::copy(program, context.join("weft"))?;
    build(node, "/exchange/weft", tag, "/exchange/weft.tar")?;
    node.ctr(&["images", "import", "/exchange/weft.tar"])?;
    Ok(())
}

/// The context of `deploy/Dockerfile`: the program, and the authorities that a root file system of packages holds.
pub(crate) fn make_context(context: &Path, program: &Path, root: &Path) -> Result<()> {
    let directory = context.join(architecture()?);
    fs::create_dir_all(&directory)?;
    fs::copy(program, directory.join("weft"))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    // A package holds each by itself; putting them together is left to its installation.
    let authorities = root.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> = fs::read_dir(&authorities)
        .with_context(|| format!("no {}", authorities.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut bundle = Vec::new();
    for file in files {
        bundle.extend(fs::read(file)?);
        bundle.push(b'\n');
    }
    fs::write(context.join("ca-certificates.crt"), bundle)?;
    Ok(())
}

/// As images call it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images of {other} have no name here"),
    }
}

/// Root of the work tree.
pub(crate) fn root() -> PathBuf {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    this.ancestors().nth(2).unwrap_or(this).to_owned()
}

fn build(node: &Node, context: &str, name: &str, archive: &str) -> Result<()> {
    let buildah = |arguments: &[&str]| -> Result<()> {
        node.place
            .command("buildah")
            .args(["--storage-driver", "overlay"])
            .args(arguments)
            .read()
            .map(drop)
    };
    let architecture = format!("TARGETARCH={}", architecture()?);
    buildah(&[
        "build",
        "--isolation",
        "chroot",
        "--build-arg",
        &architecture,
        "--tag",
        name,
        context,
    ])
    .with_context(|| format!("cannot build {name}"))?;
    buildah(&["push", name, &format!("docker-archive:{archive}:{name}")])?;
    buildah(&["rmi", name])
}

// === impl Image ===

impl Image {
    /// `localhost/weft-nginx:1` is `weft-nginx`.
    fn file(&self) -> &'static str {
        let name = self.name.rsplit('/').next().unwrap_or(self.name);
        name.split(':').next().unwrap_or(name)
    }

    fn root(&self) -> PathBuf {
        cache().join(self.file()).join("root")
    }

    fn dockerfile(&self) -> String {
        let mut text = "FROM scratch\n".to_owned();
        if !self.packages.is_empty() {
            text.push_str("COPY root/ /\n");
        }
        if let Some((file, _)) = self.application {
            text.push_str(&format!("COPY application /srv/apps/{file}\n"));
        }
        text.push_str(self.commands);
        text
    }

    fn ensure(&self, node: &Node) -> Result<()> {
        let context = cache().join(self.file());
        let archive = cache().join(format!("{}.tar", self.file()));
        let stamp = cache().join(format!("{}.stamp", self.file()));
        fs::create_dir_all(&context)?;
        let mut contents = format!("{}{}\n", self.dockerfile(), self.packages.join(" "));
        if let Some((file, group)) = self.application {
            let workloads = Workloads::ensure(&[group])?;
            let application = workloads
                .root()
                .join(weft_workloads::APPS.trim_start_matches('/'))
                .join(file);
            fs::copy(&application, context.join("application"))
                .with_context(|| format!("no {}", application.display()))?;
            let modified = fs::metadata(&application)?.modified()?;
            contents.push_str(&format!("{modified:?}\n"));
        } else if self.packages.is_empty() {
            fs::copy(node.place.root.join("bin/busybox"), context.join("busybox"))?;
        }
        let is_warm =
            archive.is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == contents);
        if is_warm {
            return Ok(());
        }
        eprintln!("cluster: building the image {}", self.name);
        fs::write(context.join("Dockerfile"), self.dockerfile())?;
        if archive.exists() {
            fs::remove_file(&archive)?;
        }
        build(
            node,
            &format!("/images/{}", self.file()),
            self.name,
            &format!("/images/{}.tar", self.file()),
        )?;
        fs::write(stamp, contents)?;
        Ok(())
    }
}
