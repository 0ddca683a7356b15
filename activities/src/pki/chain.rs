//! Judges a chain of certificates as Go's verifier does, on which all of k0s rests.

use super::read::{CertInfo, signed_by};
use std::net::IpAddr;

/// What the certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a server.
    Server,
    /// By a client.
    Client,
}

/// Why a chain is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// No certificate was shown.
    #[error("no certificate")]
    Empty,
    /// No root leads to it.
    #[error("certificate signed by unknown authority")]
    UnknownAuthority {
        /// Whether a root has the issuer's very name but another key: Go then adds a hint to its message (lab §16).
        same_name: bool,
    },
    /// It, or the root that leads to it, has expired.
    #[error("certificate has expired")]
    Expired,
    /// It, or the root that leads to it, is not valid yet.
    #[error("certificate is not yet valid")]
    NotYetValid,
    /// It may not be used for this.
    #[error("certificate specifies an incompatible key usage")]
    WrongUsage,
    /// It is for other names.
    #[error("certificate is valid for other names")]
    WrongName,
}

/// A chain longer than this is not followed.
const LONGEST_CHAIN: usize = 5;

/// Whether the chain (leaf first, intermediates after it) leads to one of the roots at `now`. As in Go the validity of roots counts too,
/// names are compared by their raw bytes, and a leaf that is itself among the roots is trusted.
pub fn verify_chain(chain: &[CertInfo], roots: &[CertInfo], now: i64, purpose: Purpose) -> Result<(), Untrusted> {
    let (leaf, intermediates) = chain.split_first().ok_or(Untrusted::Empty)?;
    valid_at(leaf, now)?;
    lead(leaf, intermediates, roots, now, LONGEST_CHAIN)?;
    let allowed = match purpose {
        Purpose::Server => leaf.server_auth,
        Purpose::Client => leaf.client_auth,
    };
    if allowed { Ok(()) } else { Err(Untrusted::WrongUsage) }
}

/// Whether a server's certificate is for this host name or address.
pub fn verify_name(leaf: &CertInfo, name: &str) -> Result<(), Untrusted> {
    let named = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => leaf.addresses.contains(&address),
        Err(_) => leaf.dns.iter().any(|own| own.eq_ignore_ascii_case(name)),
    };
    if named { Ok(()) } else { Err(Untrusted::WrongName) }
}

fn lead(
    certificate: &CertInfo,
    intermediates: &[CertInfo],
    roots: &[CertInfo],
    now: i64,
    left: usize,
) -> Result<(), Untrusted> {
    if roots.iter().any(|root| root.der == certificate.der) {
        return Ok(());
    }
    let mut answer = Untrusted::UnknownAuthority { same_name: false };
    for root in roots.iter().filter(|root| root.subject_der == certificate.issuer_der) {
        match may_issue(root, certificate, now) {
            Ok(()) => return Ok(()),
            Err(reason) => answer = reason,
        }
    }
    for parent in intermediates.iter().filter(|parent| left > 0 && parent.subject_der == certificate.issuer_der) {
        match may_issue(parent, certificate, now).and_then(|()| lead(parent, intermediates, roots, now, left - 1)) {
            Ok(()) => return Ok(()),
            Err(reason) => answer = reason,
        }
    }
    Err(answer)
}

fn may_issue(parent: &CertInfo, child: &CertInfo, now: i64) -> Result<(), Untrusted> {
    let may_sign = parent.is_ca && parent.signs_certificates != Some(false);
    if !may_sign || !signed_by(child, parent) {
        return Err(Untrusted::UnknownAuthority { same_name: true });
    }
    valid_at(parent, now)
}

fn valid_at(certificate: &CertInfo, now: i64) -> Result<(), Untrusted> {
    if now < certificate.not_before {
        Err(Untrusted::NotYetValid)
    } else if now > certificate.not_after {
        Err(Untrusted::Expired)
    } else {
        Ok(())
    }
}
