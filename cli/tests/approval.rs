//! A rotation that somebody else has to approve: who may, who may not, what is recorded, and what an approval is of.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::host::{Change, OwnerIds};
use k0rotate_activities::secret::Secret;
use serde_json::Value;
use stand::people::{BIN, DAEMON, NOBODY, People};
use stand::{Fleet, until};
use std::num::NonZeroU32;
use std::time::Duration;

/// Rotations of its cluster want an approval: `daemon` may ask, `nobody` may approve, and so may the asker and root, as far as they are let.
const WANTED: &str = "approval = true\n[who]\noperate = [\"daemon\"]\napprove = [\"nobody\", \"daemon\", \"root\"]\n";
/// Seconds of the fleet's time in one of ours.
const PACE: u32 = 20;

/// A fleet, and people; none without root.
fn approving() -> Option<(Fleet, People)> {
    let fleet = Fleet::kept_with("1+1", WANTED);
    let people = People::at(fleet.dir(), &fleet.etc())?;
    Some((fleet, people))
}

fn nothing_was_stopped(fleet: &Fleet) -> bool {
    !fleet.stand.stage().faults.log.iter().any(|change| change.contains("systemctl stop"))
}

/// Starts the worker's k0s with one more argument from its next start on: a plan covers that.
fn change_the_unit(fleet: &Fleet, from: &str, to: &str) {
    const UNIT: &str = "/etc/systemd/system/k0sworker.service";
    let mut stage = fleet.stand.stage();
    let text = String::from_utf8(stage.world.read("w1", UNIT).expect("it is there")).expect("it is text");
    let (path, bytes) = (UNIT.to_owned(), Secret::new(text.replace(from, to).into_bytes()));
    let owner = OwnerIds { uid: 0, gid: 0 };
    stage.world.apply("w1", &Change::Write { path, bytes, mode: 0o644, owner }).expect("there is space");
}

/// Goal: before anything is stopped it rests until somebody approves who is not the asker, not uid 0 and has the role; the others are refused, and in the log. What is recorded says who, why and of which plan.
#[test]
fn somebody_else_approves() {
    let Some((fleet, people)) = approving() else { return };
    let asked = people.ends(DAEMON, &["rotate", "rehearsal", "--yes", "--reason", "CHG-4711"], 9);
    assert!(
        asked.out.contains("waits for somebody else than daemon@") && asked.out.contains("k0rotate approve"),
        "{asked:?}"
    );
    let plan = asked.out.split("approve plan ").nth(1).expect("it is named").split(';').next().expect("it ends");
    for (uid, why) in
        [(0, "uid 0 is nobody there"), (DAEMON, "somebody else must approve"), (BIN, "the right to approve")]
    {
        let refused = people.ends(uid, &["approve", "rehearsal", "--yes"], 6);
        assert!(refused.err.contains("error[K0R-0702]") && refused.err.contains(why), "{refused:?}");
        until("the log", || fleet.logged().contains(why));
    }
    let root = people.ends(0, &["rotate", "rehearsal", "--yes"], 6);
    assert!(root.err.contains("is nobody where two persons are needed"), "{root:?}");
    let alone = people.ends(0, &["approve", "rehearsal", "--yes", "--embedded"], 6);
    assert!(alone.err.contains("through the daemon"), "{alone:?}");
    people.ends(DAEMON, &["finalize", "rehearsal", "--yes"], 1);
    people.ends(DAEMON, &["resume", "rehearsal", "--yes"], 9);
    people.ends(NOBODY, &["approve", "rehearsal", "--yes", "--plan", "0123456789ab"], 8);
    assert!(nothing_was_stopped(&fleet));

    let words = ["approve", "rehearsal", "--yes", "--plan", plan, "--reason", "read it"];
    let approved = people.ends(NOBODY, &words, 0);
    assert!(approved.out.contains(&format!("is approved, by plan {plan}")), "{approved:?}");
    assert!(approved.err.contains("asked for by daemon@"), "what is approved is shown: {approved:?}");
    until("the end", || fleet.k(&["show"]).out.contains("waits for finalize"));
    people.ends(NOBODY, &["approve", "rehearsal", "--yes"], 1);
    let audit = fleet.dir().join("state/rehearsal/audit.jsonl");
    let line = || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let all: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        all.into_iter().find(|line| line["what"] == "wait-ended" && line["about"] == "approval")
    };
    until("its line", || line().is_some());
    let line = line().expect("it is there");
    assert!(line["who"].as_str().is_some_and(|who| who.starts_with("nobody@")) && line["why"] == "read it", "{line}");
    assert!(line["plan"].as_str().is_some_and(|digest| digest.starts_with(plan)), "{line}");
    assert!(fleet.ends(&["report"], 0).out.contains("nobody@"));
    let refused = fleet.dir().join("state/audit.jsonl");
    let text = std::fs::read_to_string(&refused).expect("it is there");
    for (who, about) in [("bin@", "approve"), ("daemon@", "approve"), ("root@", "approve"), ("root@", "rotate")] {
        let is_it =
            |line: &Value| line["about"] == about && line["who"].as_str().is_some_and(|name| name.starts_with(who));
        assert!(
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line| is_it(&line)),
            "{who}: {text}"
        );
    }
    let verify = ["verify", refused.to_str().expect("a UTF-8 path")];
    fleet.ends(&verify, 0);
    std::fs::write(&refused, text.replace("bin@", "bob@")).expect("it is ours");
    assert!(fleet.ends(&verify, 8).err.contains("error[K0R-0603]"));
}

