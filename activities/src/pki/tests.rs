//! Shows that certificates are made as k0s makes them and judged as Go judges them.

use super::*;
use crate::fleet::KeyKind;
use crate::secret::Secret;

const GENUINE: &str = include_str!("../../../tests/goldens/v1.36.3+k0s.2/certs-cas-made-by-k0s.txt");
const NOW: i64 = 1_795_500_000;
const YEAR: i64 = 365 * 86_400;

fn ca(name: &str, kind: KeyKind) -> (Issued, CertInfo) {
    let issued = make_ca(name, kind, Validity::from_now(NOW, 10 * YEAR)).unwrap();
    let info = read_one(issued.certificate.as_bytes()).unwrap();
    (issued, info)
}

fn leaf(client: bool, server: bool) -> Leaf {
    Leaf {
        common_name: "system:node:h4".into(),
        organization: Some("system:nodes".into()),
        sans: vec!["localhost".into(), "10.77.0.14".into()],
        server,
        client,
        validity: Validity { not_before: NOW - 300, not_after: NOW + YEAR },
    }
}

fn issue_leaf(ca: &Issued, leaf: &Leaf) -> CertInfo {
    let issued = issue(&ca.certificate, &ca.key, leaf, KeyKind::P256).unwrap();
    read_one(issued.certificate.as_bytes()).unwrap()
}

/// Goal: our CA says byte for byte what a genuine one of k0s says, but for key, serial and dates.
#[test]
fn a_made_ca_is_of_the_shape_of_a_genuine_one() {
    let genuine = read_certificates(GENUINE.as_bytes()).unwrap();
    for (original, name) in genuine.iter().zip(["kubernetes-ca", "etcd-ca", "kubernetes-front-proxy-ca"]) {
        let (issued, ours) = ca(name, KeyKind::Rsa2048);
        assert_eq!(original.subject_der, ours.subject_der, "PrintableString, CN alone");
        assert_eq!((original.is_ca, original.ca_critical, original.signs_certificates), (true, true, Some(true)));
        assert_eq!((ours.is_ca, ours.ca_critical, ours.signs_certificates), (true, true, Some(true)));
        assert_eq!((original.aki.is_none(), ours.aki.is_none()), (true, true));
        assert_eq!((original.serial.len(), ours.serial.len()), (40, 40));
        assert_eq!(ours.ski.as_ref().map(Vec::len), Some(20));
        // The rest of the extensions: same length of the DER before the signature, up to one padding byte of the serial.
        assert_eq!(original.der.len(), ours.der.len());
        assert!(issued.key.expose().starts_with(b"-----BEGIN PRIVATE KEY-----"));
        assert!(signed_by(original, original) && signed_by(&ours, &ours) && !signed_by(&ours, original));
    }
}

/// Goal: the key identifier is SHA-1 of the key as cfssl computes it, shown on a certificate that cfssl made.
#[test]
fn the_key_identifier_is_cfssls() {
    use x509_parser::prelude::FromDer;
    for original in read_certificates(GENUINE.as_bytes()).unwrap() {
        let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&original.spki).unwrap();
        let sha1 = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            spki.subject_public_key.data.as_ref(),
        );
        assert_eq!(original.ski.as_deref(), Some(sha1.as_ref()));
    }
    let (_, ours) = ca("kubernetes-ca", KeyKind::P256);
    let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&ours.spki).unwrap();
    let sha1 =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, spki.subject_public_key.data.as_ref());
    assert_eq!(ours.ski.as_deref(), Some(sha1.as_ref()));
}

/// Goal: each answer of Go's verifier, on a leaf of one CA and on its namesake.
#[test]
fn chains_are_judged_as_go_judges_them() {
    let (old, old_info) = ca("kubernetes-ca", KeyKind::P256);
    let (_, namesake) = ca("kubernetes-ca", KeyKind::P256);
    let (_, stranger) = ca("Acme Root", KeyKind::P256);
    let node = issue_leaf(&old, &leaf(true, false));
    let chain = std::slice::from_ref(&node);
    let both = [namesake.clone(), old_info.clone()];
    assert_eq!(node.aki, old_info.ski);
    assert_eq!(
        (node.subject_cn.as_str(), node.organizations.as_slice()),
        ("system:node:h4", &["system:nodes".to_owned()][..])
    );
    assert_eq!(verify_chain(chain, &both, NOW, Purpose::Client), Ok(()), "a bundle of two namesakes, in any order");
    assert_eq!(verify_chain(chain, &both, NOW, Purpose::Server), Err(Untrusted::WrongUsage));
    assert_eq!(
        verify_chain(chain, &[namesake], NOW, Purpose::Client),
        Err(Untrusted::UnknownAuthority { same_name: true })
    );
    assert_eq!(
        verify_chain(chain, &[stranger], NOW, Purpose::Client),
        Err(Untrusted::UnknownAuthority { same_name: false })
    );
    assert_eq!(verify_chain(&[], &both, NOW, Purpose::Client), Err(Untrusted::Empty));
    assert_eq!(verify_chain(chain, &both, NOW + YEAR + 1, Purpose::Client), Err(Untrusted::Expired));
    assert_eq!(verify_chain(chain, &both, NOW - 301, Purpose::Client), Err(Untrusted::NotYetValid));
    assert_eq!((verify_name(&node, "LOCALHOST"), verify_name(&node, "10.77.0.14")), (Ok(()), Ok(())));
    assert_eq!(
        (verify_name(&node, "h5"), verify_name(&node, "10.77.0.15")),
        (Err(Untrusted::WrongName), Err(Untrusted::WrongName))
    );
}

