//! A rotation to CAs of the operator's own, typed on a rehearsal fleet that this process serves.

#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use k0rotate_activities::fleet::KeyKind;
use k0rotate_activities::pki::{Validity, make_ca};
use serde_json::Value;
use stand::Fleet;
use std::path::Path;

/// Before the model's time and ours.
const SINCE: i64 = 1_767_225_600;
const YEARS: i64 = 20 * 365 * 86_400;

/// `PATH.crt` and `PATH.key` of a CA; its certificate and its key.
fn brought(path: &Path, name: &str) -> [String; 2] {
    let validity = Validity { not_before: SINCE, not_after: SINCE + YEARS };
    let ca = make_ca(name, KeyKind::P256, validity).expect("a CA can be made");
    let key = String::from_utf8(ca.key.expose().to_vec()).expect("PEM");
    for (ending, text) in [(".crt", &ca.certificate), (".key", &key)] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        std::fs::write(name, text).expect("the folder is ours");
    }
    [ca.certificate, key]
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it prints JSON")
}

/// All files below a folder that hold a text.
fn holding(dir: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        if path.is_dir() {
            holding(&path, text, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
}

/// Goal: what was brought is planned, agreed on, put in place on every controller, marked in the report, taken back by a roll-back, and its
/// key lies nowhere in the open.
#[test]
fn what_was_brought_is_put_in_place() {
    let fleet = Fleet::new("3+1");
    let files = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| files.path().join(name);
    let [ca, key] = brought(&at("acme"), "Acme Root");
    let [etcd, _] = brought(&at("etcd"), "Acme etcd");
    let own = [format!("kubernetes-ca={}", at("acme").display()), format!("etcd-ca={}", at("etcd").display())];
    let flags = ["--own-ca", &own[0], "--own-ca", &own[1]];

    let plan = json(&fleet.ends(&[&["plan", "-o", "json"], &flags[..]].concat(), 0).out);
    assert_eq!(plan["own_cas"][0]["common_name"], "Acme Root", "{plan}");
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("does not renew what your etcd-ca signs"), "{warnings}");
    assert!(!warnings.contains("what your kubernetes-ca signs"), "1.36 renews those: {warnings}");
    let digest = plan["digest"].as_str().expect("nothing speaks against it");
    fleet.ends(&["rotate", "--yes", "--plan", digest], 8);
    let said = fleet.ends(&[&["rotate", "--yes", "--plan", digest], &flags[..]].concat(), 0);
    for host in ["c1", "c2", "c3"] {
        let read = |path: &str| fleet.stand.stage().world.read(host, path).expect("it lies there");
        assert_eq!(read("/var/lib/k0s/pki/ca.crt"), ca.as_bytes(), "{host} {}", said.err);
        assert_eq!(read("/var/lib/k0s/pki/ca.key"), key.as_bytes(), "{host}");
        assert_eq!(read("/var/lib/k0s/pki/etcd/ca.crt"), etcd.as_bytes(), "{host}");
    }
    let report = fleet.ends(&["report"], 0).out;
    assert!(report.contains("| kubernetes-ca (brought) |") && report.contains("| service-account |"), "{report}");
    let mut open = Vec::new();
    let line = key.lines().nth(1).expect("a key has lines");
    holding(fleet.stand.dir(), line, &mut open);
    assert_eq!(open, Vec::<String>::new());
    let history = fleet.ends(&["history", "-o", "json"], 0).out;
    assert!(history.contains("Acme") || history.contains("BEGIN CERTIFICATE"), "the certificate is part of the record");
    assert!(!history.contains(line), "the key is not");

    fleet.ends(&["rollback", "--yes"], 0);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: what is in use already would replace nothing, and is refused while nothing is down, by plan and by the rotation.
#[test]
fn what_is_in_use_is_refused() {
    let fleet = Fleet::new("1+0");
    let files = tempfile::tempdir().expect("a temporary folder");
    let at = files.path().join("old");
    let read =
        |name: &str| fleet.stand.stage().world.read("c1", &format!("/var/lib/k0s/pki/{name}")).expect("it is there");
    let [crt, key] = [read("ca.crt"), read("ca.key")];
    std::fs::write(files.path().join("old.crt"), crt).expect("the folder is ours");
    std::fs::write(files.path().join("old.key"), key).expect("the folder is ours");
    let own = format!("kubernetes-ca={}", at.display());
    let said = fleet.ends(&["plan", "--own-ca", &own], 1);
    assert!(said.out.contains("ca-not-new root=kubernetes-ca"), "{}", said.out);
    let said = fleet.ends(&["rotate", "--yes", "--own-ca", &own], 4);
    assert!(said.err.contains("ca-not-new"), "{}", said.err);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: what k0s could not use is named by its file, with exit status 2, before any host is asked.
#[test]
fn what_cannot_be_used_is_named() {
    let fleet = Fleet::new("1+0");
    let files = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| files.path().join(name).display().to_string();
    brought(&files.path().join("one"), "One");
    brought(&files.path().join("two"), "Two");
    std::fs::copy(at("one.crt"), at("mixed.crt")).expect("it is there");
    std::fs::copy(at("two.key"), at("mixed.key")).expect("it is there");
    std::fs::write(at("long.crt"), vec![b'-'; 70_000]).expect("the folder is ours");
    std::fs::write(at("torn.crt"), "-----BEGIN CERTIFICATE-----\nAAAA").expect("the folder is ours");
    std::fs::copy(at("one.key"), at("torn.key")).expect("it is there");
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "kubernetes-ca=gone", "gone.crt: No such file"),
        (&[], "kubernetes-ca=mixed", "mixed.key: certificate and key do not belong together"),
        (&[], "kubernetes-ca=long", "long.crt: it is larger than 65536 bytes"),
        (&[], "kubernetes-ca=torn", "torn.crt: the file holds no readable certificate"),
        (&[], "front-proxy-ca=one", "each controller has a front-proxy CA of its own"),
        (&[], "service-account=one", "it is a key pair and no CA"),
        (&[], "kubernetes-ca", "not of the form ROOT=PATH"),
        (&["--roots", "service-account"], "kubernetes-ca=one", "not among those that are replaced"),
    ];
    for (more, own, wanted) in cases {
        let own = own.split_once('=').map_or_else(|| (*own).to_owned(), |(root, name)| format!("{root}={}", at(name)));
        for verb in [&["plan"][..], &["rotate", "--yes"]] {
            let said = fleet.ends(&[verb, more, &["--own-ca", &own]].concat(), 2);
            assert!(said.err.contains(wanted), "{own}: {}", said.err);
        }
    }
    let twice = [format!("kubernetes-ca={}", at("one")), format!("etcd-ca={}", at("one"))];
    let said = fleet.ends(&["plan", "--own-ca", &twice[0], "--own-ca", &twice[1]], 2);
    assert!(said.err.contains("another root is brought with the same key"), "{}", said.err);
    assert!(!fleet.stand.dir().join("state").exists(), "nothing was begun");
}
