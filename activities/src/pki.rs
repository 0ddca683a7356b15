//! Certificates and keys: made as k0s makes them, and judged as its components judge them.
//!
//! * make: [`make_ca`], [`issue`], [`certify`], [`make_key`], [`make_service_account`], [`public_key`]
//! * read: [`CertInfo`], [`read_certificates`], [`read_der`], [`signed_by`], [`key_matches`], [`public_key_fingerprints`]
//! * judge: [`verify_chain`] as Go's verifier does, [`check_ca`] for a CA that an operator brings
//! * service-account tokens: [`sign_token`], [`verify_token`]
//!
//! PEM in, PEM out; times are seconds since the epoch. No type of the crates below leaves this module.

mod chain;
mod check;
mod jwt;
mod make;
mod read;
#[cfg(test)]
mod tests;

pub use chain::{Purpose, Untrusted, verify_chain, verify_name};
pub use check::{CaRefusal, check_ca};
pub use jwt::{TokenRefusal, sign_token, verify_token};
pub use make::{Issued, Leaf, Validity, certify, issue, make_ca, make_key, make_service_account, public_key};
pub use read::{
    CertInfo, key_matches, public_key_fingerprints, read_certificates, read_der, read_one, sha256_hex, signed_by,
    to_pem,
};

/// Why a certificate or key could not be made or read. Never holds any of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// The text holds no PEM block of the kind that was looked for, or one that does not decode.
    #[error("not a PEM file of the expected kind")]
    Pem,
    /// A certificate that does not decode.
    #[error("not a certificate")]
    Certificate,
    /// A key that does not decode, is encrypted, or is of an algorithm that k0s does not use.
    #[error("not a usable key")]
    Key,
    /// A name with characters that a PrintableString, a DNS name or an address cannot hold.
    #[error("not a usable name")]
    Name,
    /// Anything else that the library refused while signing.
    #[error("could not be signed")]
    Signing,
}

impl From<PkiError> for k0rotate_engine::failure::Failure {
    fn from(error: PkiError) -> Self {
        Self::refused(match error {
            PkiError::Pem => "pem-unreadable",
            PkiError::Certificate => "certificate-unreadable",
            PkiError::Key => "key-unreadable",
            PkiError::Name => "name-unusable",
            PkiError::Signing => "signing-failed",
        })
    }
}
