//! What `/proc/<pid>/cgroup` tells of a process: its container, its pod and its systemd unit.
//!
//! One line for each hierarchy, `id:controllers:path`: cgroup v1 has many, v2 has `0::path`, a hybrid
//! has both, of which the one that the container's runtime does not use says `/`.

use std::fmt;

/// Where a process stands among the control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// In the hierarchy that says most; relative to the agent's cgroup namespace.
    pub(crate) path: String,
    pub(crate) container: Option<Container>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// `None`: the path does not tell.
    pub(crate) runtime: Option<Runtime>,
    /// As the API server has it: with `-`.
    pub(crate) pod_uid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Containerd,
    CriO,
    Docker,
    Podman,
}

/// What stands before the id in the name of a group.
const PREFIXES: [(&str, Runtime); 6] = [
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("docker", Runtime::Docker),
    ("libpod", Runtime::Podman),
    ("libpod-payload", Runtime::Podman),
];

// === impl Place ===

impl Place {
    /// Of the text of a cgroup file.
    ///
    /// ```text
    /// 0::/system.slice/docker-<id>.scope
    /// 0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
    /// 12:memory:/kubepods/burstable/pod<uid>/<id>
    /// 0::/system.slice/containerd.service/kubepods-besteffort-pod<uid>.slice:cri-containerd:<id>
    /// 0::/machine.slice/libpod-<id>.scope/container
    /// ```
    pub(crate) fn read(cgroup: &str) -> Self {
        let paths = || cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        if let Some((path, container)) =
            paths().find_map(|path| Some((path, Container::in_path(path)?)))
        {
            return Self {
                path: path.to_owned(),
                container: Some(container),
            };
        }
        // The first of the longest: hierarchies that nobody uses say `/`.
        let longest = paths().rev().max_by_key(|path| path.len());
        Self {
            path: longest.unwrap_or_default().to_owned(),
            container: None,
        }
    }

    /// The innermost unit of systemd's.
    pub(crate) fn unit(&self) -> Option<&str> {
        let is_unit = |name: &&str| name.ends_with(".service") || name.ends_with(".scope");
        self.path.rsplit('/').find(is_unit)
    }
}

// === impl Container ===

