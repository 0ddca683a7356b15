//! Makes keys and certificates of the shape that k0s makes.

use super::PkiError;
use crate::fleet::KeyKind;
use crate::secret::Secret;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RsaKeySize, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use std::net::IpAddr;
use zeroize::Zeroize;

/// From when to when, both included, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

impl Validity {
    /// From one hour before `now` (no host's clock may be behind it) for `seconds` from now on.
    pub fn from_now(now: i64, seconds: i64) -> Self {
        Self { not_before: now - 3600, not_after: now + seconds }
    }
}

/// A certificate with its private key, PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, or the public key of a service-account pair.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: Secret,
}

/// What a leaf is to say.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Common name of the subject.
    pub common_name: String,
    /// Organizations of the subject (for Kubernetes: groups), at most one.
    pub organization: Option<String>,
    /// DNS names and IP addresses.
    pub sans: Vec<String>,
    /// May a server show it? k0s makes all its leafs for both purposes, the kubelet's are for one.
    pub server: bool,
    /// May a client show it?
    pub client: bool,
    /// When it is valid. Not clamped to the CA's: k0s does not do so either (lab §20).
    pub validity: Validity,
}

/// A self-signed CA, in its subject and key identifier byte-identical to what k0s makes.
pub fn make_ca(common_name: &str, kind: KeyKind, validity: Validity) -> Result<Issued, PkiError> {
    let key = generate(kind)?;
    let mut params = params(common_name, None, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(ski_sha1(&key));
    params.use_authority_key_identifier_extension = false;
    let certificate = params.self_signed(&key).map_err(|_| PkiError::Signing)?.pem();
    Ok(Issued { certificate, key: pem_of_generated(&key) })
}

/// A leaf and its new key, signed by this CA.
pub fn issue(ca_certificate: &str, ca_key: &Secret, leaf: &Leaf, kind: KeyKind) -> Result<Issued, PkiError> {
    let key = generate(kind)?;
    let certificate = sign_leaf(ca_certificate, ca_key, leaf, &key)?;
    Ok(Issued { certificate, key: pem_of_generated(&key) })
}

/// A leaf for somebody else's public key (PKIX PEM), as a signer of certificate signing requests makes it.
pub fn certify(ca_certificate: &str, ca_key: &Secret, leaf: &Leaf, public_key: &str) -> Result<String, PkiError> {
    let public = SubjectPublicKeyInfo::from_pem(public_key).map_err(|_| PkiError::Key)?;
    sign_leaf(ca_certificate, ca_key, leaf, &public)
}

/// A new private key, PKCS#8 PEM.
pub fn make_key(kind: KeyKind) -> Result<Secret, PkiError> {
    Ok(pem_of_generated(&generate(kind)?))
}

/// The pair that signs service-account tokens: private key, and its public key as a PKIX `PUBLIC KEY` block.
pub fn make_service_account(kind: KeyKind) -> Result<Issued, PkiError> {
    let key = generate(kind)?;
    Ok(Issued { certificate: key.public_key_pem(), key: pem_of_generated(&key) })
}

/// The public half of a private key (PKCS#8, PKCS#1 or SEC1) as a PKIX `PUBLIC KEY` block.
pub fn public_key(key: &Secret) -> Result<String, PkiError> {
    Ok(load(key)?.public_key_pem())
}

/// Reads a private key, one block, with nothing but `EC PARAMETERS` before it. The pair must never be serialised again: rcgen would put
/// PKCS#1 and SEC1 bytes under the label of PKCS#8.
pub(super) fn load(key: &Secret) -> Result<KeyPair, PkiError> {
    let mut der = super::read::one_private_key(key)?;
    let pair = KeyPair::try_from(der.contents.as_slice()).map_err(|_| PkiError::Key);
    der.contents.zeroize();
    pair
}

fn sign_leaf(
    ca_certificate: &str,
    ca_key: &Secret,
    leaf: &Leaf,
    public: &impl PublicKeyData,
) -> Result<String, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(ca_certificate, load(ca_key)?).map_err(|_| PkiError::Certificate)?;
    let mut params = params(&leaf.common_name, leaf.organization.as_deref(), leaf.validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let usages =
        [(leaf.server, ExtendedKeyUsagePurpose::ServerAuth), (leaf.client, ExtendedKeyUsagePurpose::ClientAuth)];
    params.extended_key_usages = usages.into_iter().filter(|(wanted, _)| *wanted).map(|(_, usage)| usage).collect();
    params.subject_alt_names = leaf.sans.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(public, &issuer).map_err(|_| PkiError::Signing)?.pem())
}

fn params(common_name: &str, organization: Option<&str>, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut name = DistinguishedName::new();
    // O before CN, as cfssl writes it.
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, dn_value(organization)?);
    }
    name.push(DnType::CommonName, dn_value(common_name)?);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date(validity.not_before)?;
    params.not_after = date(validity.not_after)?;
    params.serial_number = Some(random_serial());
    Ok(params)
}

/// As Go encodes it: a PrintableString where the characters allow it, else UTF-8. Raw names are compared byte for byte.
fn dn_value(text: &str) -> Result<DnValue, PkiError> {
    if text.is_empty() {
        return Err(PkiError::Name);
    }
    Ok(match text.try_into() {
        Ok(printable) => DnValue::PrintableString(printable),
        Err(_) => DnValue::Utf8String(text.to_owned()),
    })
}

fn san(name: &str) -> Result<SanType, PkiError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into().map_err(|_| PkiError::Name)?)),
    }
}

fn date(seconds: i64) -> Result<time::OffsetDateTime, PkiError> {
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Signing)
}

fn generate(kind: KeyKind) -> Result<KeyPair, PkiError> {
    match kind {
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
    }
    .map_err(|_| PkiError::Key)
}

/// Only for a pair that was generated here: see [`load`].
fn pem_of_generated(key: &KeyPair) -> Secret {
    Secret::new(key.serialize_pem().into_bytes())
}

/// As cfssl computes it: leafs that were issued before name their CA by it.
fn ski_sha1(key: &impl PublicKeyData) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes()).as_ref().to_vec()
}

/// Positive and 20 bytes long. rcgen's default is derived from the key: a CA renewed with its key would repeat it.
fn random_serial() -> SerialNumber {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes[0] = bytes[0] & 0x7f | 0x01;
    SerialNumber::from_slice(&bytes)
}
