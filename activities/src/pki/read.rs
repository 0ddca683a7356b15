//! Reads certificates and keys into types of our own.

use super::PkiError;
use super::make::load;
use crate::secret::Secret;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, Pem, X509Certificate};
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

/// What a certificate says. Holds public data only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a statement of the certificate, independent of the others")]
pub struct CertInfo {
    /// The whole certificate.
    pub der: Vec<u8>,
    /// SHA-256 of the DER, lower-case hex: the fingerprint.
    pub fingerprint: String,
    /// Common name of the subject; empty if it has none.
    pub subject_cn: String,
    /// Organizations of the subject; Kubernetes takes them for groups.
    pub organizations: Vec<String>,
    /// Common name of the issuer; empty if it has none.
    pub issuer_cn: String,
    /// Raw subject: names match only if these bytes do.
    pub subject_der: Vec<u8>,
    /// Raw issuer.
    pub issuer_der: Vec<u8>,
    /// Subject key identifier.
    pub ski: Option<Vec<u8>>,
    /// Key identifier of the issuer.
    pub aki: Option<Vec<u8>>,
    /// Whether the issuer is named by its serial number too: such a leaf fails under a CA re-issued with another serial.
    pub aki_names_serial: bool,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// Whether basic constraints say that it is a CA.
    pub is_ca: bool,
    /// Whether basic constraints are marked critical.
    pub ca_critical: bool,
    /// Whether key usage allows to sign certificates; `None` without the extension.
    pub signs_certificates: Option<bool>,
    /// May a server show it? True without the extension.
    pub server_auth: bool,
    /// May a client show it? True without the extension.
    pub client_auth: bool,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// SHA-256 of the DER of the public key info, lower-case hex.
    pub spki_sha256: String,
    /// The public key info, DER.
    pub spki: Vec<u8>,
    /// Serial number, lower-case hex.
    pub serial: String,
}

/// All certificates of a PEM file, in order; blocks of other kinds are passed over. An error if it has none or one that does not decode.
pub fn read_certificates(pem: &[u8]) -> Result<Vec<CertInfo>, PkiError> {
    let certificates = blocks(pem)?
        .iter()
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| read_der(&block.contents))
        .collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(PkiError::Pem) } else { Ok(certificates) }
}

/// The only certificate of a PEM file.
pub fn read_one(pem: &[u8]) -> Result<CertInfo, PkiError> {
    match <[CertInfo; 1]>::try_from(read_certificates(pem)?) {
        Ok([certificate]) => Ok(certificate),
        Err(_) => Err(PkiError::Pem),
    }
}

/// One certificate, DER.
pub fn read_der(der: &[u8]) -> Result<CertInfo, PkiError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| PkiError::Certificate)?;
    if !rest.is_empty() {
        return Err(PkiError::Certificate);
    }
    let mut info = CertInfo {
        der: der.to_vec(),
        fingerprint: sha256_hex(der),
        subject_cn: common_name(certificate.subject()),
        organizations: texts(certificate.subject().iter_organization()),
        issuer_cn: common_name(certificate.issuer()),
        subject_der: certificate.subject().as_raw().to_vec(),
        issuer_der: certificate.issuer().as_raw().to_vec(),
        ski: None,
        aki: None,
        aki_names_serial: false,
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        is_ca: false,
        ca_critical: false,
        signs_certificates: None,
        server_auth: true,
        client_auth: true,
        dns: Vec::new(),
        addresses: Vec::new(),
        spki_sha256: sha256_hex(certificate.public_key().raw),
        spki: certificate.public_key().raw.to_vec(),
        serial: hex(certificate.raw_serial()),
    };
    for extension in certificate.extensions() {
        read_extension(&mut info, extension.parsed_extension(), extension.critical);
    }
    Ok(info)
}

/// Whether this CA's key signed the certificate. Validity and names are ignored: a leaf of a retired or expired root is its leaf
/// all the same (lab §20).
pub fn signed_by(certificate: &CertInfo, ca: &CertInfo) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(&certificate.der) else { return false };
    let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&ca.spki) else { return false };
    parsed.verify_signature(Some(&key)).is_ok()
}

/// Whether this private key belongs to the certificate.
pub fn key_matches(certificate: &CertInfo, key: &Secret) -> Result<bool, PkiError> {
    use rcgen::PublicKeyData;
    Ok(sha256_hex(&load(key)?.subject_public_key_info()) == certificate.spki_sha256)
}

/// SHA-256 of the DER of each public key in a file of `PUBLIC KEY` blocks (`sa.pub` may hold several), lower-case hex.
pub fn public_key_fingerprints(pem: &[u8]) -> Result<Vec<String>, PkiError> {
    Ok(public_keys(pem)?.iter().map(|der| sha256_hex(der)).collect())
}

/// A certificate as PEM.
pub fn to_pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// SHA-256, lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_ref())
}

pub(super) fn public_keys(pem: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    let keys: Vec<_> =
        blocks(pem)?.into_iter().filter(|block| block.label == "PUBLIC KEY").map(|block| block.contents).collect();
    if keys.is_empty() { Err(PkiError::Pem) } else { Ok(keys) }
}

/// The one private key of a file; encrypted ones are refused, and so is anything beside it but `EC PARAMETERS`.
pub(super) fn one_private_key(key: &Secret) -> Result<Pem, PkiError> {
    let mut keys = blocks(key.expose())?.into_iter().filter(|block| block.label != "EC PARAMETERS");
    match (keys.next(), keys.next()) {
        (Some(only), None) if matches!(only.label.as_str(), "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") => {
            Ok(only)
        }
        _ => Err(PkiError::Key),
    }
}

pub(super) fn blocks(pem: &[u8]) -> Result<Vec<Pem>, PkiError> {
    Pem::iter_from_buffer(pem).collect::<Result<_, _>>().map_err(|_| PkiError::Pem)
}

fn read_extension(info: &mut CertInfo, extension: &ParsedExtension<'_>, critical: bool) {
    match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => info.ski = Some(id.0.to_vec()),
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            info.aki = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            info.aki_names_serial = id.authority_cert_serial.is_some();
        }
        ParsedExtension::BasicConstraints(constraints) => {
            info.is_ca = constraints.ca;
            info.ca_critical = critical;
        }
        ParsedExtension::KeyUsage(usage) => info.signs_certificates = Some(usage.key_cert_sign()),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            info.server_auth = usage.any || usage.server_auth;
            info.client_auth = usage.any || usage.client_auth;
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => info.dns.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => info.addresses.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn common_name(name: &X509Name<'_>) -> String {
    texts(name.iter_common_name()).into_iter().next_back().unwrap_or_default()
}

fn texts<'a>(attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Vec<String> {
    attributes.filter_map(|attribute| attribute.as_str().ok()).map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