impl Container {
    /// Of nested ones the innermost. Podman adds a `container` directory below its scope, others may too.
    fn in_path(path: &str) -> Option<Self> {
        let (at, (runtime, id)) = path
            .rsplit('/')
            .enumerate()
            .find_map(|(at, segment)| Some((at, of_segment(segment)?)))?;
        let above = path.rsplit('/').skip(at);
        let pod_uid = above.clone().find_map(pod_uid);
        // `/docker/<id>`
        let parent = above.clone().nth(1);
        let by_parent = (parent == Some("docker")).then_some(Runtime::Docker);
        Some(Self {
            id: id.to_owned(),
            runtime: runtime.or(by_parent),
            pod_uid,
        })
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            runtime,
            pod_uid,
        } = self;
        f.write_str(id)?;
        if let Some(runtime) = runtime {
            write!(f, ", {runtime}")?;
        }
        if let Some(uid) = pod_uid {
            write!(f, ", pod {uid}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

fn of_segment(segment: &str) -> Option<(Option<Runtime>, &str)> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let (before, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The monitor of a container is no part of it.
    if !is_id || before.ends_with("conmon") {
        return None;
    }
    let before = before.rsplit(':').next().unwrap_or(before);
    let known = PREFIXES.iter().find(|(prefix, _)| *prefix == before);
    Some((known.map(|(_, runtime)| *runtime), id))
}

/// `pod<uid>`, or `kubepods-burstable-pod<uid>.slice`, where `_` stands for `-`. Pods that the kubelet has
/// from files have 32 digits for a uid.
fn pod_uid(segment: &str) -> Option<String> {
    let name = segment.split(':').next().unwrap_or(segment);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None if name.contains("kubepods") => name.rsplit_once("-pod")?.1,
        None => return None,
    };
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let others = uid.bytes().filter(|byte| matches!(byte, b'-' | b'_'));
    let others = others.count();
    (digits == 32 && matches!(others, 0 | 4) && uid.len() == digits + others)
        .then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c01d4e5b6a7988796a5b4c3d2e1f00112233445566778899aabbccddeef";
    const UID: &str = "0d9a4c5e-7f1b-4e0e-9c55-2b1f7c6f3a10";
    const UID_: &str = "0d9a4c5e_7f1b_4e0e_9c55_2b1f7c6f3a10";
    const STATIC: &str = "7d3f1c0a9b8e4d5f6a7b8c9d0e1f2a3b";

    #[track_caller]
    fn check(cgroup: &str, runtime: Option<Runtime>, pod: Option<&str>, unit: Option<&str>) {
        let text = |text: &str| {
            text.replace("STATIC", STATIC)
                .replace("UID_", UID_)
                .replace("UID", UID)
                .replace("ID", ID)
        };
        // `ID` stands in `UID`.
        let place = Place::read(&text(cgroup));
        let expected = Container {
            id: ID.to_owned(),
            runtime,
            pod_uid: pod.map(ToOwned::to_owned),
        };
        assert_eq!(place.container, Some(expected), "{cgroup}");
        let unit = unit.map(text);
        assert_eq!(place.unit(), unit.as_deref(), "{cgroup}");
    }

    #[test]
    fn containers() {
        use Runtime::*;
        let scope = "docker-ID.scope";
        check(
            "0::/system.slice/docker-ID.scope\n",
            Some(Docker),
            None,
            Some(scope),
        );
        check(
            "12:memory:/docker/ID\n11:cpu:/docker/ID\n0::/\n",
            Some(Docker),
            None,
            None,
        );
        let scope = Some("libpod-ID.scope");
        check(
            "0::/machine.slice/libpod-ID.scope/container",
            Some(Podman),
            None,
            scope,
        );
        check(
            "0::/machine.slice/libpod-ID.scope",
            Some(Podman),
            None,
            scope,
        );
        check(
            "9:pids:/libpod_parent/libpod-ID\n0::/\n",
            Some(Podman),
            None,
            None,
        );
        check("0::/default/ID", None, None, None);
        let scope = Some("nerdctl-ID.scope");
        check(
            "0::/system.slice/nerdctl-ID.scope",
            Some(Containerd),
            None,
            scope,
        );
    }

    #[test]
    fn pods() {
        use Runtime::*;
        let scope = Some("cri-containerd-ID.scope");
        let text = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope";
        check(text, Some(Containerd), Some(UID), scope);
        let scope = Some("crio-ID.scope");
        let text = "0::/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope/container";
        check(text, Some(CriO), Some(UID), scope);
        let scope = Some("docker-ID.scope");
        let text = "0::/kubepods.slice/kubepods-podSTATIC.slice/docker-ID.scope";
        check(text, Some(Docker), Some(STATIC), scope);
        let text = "1:name=systemd:/kubepods/besteffort/podUID/ID";
        check(text, None, Some(UID), None);
        // Hybrid: the kubelet uses v1, or v2 while v1 is mounted for one controller.
        let text = "5:cpu,cpuacct:/kubepods/burstable/podUID/ID\n1:name=systemd:/\n0::/\n";
        check(text, None, Some(UID), None);
        let text = "4:net_cls:/\n0::/kubepods/podUID/ID\n";
        check(text, None, Some(UID), None);
        let text = "0::/system.slice/containerd.service/kubepods-besteffort-podUID_.slice:cri-containerd:ID";
        check(
            text,
            Some(Containerd),
            Some(UID),
            Some("containerd.service"),
        );
        // A node that is a container, and an agent in a cgroup namespace of its own.
        let outer = "a".repeat(64);
        let text = format!(
            "0::/docker/{outer}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope"
        );
        let scope = Some("cri-containerd-ID.scope");
        check(&text, Some(Containerd), Some(UID), scope);
        check("0::/../../podUID/ID", None, Some(UID), None);
    }

    #[test]
    fn others() {
        for (text, path, unit) in [
            (
                "0::/machine.slice/libpod-conmon-ID.scope",
                "/machine.slice/libpod-conmon-ID.scope",
                Some("libpod-conmon-ID.scope"),
            ),
            (
                "0::/user.slice/user-1000.slice/session-2.scope",
                "/user.slice/user-1000.slice/session-2.scope",
                Some("session-2.scope"),
            ),
            (
                "3:cpu:/\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service\n",
                "/system.slice/nginx.service",
                Some("nginx.service"),
            ),
            (
                "0::/kubepods/burstable/podnone",
                "/kubepods/burstable/podnone",
                None,
            ),
            ("0::/", "/", None),
            ("", "", None),
        ] {
            let place = Place::read(&text.replace("ID", ID));
            assert_eq!(
                (&place.container, place.path.as_str()),
                (&None, &*path.replace("ID", ID))
            );
            assert_eq!(
                place.unit(),
                unit.map(|unit| unit.replace("ID", ID)).as_deref()
            );
        }
    }
}
