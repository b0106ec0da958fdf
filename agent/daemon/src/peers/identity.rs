//! How agents know each other: by a secret that all of them have, or by certificates.
//!
//! Out of the secret a key pair is derived, the same on every node: TLS 1.3 with raw public keys (RFC 7250)
//! on both sides, of which only this one is accepted, so that each side proves by its signature over the
//! handshake that it has the secret. Nothing of an earlier connection is of use for another one: there is no
//! resumption and no early data.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
        UnixTime, pem, pem::PemObject as _,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::config::Peers;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("peers: {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "peers.secret_file: {}: a secret of {found} bytes, at least {MIN_SECRET} are needed: `openssl rand -hex 32` makes one",
        path.display()
    )]
    Short { path: PathBuf, found: usize },
    #[error("peers: {}: {source}", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("peers.authority: {}: no certificate in it", path.display())]
    NoAuthority { path: PathBuf },
    #[error("peers: {0}")]
    Tls(#[from] rustls::Error),
    #[error("peers.authority: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("peers.secret_file: no key can be derived from the secret")]
    Derivation,
    #[error("peers: neither a secret nor certificates")]
    Nothing,
}

/// Both sides of TLS; the server's demands a client that proves itself.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

const MIN_SECRET: usize = 32;
/// Application protocol (ALPN): what else listens on a port says no.
const PROTOCOL: &[u8] = b"weft-peer";
/// What stands before the 32 bytes of a key of Ed25519 (RFC 8410): private in PKCS #8, public in SPKI.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

// === impl Identity ===

impl Identity {
    /// As it is configured; files are read once.
    pub(crate) fn read(peers: &Peers) -> Result<Self, Error> {
        match peers {
            Peers {
                secret_file: Some(path),
                ..
            } => Self::of_secret_file(path),
            Peers {
                certificate: Some(certificate),
                key: Some(key),
                authority: Some(authority),
                ..
            } => Self::of_files(certificate, key, authority),
            _ => Err(Error::Nothing),
        }
    }

    fn of_secret_file(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let secret = bytes.trim_ascii();
        if secret.len() < MIN_SECRET {
            return Err(Error::Short {
                path: path.to_owned(),
                found: secret.len(),
            });
        }
        Self::of_secret(secret)
    }

    pub(super) fn of_secret(secret: &[u8]) -> Result<Self, Error> {
        let key = signing_key(secret)?;
        let only = Arc::new(Only {
            key: key.cert[0].to_vec(),
            provider: Arc::new(provider::default_provider()),
        });
        let client = ClientConfig::builder_with_provider(Arc::clone(&only.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&only) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&key),
            )));
        let server = ServerConfig::builder_with_provider(Arc::clone(&only.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(only)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
        Ok(Self::new(client, server))
    }

    fn of_files(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, Error> {
        let provider = Arc::new(provider::default_provider());
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(authority)?);
        if added == 0 {
            return Err(Error::NoAuthority {
                path: authority.to_owned(),
            });
        }
        let roots = Arc::new(roots);
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::Pem {
            path: key.to_owned(),
            source,
        })?;
        let of_servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let of_clients =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(of_servers)
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(of_clients)
            .with_single_cert(chain, key)?;
        Ok(Self::new(client, server))
    }

    fn new(mut client: ClientConfig, mut server: ServerConfig) -> Self {
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.send_tls13_tickets = 0;
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    }
}

/// HKDF-SHA-256 (RFC 5869) of the secret is the private key.
fn signing_key(secret: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"weft peers 1").extract(secret);
    let mut seed = [0; 32];
    extracted
        .expand(&[b"ed25519 identity"], hkdf::HKDF_SHA256)
        .and_then(|key| key.fill(&mut seed))
        .map_err(|_| Error::Derivation)?;
    let public = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::Derivation)?;
    let spki = [&SPKI[..], public.public_key().as_ref()].concat();
    let pkcs8 = PrivatePkcs8KeyDer::from([&PKCS8[..], &seed].concat());
    let key = provider::sign::any_eddsa_type(&pkcs8)?;
    Ok(Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(spki)],
        key,
    )))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| Error::Pem {
            path: path.to_owned(),
            source,
        })
}

/// Accepts one public key, whoever shows it: that the secret is known is proved by the signature.
#[derive(Debug)]
struct Only {
    /// SPKI, DER.
    key: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl Only {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        // The key is public: how long the comparison takes tells nothing.
        if shown.as_ref() == self.key {
            Ok(())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check(shown)?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(shown.as_ref()),
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }
}

fn only_tls13() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
