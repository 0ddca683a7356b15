//! Certificates as the daemon watches them: it looks by itself and when it is asked, and tells each threshold once.
#![cfg(target_os = "linux")]
#![allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "seconds since 1970 are whole and small enough")]

mod page;
#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::fleet::KeyKind;
use k0rotate_activities::host::{Change, OwnerIds};
use k0rotate_activities::pki::{self, Leaf, Validity};
use k0rotate_activities::secret::Secret;
use serde_json::Value;
use stand::kept::{self, Daemon};
use stand::{Fleet, Said, until};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const PKI: &str = "/var/lib/k0s/pki";
const DAY: i64 = 86_400;

/// A fleet called blue, a daemon's.
struct Watched {
    fleet: Fleet,
    at: SocketAddr,
    home: tempfile::TempDir,
}

impl Watched {
    fn new(hosts: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let at = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let watched = Self { fleet: Fleet::new(hosts), at, home };
        kept::configure(&watched.etc(), &watched.fleet.stand.dir().join("identity"));
        kept::add(&watched.etc(), "blue", &watched.fleet.stand.dir().join("k0sctl.yaml"));
        let main = watched.etc().join("config.toml");
        let text = std::fs::read_to_string(&main).expect("it was written");
        let tells = watched.home.path().join("tells");
        std::fs::write(&tells, format!("#!/bin/sh\ncat >> {}\n", watched.told_file().display())).expect("it is ours");
        std::fs::set_permissions(&tells, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let more = format!("[metrics]\nlisten = \"{at}\"\n[notify]\ncommand = \"{}\"\n", tells.display());
        std::fs::write(&main, format!("{text}{more}")).expect("it is ours");
        watched
    }

    fn etc(&self) -> PathBuf {
        self.home.path().join("etc")
    }

    fn told_file(&self) -> PathBuf {
        self.home.path().join("told.jsonl")
    }

    /// What the command of `[notify]` was told of certificates.
    fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.told_file()).unwrap_or_default();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        all.filter(|one| one["what"] == "certificate-ends")
            .map(|one| one["says"].as_str().expect("a text").to_owned())
            .collect()
    }

    fn ends(&self, words: &[&str], code: i32) -> Said {
        let said: Said = self
            .fleet
            .bare()
            .args(words)
            .arg("--config-dir")
            .arg(self.etc())
            .output()
            .expect("the program starts")
            .into();
        assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
        said
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ends(words, 0).out).expect("it prints JSON")
    }

    fn now(&self) -> i64 {
        i64::try_from(self.fleet.stand.stage().now().0 / 1000).expect("it fits")
    }

    /// Puts a certificate of so many days in the place of the API server's on c1.
    fn lasts(&self, days: i64) {
        let now = self.now();
        let mut stage = self.fleet.stand.stage();
        let read = |name: &str| stage.world.read("c1", &format!("{PKI}/{name}")).expect("it is there");
        let (ca, key) = (String::from_utf8(read("ca.crt")).expect("PEM"), Secret::new(read("ca.key")));
        let leaf = Leaf {
            common_name: "kubernetes".into(),
            organization: None,
            sans: Vec::new(),
            server: true,
            client: true,
            validity: Validity { not_before: now - DAY, not_after: now + days * DAY + 3600 },
        };
        let leaf = pki::issue(&ca, &key, &leaf, KeyKind::P256).expect("a leaf");
        let bytes = Secret::new(leaf.certificate.as_bytes().to_vec());
        let change =
            Change::Write { path: format!("{PKI}/server.crt"), bytes, mode: 0o644, owner: OwnerIds { uid: 0, gid: 0 } };
        stage.world.apply("c1", &change).expect("there is space");
    }
}

/// Goal: a daemon looks by itself once it has begun; the metrics have each root of each host with the very end that `inspect --all` tells.
#[test]
fn it_looks_by_itself() {
    let watched = Watched::new("1+1");
    let _daemon = Daemon::begin(&watched.etc());
    let of_host =
        |host: &'static str| [("k8s_cluster_name", "blue"), ("host_name", host), ("k0rotate_certificate", "root")];
    let expiry = "k0rotate_certificate_expiry_seconds";
    until("its look", || page::get(watched.at).is_some_and(|page| !page.of(expiry, &of_host("w1")).is_empty()));
    let page = page::get(watched.at).expect("it answers");
    assert!(page.sum("k0rotate_certificate_looked_at_seconds", &[]) > 0.0);
    let inspected = watched.json(&["inspect", "--all", "-o", "json"]);
    let mut roots = 0;
    for host in inspected[0]["hosts"].as_array().expect("hosts") {
        for (root, days) in host["days_left"].as_object().expect("roots") {
            let name = host["host"].as_str().expect("a name");
            let of = [("host_name", name), ("k0rotate_root", root.as_str()), ("k0rotate_certificate", "root")];
            let found = page.of(expiry, &of);
            assert_eq!(found.len(), 1, "{of:?}");
            let left = (found[0].value as i64 - watched.now()).div_euclid(DAY);
            assert_eq!(Some(left), days.as_i64(), "{of:?}");
            roots += 1;
        }
    }
    assert!(roots >= 4, "three of the controller, one of the worker: {inspected}");
}

