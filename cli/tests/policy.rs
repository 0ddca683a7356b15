//! What the daemon does by the clock and the policies of a cluster: tells once that a rotation is due, reminds of finalize, and does by itself only what it is told to.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::people::{DAEMON, NOBODY, People};
use stand::{Fleet, until};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than any root of a new cluster has left: a rotation is due.
const DUE: &str = "[policy]\nrotate_before = \"4000d\"\n";
const WHO: &str = "[who]\noperate = [\"daemon\"]\napprove = [\"nobody\"]\n";
/// Seconds of the fleet's time in one of ours.
const PACE: u32 = 20;

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

    /// The same after so many hours: the model lives through each of them, which takes a while.
    fn looks_after(&self, hours: u64) {
        self.fleet.stand.stage().pass(Duration::from_hours(hours));
        self.looks();
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

    fn is(&self, state: &str) {
        until(state, || self.executions().last().is_some_and(|last| last["state"] == state));
    }
}

fn people(fleet: &Fleet) -> Option<People> {
    People::at(fleet.dir(), &fleet.etc())
}

fn nothing_was_stopped(fleet: &Fleet) -> bool {
    !fleet.stand.stage().faults.log.iter().any(|change| change.contains("systemctl stop"))
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

/// Goal: a root that is older than its policy lets it be makes one due on the day on which it is.
#[test]
fn age_makes_one_due() {
    let watched = Watched::new("[policy]\nmax_age = \"1d\"\n");
    watched.looks_after(22);
    watched.were_told("rotation-due", 0);
    watched.looks_after(3);
    watched.were_told("rotation-due", 1);
    let says = watched.all("rotation-due").remove(0)["says"].as_str().expect("a text").to_owned();
    assert!(says.contains("old (policy.max_age)"), "{says}");
    watched.looks_after(1);
    watched.were_told("rotation-due", 1);
}

/// Goal: told to, the daemon begins it shortly before the window and in it; where somebody else has to approve it waits for them, and one that was declined is not begun again.
#[test]
fn it_begins_by_itself_only_if_told_to() {
    let unattended = format!("approval = true\n{DUE}unattended = true\n[window]\nat = \"Thu 01:00-03:00\"\n{WHO}");
    let watched = Watched::new(&unattended);
    watched.were_told("rotation-due", 1);
    assert_eq!(watched.executions(), Vec::<Value>::new(), "its window is on Thursday, and this is Tuesday");
    watched.looks_after(24);
    watched.is("Waiting");
    let last = watched.executions().pop().expect("it was begun");
    assert!(last["by"].as_str().is_some_and(|by| by.starts_with("(policy)@")), "{last}");
    assert!(watched.fleet.ends(&["show"], 0).out.contains("waits for somebody else than (policy)@"));
    let Some(people) = people(&watched.fleet) else { return };
    people.ends(NOBODY, &["decline", "rehearsal", "--yes", "--reason", "freeze"], 0);
    watched.looks();
    assert_eq!(watched.executions().len(), 1, "the next one is a person's to begin");
    assert!(nothing_was_stopped(&watched.fleet));
    assert_eq!(watched.fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: without an approval it runs through in its window, and not before; without a window nothing is begun by itself, and `config check` says so.
#[test]
fn it_runs_in_its_window() {
    let watched = Watched::new(&format!("{DUE}unattended = true\n[window]\nat = \"Thu 01:00-03:00\"\n"));
    watched.were_told("rotation-due", 1);
    // Time does not jump to the window.
    watched.fleet.stand.stage().pace = NonZeroU32::new(PACE);
    watched.looks_after(24);
    until("its wait", || watched.fleet.k(&["show"]).out.contains("waits for its window until 2026-11-26T01:00:00Z"));
    assert!(nothing_was_stopped(&watched.fleet));
    watched.fleet.stand.stage().pass(Duration::from_hours(13));
    until("the end", || watched.fleet.k(&["show"]).out.contains("verified; waits for finalize"));

    let whenever = Watched::new(&format!("{DUE}unattended = true\n"));
    whenever.were_told("rotation-due", 1);
    assert_eq!(whenever.executions(), Vec::<Value>::new());
    let said = whenever.fleet.ends(&["config", "check"], 2);
    assert!(said.err.contains("`policy.unattended` wants `window.at`"), "{said:?}");
}

/// Goal: who waits for finalize is reminded of once for each time that has passed, also over a kill, and those that nobody was there to tell are one; nothing is destroyed by itself unless the policy says so.
#[test]
fn finalize_is_reminded_of() {
    let mut watched = Watched::new("[finalize]\nremind = \"1d\"\n");
    watched.fleet.ends(&["rotate", "--yes"], 0);
    watched.looks_after(23);
    watched.were_told("finalize-reminder", 0);
    watched.looks_after(1);
    watched.were_told("finalize-reminder", 1);
    watched.fleet.without_its_daemon(|_| {});
    watched.were_told("finalize-reminder", 1);
    watched.fleet.without_its_daemon(|fleet| fleet.stand.stage().pass(Duration::from_hours(49)));
    watched.were_told("finalize-reminder", 2);
    assert_eq!(watched.executions()[0]["state"], "Waiting", "a timer destroys nothing");
    watched.fleet.ends(&["rollback", "--yes"], 0);
    watched.looks_after(25);
    watched.were_told("finalize-reminder", 2);
}

/// Goal: with `finalize.after` the daemon finalizes by itself once it has waited so long, not before; it is said when that will be, and who did it.
#[test]
fn it_is_finalized_only_if_told_to() {
    let watched = Watched::new("[finalize]\nremind = \"1d\"\nafter = \"2d\"\n");
    watched.fleet.ends(&["rotate", "--yes"], 0);
    let shown: Value = serde_json::from_str(&watched.fleet.ends(&["show", "-o", "json"], 0).out).expect("JSON");
    assert!(shown["finalizes_at"].is_string(), "{shown}");
    watched.looks_after(25);
    watched.were_told("finalize-reminder", 1);
    assert!(
        watched.all("finalize-reminder")[0]["says"]
            .as_str()
            .is_some_and(|says| says.contains("finalized by itself at"))
    );
    assert_eq!(watched.executions()[0]["state"], "Waiting");
    watched.looks_after(23);
    watched.is("Completed");
    let audit = audit(&watched.fleet.dir().join("state/rehearsal/audit.jsonl"));
    let line = audit.iter().find(|line| line["what"] == "wait-ended" && line["about"] == "finalize").expect("its line");
    assert!(line["who"].as_str().is_some_and(|who| who.starts_with("(policy)@")), "{line}");
    assert!(line["why"].as_str().is_some_and(|why| why.starts_with("finalize.after")), "{line}");
}

fn audit(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
