//! Signs and verifies service-account tokens, with several public keys as kube-apiserver does.

use super::PkiError;
use super::make::public_key;
use super::read::{one_private_key, public_keys};
use crate::secret::Secret;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroize;

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is no token.
    #[error("not a token")]
    Malformed,
    /// None of the public keys verifies it.
    #[error("signed by none of the keys")]
    UnknownKey,
    /// Its `exp` has passed.
    #[error("expired")]
    Expired,
}

/// Signs claims: RS256 or ES256, as the key is; `kid` as Kubernetes computes it.
pub fn sign_token(key: &Secret, claims: &Value) -> Result<Secret, PkiError> {
    let mut private = one_private_key(key)?;
    let public = public_keys(public_key(key)?.as_bytes())?.remove(0);
    let signer = Signer::load(&private.contents);
    private.contents.zeroize();
    let signer = signer?;
    let header = serde_json::json!({"alg": signer.algorithm(), "kid": URL_SAFE_NO_PAD.encode(Sha256::digest(&public))});
    let mut text =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = signer.sign(text.as_bytes())?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(Secret::new(text.into_bytes()))
}

/// The claims of a token that one of the public keys (PKIX PEM, one or several) verifies and that has not run out at `now`.
pub fn verify_token(token: &Secret, public: &[u8], now: i64) -> Result<Value, TokenRefusal> {
    let text = std::str::from_utf8(token.expose()).map_err(|_| TokenRefusal::Malformed)?;
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
    let algorithm = decode(header)?["alg"].as_str().unwrap_or_default().to_owned();
    let claims = decode(claims)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenRefusal::Malformed)?;
    let keys = public_keys(public).map_err(|_| TokenRefusal::UnknownKey)?;
    if !keys.iter().any(|key| verifies(key, &algorithm, signed.as_bytes(), &signature)) {
        return Err(TokenRefusal::UnknownKey);
    }
    match claims["exp"].as_i64() {
        Some(until) if until <= now => Err(TokenRefusal::Expired),
        _ => Ok(claims),
    }
}

fn decode(part: &str) -> Result<Value, TokenRefusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::Malformed)
}

/// The algorithm must be the key's own: a header may not choose how a key is used.
fn verifies(spki: &[u8], algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, spki)) = SubjectPublicKeyInfo::from_der(spki) else { return false };
    let key = spki.subject_public_key.data.as_ref();
    match (spki.parsed(), algorithm) {
        (Ok(x509_parser::public_key::PublicKey::RSA(_)), "RS256") => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature).is_ok()
        }
        (Ok(x509_parser::public_key::PublicKey::EC(_)), "ES256") => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
        }
        _ => false,
    }
}

enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl Signer {
    fn load(der: &[u8]) -> Result<Self, PkiError> {
        if let Ok(key) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(|key| Self::P256(Box::new(key)))
            .map_err(|_| PkiError::Key)
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| PkiError::Signing)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, message).map_err(|_| PkiError::Signing)?.as_ref().to_vec()),
        }
    }
}
