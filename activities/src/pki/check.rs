//! Checks a CA that an operator brings, before any host sees it.

use super::read::{CertInfo, key_matches, read_certificates, signed_by};
use super::{PkiError, read};
use crate::secret::Secret;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why a CA would not work in k0s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaRefusal {
    /// A bundle in `ca.crt` keeps k0s from starting (lab §9).
    #[error("the file must hold one certificate, not {0}")]
    NotOneCertificate(usize),
    /// It does not decode.
    #[error("the file holds no readable certificate")]
    Unreadable,
    /// Clients built on OpenSSL do not take an intermediate for an anchor.
    #[error("it is not self-signed")]
    NotSelfSigned,
    /// Basic constraints must be critical and say CA.
    #[error("it is not marked as a CA by critical basic constraints")]
    NotACa,
    /// Key usage must allow to sign certificates.
    #[error("its key usage does not allow to sign certificates")]
    MayNotSign,
    /// Leafs take their authority key identifier from it.
    #[error("it has no subject key identifier")]
    NoKeyIdentifier,
    /// The slowest clock of the cluster decides.
    #[error("it is not valid yet, or only since a moment ago")]
    NotYetValid,
    /// It has run out.
    #[error("it has expired")]
    Expired,
    /// The key does not decode, is encrypted, or the file holds more than the key.
    #[error("the file holds no single, unencrypted private key")]
    KeyUnreadable,
    /// RSA of at least 2048 bits, P-256 or P-384.
    #[error("its key is of a kind or length that k0s cannot use")]
    KeyUnsupported,
    /// kube-controller-manager would refuse the pair.
    #[error("certificate and key do not belong together")]
    KeyMismatch,
}

/// How long before now a CA must have been valid: hosts' clocks may be behind ours.
const OLDEST_CLOCK: i64 = 60;

/// Checks certificate and key (facts §1.5): what passes works in k0s, cfssl and kube-controller-manager.
pub fn check_ca(certificate: &[u8], key: &Secret, now: i64) -> Result<CertInfo, CaRefusal> {
    let mut all = read_certificates(certificate).map_err(|_| CaRefusal::Unreadable)?;
    let count = read::blocks(certificate).map_err(|_| CaRefusal::Unreadable)?.len();
    if count != 1 {
        return Err(CaRefusal::NotOneCertificate(count));
    }
    let ca = all.remove(0);
    check_certificate(&ca, now)?;
    check_algorithm(&ca)?;
    match key_matches(&ca, key) {
        Ok(true) => Ok(ca),
        Ok(false) => Err(CaRefusal::KeyMismatch),
        Err(PkiError::Key | PkiError::Pem) => Err(CaRefusal::KeyUnreadable),
        Err(_) => Err(CaRefusal::KeyUnsupported),
    }
}

fn check_certificate(ca: &CertInfo, now: i64) -> Result<(), CaRefusal> {
    let refusal = if ca.subject_der != ca.issuer_der || !signed_by(ca, ca) {
        CaRefusal::NotSelfSigned
    } else if !ca.is_ca || !ca.ca_critical {
        CaRefusal::NotACa
    } else if ca.signs_certificates != Some(true) {
        CaRefusal::MayNotSign
    } else if ca.ski.is_none() {
        CaRefusal::NoKeyIdentifier
    } else if ca.not_before > now - OLDEST_CLOCK {
        CaRefusal::NotYetValid
    } else if ca.not_after <= now {
        CaRefusal::Expired
    } else {
        return Ok(());
    };
    Err(refusal)
}

/// Ed25519 is untested in cfssl, kube-controller-manager and the TLS profile of k0s.
fn check_algorithm(ca: &CertInfo) -> Result<(), CaRefusal> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(&ca.spki).map_err(|_| CaRefusal::Unreadable)?;
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() >= 2048 => Ok(()),
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => Ok(()),
        _ => Err(CaRefusal::KeyUnsupported),
    }
}
