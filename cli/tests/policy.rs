//! A rotation that is due by the policies of a cluster: the daemon tells it once, and who may approve begins it.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::people::{DAEMON, NOBODY, People};
use stand::{Fleet, until};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// More than any root of a new cluster has left: a rotation is due.
const DUE: &str = "[policy]\nrotate_before = \"4000d\"\n";
const WHO: &str = "[who]\noperate = [\"daemon\"]\napprove = [\"nobody\"]\n";

/// A fleet with these policies, and where is written what is told; the daemon has looked at it once.
struct Watched {
    fleet: Fleet,
    told: PathBuf,
    _dir: tempfile::TempDir,
}

impl Watched {
    fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (told, command) = (dir.path().join("told.jsonl"), dir.path().join("to-chat"));
        std::fs::write(&command, format!("#!/bin/sh\ncat >> {}\n", told.display())).expect("it is ours");
        std::fs::set_permissions(&command, PermissionsExt::from_mode(0o755)).expect("it is ours");
        let more = format!("{policy}[notify]\ncommand = \"{}\"\n", command.display());
        let watched = Self { fleet: Fleet::kept_with("1+1", &more), told, _dir: dir };
        watched.looks();
        watched
    }

    /// The daemon looks, and then at what is due.
    fn looks(&self) {
        const AT_WORK: Option<i32> = Some(5);
        until("a look", || {
            let said = self.fleet.bare().args(["inspect", "rehearsal", "--by-daemon"]).output().expect("it starts");
            assert!(said.status.success() || said.status.code() == AT_WORK, "{said:?}");
            said.status.success()
        });
    }

    fn all(&self, what: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.told).unwrap_or_default();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        all.filter(|one| one["what"] == what).collect()
    }

    /// So many of these were told, and no more until the next look has ended: the queue is told in order.
    fn were_told(&self, what: &str, count: usize) {
        until(what, || self.all(what).len() >= count);
        self.looks();
        assert_eq!(self.all(what).len(), count, "{what}");
    }

    fn executions(&self) -> Vec<Value> {
        serde_json::from_str(&self.fleet.ends(&["list", "-o", "json"], 0).out).expect("it prints JSON")
    }
}

fn people(fleet: &Fleet) -> Option<People> {
    People::at(fleet.dir(), &fleet.etc())
}

/// Goal: a rotation that is due is told once with its plan, to those who approve, also over a kill; nothing is begun; `plan` says it, too. Who may approve begins it by that plan, nobody else and by no other.
#[test]
fn a_rotation_that_is_due_asks_for_approval() {
    let mut watched = Watched::new(&format!("{DUE}{WHO}"));
    watched.were_told("rotation-due", 1);
    watched.fleet.without_its_daemon(|_| {});
    watched.were_told("rotation-due", 1);
    assert_eq!(watched.executions(), Vec::<Value>::new(), "nothing is begun unattended");
    let told = watched.all("rotation-due").remove(0);
    assert_eq!(told["to"], serde_json::json!(["nobody", "daemon"]), "{told}");
    let says = told["says"].as_str().expect("a text");
    let digest = says.split("--plan ").nth(1).expect("it names its plan").to_owned();
    let fleet = &watched.fleet;
    let planned: Value = serde_json::from_str(&fleet.ends(&["plan", "-o", "json"], 0).out).expect("it prints JSON");
    assert!(planned["digest"].as_str().is_some_and(|whole| whole.starts_with(&digest)), "{says}");
    assert!(planned["warnings"].to_string().contains("a rotation is due: "), "{}", planned["warnings"]);
    let Some(people) = people(fleet) else { return };
    people.ends(DAEMON, &["approve", "rehearsal", "--yes", "--plan", &digest], 6);
    people.ends(NOBODY, &["approve", "rehearsal", "--yes", "--plan", "0123456789ab"], 8);
    assert_eq!(watched.executions(), Vec::<Value>::new());
    people.ends(NOBODY, &["approve", "rehearsal", "--yes", "--plan", &digest, "--reason", "read it"], 0);
    let last = watched.executions().pop().expect("it was begun");
    assert!(last["by"].as_str().is_some_and(|by| by.starts_with("nobody@")), "{last}");
    let reason = last["reason"].as_str().expect("a text");
    assert!(reason.contains("policy.rotate_before") && reason.ends_with(": read it"), "{reason}");
}
