//! A rotation because the keys leaked: it waits for nobody, everybody is told, nothing old is kept, and its way back wants a second word.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Fault;
use serde_json::Value;
use stand::people::{BIN, DAEMON, People};
use stand::{Fleet, until};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// The second word, where nobody is asked.
const SECOND: &str = "--bring-back-the-leaked-trust";
/// What must be named that no rotation covers.
const NOT_COVERED: [&str; 6] = [
    "RBAC",
    "encryption at rest",
    "etcd's jwt keys",
    "older backups",
    "bring the leaked trust back",
    "kubeconfig create",
];

/// A fleet whose rotations replace one root, want an approval and wait for a window that is closed now; and people. None without root.
fn guarded(told: &Path) -> Option<(Fleet, People)> {
    let command = told.with_file_name("to-chat");
    std::fs::write(&command, format!("#!/bin/sh\ncat >> {}\n", told.display())).expect("it is ours");
    std::fs::set_permissions(&command, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let more = format!(
        "approval = true\nroots = [\"service-account\"]\n[window]\nat = \"Tue 01:00-03:00\"\n[notify]\ncommand = \"{}\"\n[who]\noperate = [\"daemon\"]\napprove = [\"nobody\", \"%staff\"]\n",
        command.display()
    );
    let fleet = Fleet::kept_with("1+1", &more);
    let people = People::at(fleet.dir(), &fleet.etc())?;
    Some((fleet, people))
}

fn told(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn of(all: &[Value], what: &str) -> Option<Value> {
    all.iter().find(|one| one["what"] == what).cloned()
}

fn audited(fleet: &Fleet, what: &str) -> Option<Value> {
    let text = std::fs::read_to_string(fleet.dir().join("state/rehearsal/audit.jsonl")).unwrap_or_default();
    let mut all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.find(|line| line["what"] == what)
}

fn at(fleet: &Fleet, change: &str) -> Option<usize> {
    fleet.stand.stage().faults.log.iter().position(|line| line.contains(change))
}

/// Goal: window and approval are not waited for, which is recorded, in the audit, and told to everybody who may approve; all roots are replaced whatever the configuration says; the end, the report and the plan name what it does not cover. Its way back wants a second word, and is told as what it is.
#[test]
fn it_waits_for_nobody_and_everybody_is_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("told.jsonl");
    let Some((fleet, people)) = guarded(&file) else { return };
    let planned = fleet.ends(&["plan", "--compromised"], 0).out;
    for told in NOT_COVERED[..4].iter().chain(&[
        "window and somebody else's approval are not waited for",
        "asks twice",
        "who.approve",
    ]) {
        assert!(planned.contains(told), "{told}: {planned}");
    }
    people.ends(BIN, &["rotate", "rehearsal", "--compromised", "--yes"], 6);
    let words = ["rotate", "rehearsal", "--compromised", "--yes", "--reason", "INC-950"];
    let rotated = people.ends(DAEMON, &words, 0);
    assert!(rotated.err.contains("every join token is revoked before the stop"), "{rotated:?}");
    NOT_COVERED.iter().for_each(|what| assert!(rotated.out.contains(what), "{what}: {rotated:?}"));
    let (revoked, stopped) = (at(&fleet, "token invalidate"), at(&fleet, "systemctl stop"));
    assert!(revoked.is_some() && revoked < stopped, "{:?}", fleet.stand.stage().faults.log);

    until("it is told", || of(&told(&file), "execution-started").is_some());
    let begun = of(&told(&file), "execution-started").expect("it was told");
    assert_eq!(begun["to"], serde_json::json!(["nobody", "%staff"]), "{begun}");
    assert_eq!((&begun["about"], &begun["why"]), (&"break-glass".into(), &"INC-950".into()), "{begun}");
    let says = begun["says"].as_str().expect("a text");
    assert!(says.contains("BREAK-GLASS") && says.contains("skipped: window, approval"), "{says}");
    until("its line", || audited(&fleet, "execution-started").is_some());
    let line = audited(&fleet, "execution-started").expect("it is there");
    assert_eq!(
        (&line["about"], &line["outcome"]),
        (&"break-glass".into(), &"skipped: window, approval".into()),
        "{line}"
    );
    let history: Value = serde_json::from_str(&fleet.ends(&["history", "-o", "json"], 0).out).expect("it prints JSON");
    let input = history[0]["event"]["ExecutionStarted"]["input"].as_str().expect("it is the first event");
    let input: Value = serde_json::from_str(input).expect("inputs are JSON");
    assert_eq!(input["break_glass"], serde_json::json!({ "window": true, "approval": true }));
    assert_eq!(input["roots"].as_array().map(Vec::len), Some(4), "{input}");
    assert!(input["not_before"].is_null() && input["not_after"].is_null(), "{input}");
    let report = fleet.ends(&["report"], 0).out;
    assert!(report.contains("## Break-glass"), "{report}");
    NOT_COVERED.iter().for_each(|what| assert!(report.contains(what), "{what}: {report}"));

    let events = fleet.listed()["events"].clone();
    let refused = people.ends(DAEMON, &["rollback", "rehearsal", "--yes"], 1);
    assert!(refused.err.contains("error[K0R-0302]") && refused.err.contains(SECOND), "{refused:?}");
    assert_eq!(fleet.listed()["events"], events, "nothing was recorded");
    let back = people.ends(DAEMON, &["rollback", "rehearsal", "--yes", SECOND], 0);
    assert!(back.text().contains("THE LEAKED TRUST IS IN USE"), "{back:?}");
    until("it is told", || of(&told(&file), "rolled-back").is_some());
    for (what, says) in [("roll-back-started", "TO THE LEAKED TRUST"), ("rolled-back", "THE LEAKED TRUST IS IN USE")] {
        let one = of(&told(&file), what).expect("it was told");
        assert!(one["says"].as_str().is_some_and(|text| text.contains(says)), "{one}");
        assert_eq!(one["to"], serde_json::json!(["nobody", "%staff"]), "{one}");
    }
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: uid 0 may begin it, which needs no second person; and so may whoever has the store, without the daemon: that is told by the same command.
#[test]
fn it_needs_no_daemon() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("told.jsonl");
    let Some((mut fleet, people)) = guarded(&file) else { return };
    fleet.without_its_daemon(|_| {
        let words = ["rotate", "rehearsal", "--yes", "--embedded"];
        let refused = people.ends(0, &words, 6);
        assert!(refused.err.contains("through the daemon"), "{refused:?}");
        people.ends(0, &[&words[..], &["--compromised", "--reason", "INC-950"]].concat(), 0);
        let all = told(&file);
        assert!(of(&all, "execution-started").is_some_and(|one| one["about"] == "break-glass"), "{all:?}");
    });
    people.ends(0, &["rollback", "rehearsal", "--yes", SECOND], 0);
    people.ends(0, &["rotate", "rehearsal", "--yes", "--compromised"], 0);
}

/// Goal: flags that would keep something old, or wait, are refused before anything is looked at; hosts that are known to be dead are left if that is said; without a command of `[notify]` it says that nobody is told.
#[test]
fn nothing_old_is_kept() {
    let fleet = Fleet::new("3+2");
    for more in [
        ["--roots", "kubernetes-ca"],
        ["--keep-token", "abcdef"],
        ["--not-before", "2026-11-25T01:00:00Z"],
        ["--not-after", "2026-11-25T01:00:00Z"],
    ] {
        for verb in [&["plan", "--compromised"][..], &["rotate", "--compromised", "--yes"]] {
            let refused = fleet.ends(&[verb, &more[..]].concat(), 2);
            let why = format!("--compromised and {} do not go together", more[0]);
            assert!(refused.err.contains("error[K0R-0101]") && refused.err.contains(&why), "{refused:?}");
        }
    }
    {
        let mut stage = fleet.stand.stage();
        stage.world.power_off("w2");
        // Until its Node is not ready.
        stage.pass(Duration::from_mins(2));
    }
    let planned: Value =
        serde_json::from_str(&fleet.ends(&["plan", "--compromised", "--leave-behind", "w2", "-o", "json"], 0).out)
            .expect("it prints JSON");
    let go_on = planned["go_on"].as_str().expect("nothing speaks against it");
    assert!(go_on.contains("--compromised") && go_on.contains("--leave-behind w2"), "{go_on}");
    assert_eq!(planned["not_covered"].as_array().map(Vec::len), Some(5));
    let digest = planned["digest"].as_str().expect("nothing speaks against it");
    let plain = ["rotate", "--leave-behind", "w2", "--yes", "--plan", &digest[..12]];
    fleet.ends(&plain, 8);
    let rotated = fleet.ends(&[&plain[..], &["--compromised"]].concat(), 7);
    assert!(rotated.err.contains("nobody is told of it but by you"), "{rotated:?}");
    let refused = fleet.ends(&["rollback", "--yes"], 1);
    assert!(refused.err.contains("error[K0R-0302]"), "{refused:?}");
    let planned = fleet.ends(&["plan", "--rollback", "rehearsal"], 0).out;
    assert!(planned.contains("asks twice") && planned.contains(SECOND), "{planned}");
}

/// Goal: while it is driven, another terminal's word to go back is not taken without the second one, and changes nothing.
fn a_driver_wants_it_too(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+1");
    fleet.stand.stage().faults.stand_at = Some(40);
    let mut driver = fleet.beside(&["rotate", "--compromised", "--yes"]);
    until("the fortieth change", || fleet.stand.stage().faults.stands());
    let refused = fleet.ends(&["rollback", "--yes"], 1);
    assert!(refused.err.contains("error[K0R-0302]") && refused.err.contains(SECOND), "{refused:?}");
    let back = fleet.beside(&["rollback", "--yes", SECOND]);
    fleet.goes_back_as_it_hears(&mut driver);
    assert_eq!(driver.wait_with_output().expect("it was started").status.code(), Some(4));
    assert_eq!(back.wait_with_output().expect("it was started").status.code(), Some(0));
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

#[test]
fn a_driver_in_a_process_wants_it_too() {
    a_driver_wants_it_too(Fleet::new);
}

#[test]
fn a_driver_in_the_daemon_wants_it_too() {
    a_driver_wants_it_too(Fleet::kept);
}

/// Goal: where the control plane does not come up it goes back by itself, as docs/decisions/0015 has it: the cluster lives, and it is said and reported that the leaked trust is in use.
#[test]
fn a_dead_cluster_is_worse() {
    let fleet = Fleet::new("1+0");
    let untouched = Fleet::new("1+0");
    untouched.ends(&["rotate", "--compromised", "--yes"], 0);
    let start = at(&untouched, "systemctl start").expect("it is started") as u64 + 1;
    for change in start..start + 3 {
        fleet.stand.stage().faults.plan.insert(change, Fault::Refuse);
    }
    let back = fleet.ends(&["rotate", "--compromised", "--yes"], 4);
    assert!(back.out.contains("THE LEAKED TRUST IS IN USE"), "{back:?}");
    let report = fleet.ends(&["report"], 0).out;
    assert!(report.contains("THE LEAKED TRUST IS IN USE") && !report.contains("etcd's jwt keys"), "{report}");
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: killed at any of these changes it goes on with all that it was asked for, and ends as undisturbed.
#[test]
fn a_kill_forgets_nothing() {
    let untouched = Fleet::new("1+0");
    untouched.ends(&["rotate", "--compromised", "--yes"], 0);
    let changes = untouched.stand.stage().faults.changes;
    let step = (changes / 6).max(1);
    for change in (1..=changes).step_by(usize::try_from(step).expect("it is small")) {
        let fleet = Fleet::new("1+0");
        fleet.killed_at(&["rotate", "--compromised", "--yes"], change, Fault::CrashBefore);
        let said = fleet.ends(&["resume", "--yes"], 0);
        NOT_COVERED.iter().for_each(|what| assert!(said.out.contains(what), "{change}: {what}: {said:?}"));
        fleet.ends(&["rollback", "--yes"], 1);
        let differs = untouched.likeness().trust_differences(&fleet.likeness());
        assert!(differs.is_empty(), "{change}: {differs:?}");
    }
}
