//! Container ids as runtimes leave them in `/proc/<pid>/cgroup`.

/// The id in the text of a cgroup file: v1, v2 and both at once; docker, containerd, CRI-O,
/// podman, under systemd or not.
///
/// ```text
/// 0::/system.slice/docker-<id>.scope
/// 0::/kubepods.slice/.../cri-containerd-<id>.scope
/// 12:memory:/kubepods/burstable/pod<uid>/<id>
/// 0::/system.slice/containerd.service/kubepods-...:cri-containerd:<id>
/// ```
pub(super) fn container_id(cgroup: &str) -> Option<&str> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(id_in_path).next()
}

/// Podman adds a `container` directory below its scope, Kubernetes may add others.
fn id_in_path(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|segment| {
        let name = segment.strip_suffix(".scope").unwrap_or(segment);
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        (is_id(id) && !name.contains("conmon")).then_some(id)
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c01d4e5b6a7988796a5b4c3d2e1f00112233445566778899aabbccddeef";

    #[test]
    fn forms() {
        for (text, expected) in [
            ("0::/system.slice/docker-ID.scope\n", true),
            ("12:memory:/docker/ID\n11:cpu:/docker/ID\n0::/\n", true),
            (
                "0::/kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-ID.scope",
                true,
            ),
            ("0::/kubepods.slice/kubepods-pod2.slice/crio-ID.scope", true),
            ("0::/machine.slice/libpod-ID.scope/container", true),
            ("0::/machine.slice/libpod-conmon-ID.scope", false),
            ("1:name=systemd:/kubepods/besteffort/podab-cd/ID", true),
            (
                "0::/system.slice/containerd.service/kubepods-pod3.slice:cri-containerd:ID",
                true,
            ),
            ("0::/user.slice/user-1000.slice/session-2.scope", false),
            ("", false),
        ] {
            let text = text.replace("ID", ID);
            assert_eq!(container_id(&text), expected.then_some(ID), "{text}");
        }
    }
}