/// Goal: leafs outlive an expired root and are still known as its leafs, but no longer trusted (lab §20).
#[test]
fn an_expired_root_still_signed_its_leafs() {
    let short = make_ca("kubernetes-ca", KeyKind::P256, Validity::from_now(NOW, 60)).unwrap();
    let root = read_one(short.certificate.as_bytes()).unwrap();
    let node = issue_leaf(&short, &leaf(true, true));
    assert!(signed_by(&node, &root));
    assert_eq!(verify_chain(&[node], &[root], NOW + 61, Purpose::Server), Err(Untrusted::Expired));
}

/// Goal: a certificate for somebody else's public key belongs to that key, also when the key is of the kind that k0s writes.
#[test]
fn a_signed_request_belongs_to_the_key_that_asked() {
    let (issuer, info) = ca("kubernetes-ca", KeyKind::Rsa2048);
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let key = make_key(kind).unwrap();
        let text = certify(&issuer.certificate, &issuer.key, &leaf(true, false), &public_key(&key).unwrap()).unwrap();
        let certificate = read_one(text.as_bytes()).unwrap();
        assert!(key_matches(&certificate, &key).unwrap() && !key_matches(&info, &key).unwrap());
        assert!(signed_by(&certificate, &info));
        assert_eq!(to_pem(&certificate.der), text.replace("\r\n", "\n"));
    }
}

/// Goal: a token is accepted by any of several keys, and by none but its own.
#[test]
fn tokens_are_verified_by_any_of_several_keys() {
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let (old, new) = (make_service_account(kind).unwrap(), make_service_account(kind).unwrap());
        let token =
            sign_token(&old.key, &serde_json::json!({"sub": "system:serviceaccount:a:b", "exp": NOW + 10})).unwrap();
        let both = format!("{}{}", new.certificate, old.certificate);
        assert_eq!(public_key_fingerprints(both.as_bytes()).unwrap().len(), 2);
        assert_eq!(verify_token(&token, both.as_bytes(), NOW).unwrap()["sub"], "system:serviceaccount:a:b");
        assert_eq!(verify_token(&token, new.certificate.as_bytes(), NOW), Err(TokenRefusal::UnknownKey));
        assert_eq!(verify_token(&token, both.as_bytes(), NOW + 10), Err(TokenRefusal::Expired));
        assert_eq!(
            verify_token(&Secret::new(b"abcdef.0123".to_vec()), both.as_bytes(), NOW),
            Err(TokenRefusal::Malformed)
        );
    }
}

/// Goal: what k0s can use passes; each way in which a CA of an operator can be wrong has its own answer.
#[test]
fn a_ca_that_an_operator_brings_is_checked() {
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let (good, info) = ca("Acme Root", kind);
        assert_eq!(check_ca(good.certificate.as_bytes(), &good.key, NOW), Ok(info));
    }
    let ((good, _), (other, _)) = (ca("Acme Root", KeyKind::P256), ca("Acme Root", KeyKind::P256));
    let check = |certificate: &str, key: &Secret, now| check_ca(certificate.as_bytes(), key, now).map(|_| ());
    assert_eq!(check(&good.certificate, &other.key, NOW), Err(CaRefusal::KeyMismatch));
    assert_eq!(check(&format!("{0}{0}", good.certificate), &good.key, NOW), Err(CaRefusal::NotOneCertificate(2)));
    assert_eq!(check("no PEM", &good.key, NOW), Err(CaRefusal::Unreadable));
    assert_eq!(
        check(
            &good.certificate,
            &Secret::new(
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_vec()
            ),
            NOW
        ),
        Err(CaRefusal::KeyUnreadable)
    );
    assert_eq!(check(&good.certificate, &good.key, NOW - 3600), Err(CaRefusal::NotYetValid));
    assert_eq!(check(&good.certificate, &good.key, NOW + 10 * YEAR), Err(CaRefusal::Expired));
    let leaf = issue(&good.certificate, &good.key, &leaf(true, true), KeyKind::P256).unwrap();
    assert_eq!(check(&leaf.certificate, &leaf.key, NOW), Err(CaRefusal::NotSelfSigned));
    let (bare, bare_key) = foreign_ca(&rcgen::PKCS_ECDSA_P256_SHA256, false);
    assert_eq!(check(&bare, &bare_key, NOW), Err(CaRefusal::NotACa));
    let (ed, ed_key) = foreign_ca(&rcgen::PKCS_ED25519, true);
    assert_eq!(check(&ed, &ed_key, NOW), Err(CaRefusal::KeyUnsupported));
}

fn foreign_ca(algorithm: &'static rcgen::SignatureAlgorithm, is_ca: bool) -> (String, Secret) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW - 3600).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW + YEAR).unwrap();
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    }
    (params.self_signed(&key).unwrap().pem(), Secret::new(key.serialize_pem().into_bytes()))
}