/// Goal: asked, it looks again; each threshold is told once, also over a kill; what is renewed is told no more; a host that is silent keeps what was
/// seen of it; and with `--expires-within` the exit status says whether something ends.
#[test]
fn each_threshold_is_told_once() {
    let watched = Watched::new("1+1");
    let mut daemon = Daemon::begin(&watched.etc());
    let told = |daemon: &Daemon| daemon.said().lines().filter(|line| line.contains("a certificate ends")).count();
    let look = ["inspect", "blue", "--by-daemon", "-o", "json"];
    watched.json(&look);
    assert_eq!(told(&daemon), 0, "{}", daemon.said());
    watched.lasts(25);
    let seen = watched.json(&look);
    let end = |seen: &Value| {
        let all = seen[0]["ends"].as_array().expect("ends").clone();
        let own = all
            .into_iter()
            .find(|end| end["host"] == "c1" && end["root"] == "kubernetes-ca" && end["certificate"] == "leaf");
        own.expect("it was seen")
    };
    assert_eq!((&end(&seen)["days_left"], &end(&seen)["path"]), (&25.into(), &format!("{PKI}/server.crt").into()));
    assert_eq!(told(&daemon), 1, "{}", daemon.said());
    let line = daemon.said().lines().find(|line| line.contains("a certificate ends")).expect("it is there").to_owned();
    for part in ["cluster=\"blue\"", "host=\"c1\"", "root=\"kubernetes-ca\"", "days_left=25", "threshold=30"] {
        assert!(line.contains(part), "{line} has no {part}");
    }
    until("the notice", || !watched.told().is_empty());
    let says = format!("a leaf of kubernetes-ca on c1 ({PKI}/server.crt) ends in 25 days");
    assert_eq!(watched.told(), [says]);
    watched.json(&look);
    daemon.signal("-KILL");
    daemon.ended();
    daemon = Daemon::begin(&watched.etc());
    watched.json(&look);
    assert_eq!(told(&daemon), 1, "{}", daemon.said());
    watched.ends(&["inspect", "--all", "--by-daemon", "--expires-within", "30d"], 8);
    watched.ends(&["inspect", "--all", "--by-daemon", "--expires-within", "20d"], 0);
    watched.lasts(6);
    watched.json(&look);
    until("the next notice", || watched.told().len() == 2);
    assert_eq!(told(&daemon), 2, "{}", daemon.said());
    watched.fleet.stand.stage().world.power_off("c1");
    let seen = watched.json(&look);
    assert_eq!((&seen[0]["unseen"], &end(&seen)["days_left"]), (&serde_json::json!(["c1"]), &6.into()));
    assert_eq!(told(&daemon), 2, "{}", daemon.said());
}

/// Goal: who asks while a rotation is under way is told so and disturbs nothing; without a daemon nobody looks in its place.
#[test]
fn a_look_disturbs_no_rotation() {
    let watched = Watched::new("1+0");
    let refused = watched.ends(&["inspect", "blue", "--by-daemon"], 6);
    assert!(refused.err.contains("error[K0R-0701]"), "{refused:?}");
    let _daemon = Daemon::begin(&watched.etc());
    watched.fleet.stand.stage().faults.stand_at = Some(5);
    let mut command = watched.fleet.bare();
    command.args(["rotate", "blue", "--yes", "--config-dir"]).arg(watched.etc());
    let client = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    until("the fifth change", || watched.fleet.stand.stage().faults.stands());
    let refused = watched.ends(&["inspect", "blue", "--by-daemon"], 5);
    assert!(refused.err.contains("K0R-0501"), "{refused:?}");
    watched.fleet.stand.stage().faults.stand_at = None;
    let rotated = client.and_then(std::process::Child::wait_with_output).expect("it was started");
    assert_eq!(rotated.status.code(), Some(0), "{}", String::from_utf8_lossy(&rotated.stderr));
    assert_eq!(watched.json(&["inspect", "blue", "--by-daemon", "-o", "json"])[0]["unseen"], serde_json::json!([]));
}
