//! Several rehearsal fleets, each a cluster of one configuration, and the program that works on them through one daemon.

use super::kept::{self, Daemon};
use super::{Fleet, Said};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// See the file's sentence.
pub struct Many {
    pub fleets: Vec<(String, Fleet)>,
    pub dir: tempfile::TempDir,
}

impl Many {
    pub fn new(hosts: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut many = Self { fleets: Vec::new(), dir };
        for (at, hosts) in hosts.iter().enumerate() {
            let (name, fleet) = (format!("c{at}"), Fleet::new(hosts));
            if at == 0 {
                kept::configure(&many.etc(), &fleet.stand.dir().join("identity"));
            }
            kept::add(&many.etc(), &name, &fleet.stand.dir().join("k0sctl.yaml"));
            many.fleets.push((name, fleet));
        }
        many
    }

    pub fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
        command.args(words).arg("--config-dir").arg(self.etc()).env_remove("K0ROTATE_IDENTITY");
        command.stdin(Stdio::null()).current_dir(self.dir.path());
        command
    }

    pub fn ends(&self, words: &[&str], code: i32) -> Said {
        let said = self.k(words);
        assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
        said
    }

    pub fn k(&self, words: &[&str]) -> Said {
        self.command(words).output().expect("the program starts").into()
    }

    pub fn beside(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// What `list` says of the newest execution of a cluster; nothing while no daemon answers.
    pub fn listed(&self, name: &str) -> Value {
        let all = self.list();
        all.into_iter().rfind(|one| one["cluster"] == name).unwrap_or(Value::Null)
    }

    /// Whether the newest execution of each is in this state.
    pub fn all_are(&self, state: &str) -> bool {
        let all = self.list();
        let newest = |name: &String| all.iter().rfind(|one| one["cluster"] == **name);
        self.fleets.iter().all(|(name, _)| newest(name).is_some_and(|one| one["state"] == state))
    }

    fn list(&self) -> Vec<Value> {
        let said = self.k(&["list", "-o", "json"]);
        serde_json::from_str(&said.out).unwrap_or_default()
    }

    pub fn doom(&self, daemon: &Daemon) {
        self.fleets.iter().for_each(|(_, fleet)| fleet.doom(daemon.pid()));
    }
}

/// Numbers from a seed.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