/// Goal: who declines takes it back, nothing was stopped, and the record says who and why.
#[test]
fn a_decline_takes_it_back() {
    let Some((fleet, people)) = approving() else { return };
    people.ends(DAEMON, &["rotate", "rehearsal", "--yes"], 9);
    people.ends(BIN, &["decline", "rehearsal", "--yes"], 6);
    people.ends(NOBODY, &["decline", "rehearsal", "--yes", "--reason", "freeze"], 0);
    let shown = fleet.ends(&["show"], 0).out;
    assert!(shown.contains("asked for by nobody@") && shown.contains("declined: freeze"), "{shown}");
    assert!(nothing_was_stopped(&fleet));
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: an approval is of what was seen: where a unit is another one it is not given, and one that was given lapses before anything is stopped, also after a wait for the window.
#[test]
fn an_approval_lapses() {
    let Some((fleet, people)) = approving() else { return };
    fleet.stand.stage().pace = NonZeroU32::new(PACE);
    let window = ["--not-before", "2026-11-25T01:00:00Z", "--not-after", "2026-11-25T03:00:00Z"];
    people.ends(DAEMON, &[&["rotate", "rehearsal", "--yes"], &window[..]].concat(), 9);
    change_the_unit(&fleet, "--token-file", "--debug --token-file");
    let refused = people.ends(NOBODY, &["approve", "rehearsal", "--yes"], 8);
    assert!(refused.err.contains("error[K0R-0301]"), "{refused:?}");
    change_the_unit(&fleet, "--debug ", "");
    let approved = people.ends(NOBODY, &["approve", "rehearsal", "--yes"], 0);
    assert!(approved.out.contains("not stopped before 2026-11-25T01:00:00Z"), "{approved:?}");
    change_the_unit(&fleet, "--token-file", "--debug --token-file");
    until("the wait", || fleet.listed()["state"] == "Waiting");
    fleet.stand.stage().pass(Duration::from_hours(13));
    fleet.stand.stage().pace = None;
    until("its rest", || fleet.listed()["state"].as_str().is_some_and(|state| state.starts_with("Stuck")));
    let shown = fleet.ends(&["show"], 0).out;
    assert!(shown.contains("approval-lapsed host=w1"), "{shown}");
    assert!(nothing_was_stopped(&fleet));
    people.ends(DAEMON, &["rollback", "rehearsal", "--yes"], 0);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// The daemon looks, and then whether something is due.
fn looks(fleet: &Fleet) {
    until("a look", || {
        let look = fleet.bare().args(["inspect", "rehearsal", "--by-daemon"]).output().expect("the program starts");
        look.status.success()
    });
}

/// Goal: an approval that comes too late for its window is refused with its own code; the window that was missed is shown, nothing catches it up, and what was prepared is taken back.
#[test]
fn it_may_be_too_late() {
    let Some((fleet, people)) = approving() else { return };
    // Its first look would come after the rest otherwise.
    looks(&fleet);
    people.ends(DAEMON, &["rotate", "rehearsal", "--yes", "--not-after", "2026-11-24T20:00:00Z"], 9);
    fleet.stand.stage().pass(Duration::from_hours(9));
    let late = people.ends(NOBODY, &["approve", "rehearsal", "--yes"], 9);
    assert!(late.err.contains("error[K0R-0304]") && late.err.contains("until 2026-11-24T20:00:00Z"), "{late:?}");
    assert!(nothing_was_stopped(&fleet));
    looks(&fleet);
    missed(&fleet, &people);
}

/// It is told as missed wherever somebody would look, and was not begun again.
fn missed(fleet: &Fleet, people: &People) {
    until("the way back", || fleet.listed()["state"] == "RolledBack");
    assert_eq!(fleet.listed()["window_missed"], true);
    assert!(fleet.ends(&["list"], 0).out.contains("RolledBack, window missed"));
    for verb in ["show", "report"] {
        let said = fleet.ends(&[verb], 0).out;
        assert!(
            said.contains("the window has passed: until 2026-11-24T20:00:00Z nobody had approved"),
            "{verb}: {said}"
        );
    }
    assert!(fleet.ends(&["show"], 0).out.contains("MISSED: it was until 2026-11-24T20:00:00Z"));
    let planned = fleet.ends(&["plan"], 0).out;
    assert!(planned.contains("missed its window until 2026-11-24T20:00:00Z"), "{planned}");
    assert!(
        planned.contains("Approval: wanted once all is prepared") && planned.contains("one of nobody daemon root"),
        "{planned}"
    );
    people.ends(NOBODY, &["approve", "rehearsal", "--yes"], 1);
    looks(fleet);
    let all: Vec<Value> = serde_json::from_str(&fleet.ends(&["list", "-o", "json"], 0).out).expect("it prints JSON");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(nothing_was_stopped(fleet));
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: so is one whose window closes while it waits for an approval and no daemon lives.
#[test]
fn it_may_pass_while_nobody_is_there() {
    let Some((mut fleet, people)) = approving() else { return };
    let asked = people.ends(DAEMON, &["rotate", "rehearsal", "--yes", "--not-after", "2026-11-24T20:00:00Z"], 9);
    assert!(
        asked.err.contains("wanted once all is prepared, before the controllers are stopped, by one of nobody"),
        "{asked:?}"
    );
    fleet.without_its_daemon(|fleet| fleet.stand.stage().pass(Duration::from_hours(9)));
    missed(&fleet, &people);
}
