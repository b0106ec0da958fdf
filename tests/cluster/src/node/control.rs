//! etcd, the API server, and what acts through it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::daemon::Daemon;
use super::{ADDRESS, Node, POD_NETWORK, SERVICE_NETWORK, environment, wait};
use crate::command::Run as _;

const API_SERVER: &str = "kube-apiserver";
const READY_LIMIT: Duration = Duration::from_secs(90);

impl Node {
    pub(super) fn start_control_plane(&mut self) -> Result<()> {
        let etcd = self.daemon(
            "etcd",
            &[
                "--data-dir=/var/lib/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                // The data is thrown away; its disk may be slow.
                "--unsafe-no-fsync",
            ],
        )?;
        self.run(etcd);
        self.start_api_server()?;
        let controllers = self.daemon(
            "kube-controller-manager",
            &[
                "--kubeconfig=/etc/kubernetes/controller-manager.kubeconfig",
                "--service-account-private-key-file=/etc/kubernetes/sa.key",
                "--root-ca-file=/etc/kubernetes/ca.crt",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--authentication-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig",
                "--authorization-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig",
            ],
        )?;
        self.run(controllers);
        let scheduler = self.daemon(
            "kube-scheduler",
            &[
                "--kubeconfig=/etc/kubernetes/scheduler.kubeconfig",
                "--authentication-kubeconfig=/etc/kubernetes/scheduler.kubeconfig",
                "--authorization-kubeconfig=/etc/kubernetes/scheduler.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ],
        )?;
        self.run(scheduler);
        let proxy = self.daemon(
            "kube-proxy",
            &[
                "--kubeconfig=/etc/kubernetes/proxy.kubeconfig",
                "--proxy-mode=nftables",
                &format!("--hostname-override={}", super::NAME),
                &format!("--cluster-cidr={POD_NETWORK}"),
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
                "--healthz-bind-address=127.0.0.1:10256",
                "--metrics-bind-address=127.0.0.1:10249",
            ],
        )?;
        self.run(proxy);
        Ok(())
    }

    pub(crate) fn start_api_server(&mut self) -> Result<()> {
        let server = self.daemon(
            API_SERVER,
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=0.0.0.0",
                "--secure-port=6443",
                &format!("--advertise-address={ADDRESS}"),
                &format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--client-ca-file=/etc/kubernetes/ca.crt",
                "--tls-cert-file=/etc/kubernetes/apiserver.crt",
                "--tls-private-key-file=/etc/kubernetes/apiserver.key",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                "--service-account-key-file=/etc/kubernetes/sa.pub",
                "--service-account-signing-key-file=/etc/kubernetes/sa.key",
                "--kubelet-client-certificate=/etc/kubernetes/apiserver-kubelet.crt",
                "--kubelet-client-key=/etc/kubernetes/apiserver-kubelet.key",
                "--kubelet-preferred-address-types=InternalIP",
                "--allow-privileged=true",
                "--profiling=false",
            ],
        )?;
        self.run(server);
        wait("the API server is ready", READY_LIMIT, || {
            self.check()?;
            Ok(self
                .kubectl(&["get", "--raw", "/readyz"])?
                .read()
                .is_ok_and(|answer| answer == "ok"))
        })
        .with_context(|| format!("see {}", self.log(API_SERVER).display()))?;
        Ok(())
    }

    pub(crate) fn kill_api_server(&mut self) -> Result<()> {
        self.kill(API_SERVER)
    }

    pub(super) fn daemon(&self, program: &str, arguments: &[&str]) -> Result<Daemon> {
        Daemon::start(
            program,
            &self.log(program),
            self.place.command(program).args(arguments),
        )
    }

    /// With an administrator's rights.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.place.bin.join("kubectl"));
        command
            .args(["--request-timeout=20s"])
            .args(arguments)
            .envs(environment()?);
        Ok(command)
    }

    /// With an administrator's rights, and with files of its own that are gone with the cluster.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.place.bin.join("helm"));
        command.args(arguments).envs(environment()?);
        for name in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{name}_HOME"), self.place.run.join("helm"));
        }
        Ok(command)
    }

    pub(crate) fn apply(&self, object: &serde_json::Value) -> Result<()> {
        self.apply_with(&[], &object.to_string()).map(drop)
    }

    /// Applies manifests, with more of kubectl's flags.
    pub(crate) fn apply_with(&self, flags: &[&str], manifests: &str) -> Result<String> {
        let file = self.place.run.join("apply.yaml");
        std::fs::write(&file, manifests)?;
        let file = file.display().to_string();
        self.kubectl(&["apply", "--filename", &file])?
            .args(flags)
            .read()
    }

    /// A configuration that names the API server and no user.
    pub(crate) fn anonymous(&self) -> Result<std::path::PathBuf> {
        let file = self.place.run.join("pki/anonymous.kubeconfig");
        let text = std::fs::read_to_string(self.place.run.join("pki/admin.kubeconfig"))?;
        let mut config: serde_json::Value = serde_json::from_str(&text)?;
        config["users"][0]["user"] = serde_json::json!({});
        std::fs::write(&file, config.to_string())?;
        Ok(file)
    }

    /// `weft doctor` on the node, as root with all rights.
    pub(crate) fn privileged_doctor(&self) -> Result<String> {
        self.place
            .command("/exchange/weft/weft")
            .arg("doctor")
            .read()
    }
}
