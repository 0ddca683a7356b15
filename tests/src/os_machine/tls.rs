//! TLS of the stand-in: the model's judgement of chains, rustls for the rest.

use k0rotate_activities::pki::{CertInfo, Purpose, Untrusted, key_matches, read_der, verify_chain};
use k0rotate_activities::rehearsal::machine::Pool;
use k0rotate_activities::secret::Secret;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Private keys that were read or written; a chain that is shown is looked up here.
#[derive(Default)]
pub struct Keys(Mutex<Vec<Secret>>);

impl Keys {
    /// Remembers the keys in a file: PEM, or base64 of PEM in a kubeconfig.
    pub fn remember(&self, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        self.remember_pem(text);
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("client-key-data:")) {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(line.trim());
            if let Some(text) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                self.remember_pem(&text);
            }
        }
    }

    fn remember_pem(&self, text: &str) {
        let mut rest = text;
        while let Some(begin) = rest.find("-----BEGIN ") {
            let block = &rest[begin..];
            let Some(label) = block["-----BEGIN ".len()..].split("-----").next() else { return };
            let end = format!("-----END {label}-----");
            let Some(stop) = block.find(&end) else { return };
            if label.ends_with("PRIVATE KEY") {
                self.add(&block.as_bytes()[..stop + end.len()]);
            }
            rest = &block[stop + end.len()..];
        }
    }

    fn add(&self, pem: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|key| key.expose() == pem) {
            known.push(Secret::new(pem.to_vec()));
        }
    }

    /// The key of a leaf, latest first.
    fn of(&self, leaf: &CertInfo) -> Option<PrivateKeyDer<'static>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = known.iter().rev().find(|key| key_matches(leaf, key).unwrap_or(false))?;
        PrivateKeyDer::from_pem_slice(key.expose()).ok()
    }
}

/// The model's view of a chain.
pub fn infos(chain: &[CertificateDer<'_>]) -> Vec<CertInfo> {
    chain.iter().filter_map(|der| read_der(der).ok()).collect()
}

fn ders(chain: &[CertInfo]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|c| CertificateDer::from(c.der.clone())).collect()
}

/// Seconds since the epoch.
pub fn seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Judges the other side; `None` accepts whoever shows something.
#[derive(Debug)]
pub struct Judge {
    roots: Option<Pool>,
    provider: Arc<CryptoProvider>,
    purpose: Purpose,
    mandatory: Mandatory,
    /// The chain that was shown, and what was thought of it.
    pub seen: Mutex<(Vec<CertInfo>, Option<Untrusted>)>,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mandatory {
    Yes,
    No,
}

impl Judge {
    fn new(roots: Option<Pool>, purpose: Purpose) -> Self {
        let mandatory = if roots.is_some() { Mandatory::Yes } else { Mandatory::No };
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { roots, provider, purpose, mandatory, seen: Mutex::default() }
    }

    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let chain = infos(&std::iter::once(leaf.clone()).chain(rest.iter().cloned()).collect::<Vec<_>>());
        let verdict = self.roots.as_ref().map_or(Ok(()), |roots| verify_chain(&chain, roots, seconds(), self.purpose));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 = chain;
        let Err(why) = verdict else { return Ok(()) };
        seen.1 = Some(why);
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

/// Settings of a client, and its judge.
pub fn client(
    keys: &Keys,
    trust: Option<&Pool>,
    shows: Option<&[CertInfo]>,
    old: bool,
) -> Option<(ClientConfig, Arc<Judge>)> {
    let judge = Arc::new(Judge::new(trust.cloned(), Purpose::Server));
    let versions: &[_] =
        if old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS12, &rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(judge.provider.clone())
        .with_protocol_versions(versions)
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(judge.clone());
    let key = shows.and_then(|chain| Some((ders(chain), keys.of(chain.first()?)?)));
    let config = match key {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).ok()?,
        None => builder.with_no_client_auth(),
    };
    Some((config, judge))
}

/// Settings of a server.
pub fn server(keys: &Keys, chain: &[CertInfo], client_ca: Option<Pool>) -> Option<Arc<ServerConfig>> {
    let judge = Arc::new(Judge::new(client_ca, Purpose::Client));
    let config = ServerConfig::builder_with_provider(judge.provider.clone())
        .with_safe_default_protocol_versions()
        .ok()?
        .with_client_cert_verifier(judge)
        .with_single_cert(ders(chain), keys.of(chain.first()?)?)
        .ok()?;
    Some(Arc::new(config))
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, rest).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory == Mandatory::Yes
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, rest).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
