//! The cluster's own certificate authority, and who is known by a certificate of it.
//!
//! Names and groups are those that Kubernetes binds rights to (`kubernetes.io/docs/setup/best-practices/certificates`).

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::{ADDRESS, API_SERVICE_ADDRESS, NAME};

/// Whom a certificate names.
struct Identity {
    file: &'static str,
    user: String,
    group: Option<&'static str>,
    /// Addresses and host names of a server.
    hosts: Vec<String>,
}

/// Writes `ca.crt`, `sa.key`, and for each identity a `.crt`, a `.key` and a `.kubeconfig`.
pub(super) fn make(directory: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "weft-cluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    fs::write(directory.join("ca.crt"), certificate.pem())?;
    fs::write(directory.join("ca.key"), key.serialize_pem())?;
    // What service accounts' tokens are signed with.
    let accounts = KeyPair::generate()?;
    fs::write(directory.join("sa.key"), accounts.serialize_pem())?;
    fs::write(directory.join("sa.pub"), accounts.public_key_pem())?;
    let issuer = Issuer::new(parameters, key);
    for identity in identities() {
        identity.write(directory, &issuer)?;
    }
    Ok(())
}

fn identities() -> Vec<Identity> {
    let client = |file, user: &str, group| Identity {
        file,
        user: user.to_owned(),
        group,
        hosts: Vec::new(),
    };
    let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    vec![
        Identity {
            hosts: hosts(&[
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "localhost",
                "127.0.0.1",
                ADDRESS,
                API_SERVICE_ADDRESS,
            ]),
            ..client("apiserver", "kube-apiserver", None)
        },
        // How the API server shows itself to kubelet.
        client(
            "apiserver-kubelet",
            "kube-apiserver-kubelet-client",
            Some("system:masters"),
        ),
        client("admin", "admin", Some("system:masters")),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("proxy", "system:kube-proxy", Some("system:node-proxier")),
        Identity {
            hosts: hosts(&[NAME, ADDRESS]),
            ..client(
                "kubelet",
                &format!("system:node:{NAME}"),
                Some("system:nodes"),
            )
        },
    ]
}

impl Identity {
    fn write(&self, directory: &Path, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let Self {
            file,
            user,
            group,
            hosts,
        } = self;
        let mut parameters = CertificateParams::new(hosts.clone())?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, user.as_str());
        if let Some(group) = group {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, *group);
        }
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, issuer)?;
        fs::write(directory.join(format!("{file}.crt")), certificate.pem())?;
        fs::write(directory.join(format!("{file}.key")), key.serialize_pem())?;
        // Paths in it are relative to where it lies, on the node and beside it.
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": file}}],
            "clusters": [{"name": "cluster", "cluster": {
                "server": format!("https://{ADDRESS}:6443"),
                "certificate-authority": "ca.crt",
            }}],
            "users": [{"name": file, "user": {
                "client-certificate": format!("{file}.crt"),
                "client-key": format!("{file}.key"),
            }}],
        });
        fs::write(
            directory.join(format!("{file}.kubeconfig")),
            kubeconfig.to_string(),
        )?;
        Ok(())
    }
}
