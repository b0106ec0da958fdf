//! containerd and kubelet: what runs pods.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{ADDRESS, NAME, NAME_SERVER, Node, POD_NETWORK, wait};
use crate::cgroup;
use crate::command::Run as _;

/// What holds a pod's name spaces, made by `image`.
pub(crate) const PAUSE_IMAGE: &str = "localhost/weft-pause:1";

const CONTAINERD: &str = "containerd";
const KUBELET: &str = "kubelet";
const SOCKET: &str = "/run/containerd/containerd.sock";
const READY_LIMIT: Duration = Duration::from_secs(90);

impl Node {
    pub(super) fn start_runtime(&mut self) -> Result<()> {
        let place = &self.place;
        place.write("etc/containerd/config.toml", &containerd_configuration())?;
        place.write("etc/cni/net.d/10-pods.conflist", &pod_network().to_string())?;
        self.place.write(
            "etc/kubernetes/kubelet.yaml",
            &kubelet_configuration().to_string(),
        )?;
        self.start_daemons()
    }

    fn start_daemons(&mut self) -> Result<()> {
        let containerd = self.daemon(CONTAINERD, &[])?;
        self.run(containerd);
        wait("containerd answers", READY_LIMIT, || {
            self.check()?;
            Ok(self.ctr(&["version"]).is_ok())
        })?;
        self.start_kubelet()?;
        wait("the node is ready", READY_LIMIT, || {
            self.check()?;
            let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let ready = self
                .kubectl(&["get", "node", NAME, "--output", path])?
                .read();
            Ok(ready.is_ok_and(|ready| ready == "True"))
        })
        .with_context(|| format!("see {}", self.log(KUBELET).display()))?;
        Ok(())
    }

    /// It ends where containerd answers but has not read what it knows of pods; a service manager would start it again, too.
    fn start_kubelet(&mut self) -> Result<()> {
        let start = |node: &Self| {
            node.daemon(
                KUBELET,
                &[
                    "--config=/etc/kubernetes/kubelet.yaml",
                    "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
                    &format!("--hostname-override={NAME}"),
                    &format!("--node-ip={ADDRESS}"),
                ],
            )
        };
        let mut kubelet = start(self)?;
        wait("kubelet is there", READY_LIMIT, || {
            if kubelet.check().is_err() {
                kubelet = start(self)?;
            }
            Ok(TcpStream::connect("127.0.0.1:10248").is_ok())
        })?;
        self.run(kubelet);
        Ok(())
    }

    /// What a node's loss of power does to the pods and to what runs them; its disk is as it was.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill(KUBELET)?;
        self.kill(CONTAINERD)?;
        cgroup::Group::make()?.kill_pods()?;
        self.start_daemons()
    }

    /// containerd's own client, in the name space that kubelet uses.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Result<String> {
        self.place
            .command("ctr")
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .read()
    }
}

fn containerd_configuration() -> String {
    format!(
        r#"version = 2
# Each wants a file system or a directory that is not here.
disabled_plugins = [
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Not everybody may lower it.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
"#
    )
}

/// Pods on one bridge, which reach the node and each other.
fn pod_network() -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isDefaultGateway": true,
            "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}]]},
        }],
    })
}

fn kubelet_configuration() -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/kubelet.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup::NAME),
        "failCgroupV1": false,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "protectKernelDefaults": false,
        "localStorageCapacityIsolation": false,
        "resolvConf": "/etc/resolv.conf",
        // Nobody answers there: the pods know each other by addresses.
        "clusterDNS": [NAME_SERVER],
        "maxPods": 250,
        // Soon, so that tests need not wait.
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        // The machine's disk is not ours to keep free.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%",
                         "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "featureGates": {},
    })
}
