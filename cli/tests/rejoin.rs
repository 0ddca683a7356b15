//! The verb `rejoin` as it is typed: a worker that loses its power in a rotation is let in again, beside the resting rotation and after its way back.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Fault;
use stand::Fleet;
use stand::rejoining::{power_on, rotated_without, rotated_without_w2, without};

/// Goal: leave-behind and rejoin know hosts by any of their names; the place with the old trust is told before, and none after; the rotation can end then.
#[test]
fn beside_a_resting_rotation() {
    let fleet = rotated_without_w2();
    let unknown = fleet.k(&["leave-behind", "w9", "--yes"]);
    assert!(unknown.code == Some(2) && unknown.text().contains("c1 c2 c3 w1 w2"), "{unknown:?}");
    let refused = fleet.k(&["rejoin", "w1", "--yes"]);
    assert!(refused.code == Some(1) && refused.text().contains("error[K0R-0403]"), "{refused:?}");
    power_on(&fleet, "w2");
    let before = fleet.k(&["inspect", "--against", "rehearsal"]);
    assert_eq!(before.code, Some(8), "{before:?}");
    assert!(before.text().contains("w2 kubernetes-ca still has the old trust"), "{before:?}");
    assert!(before.text().contains("HELD by alice@"), "{before:?}");

    let back = fleet.k(&["rejoin", "10.77.0.15", "--yes", "--reason", "DC ticket 881"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    let after = fleet.k(&["inspect", "--against", "rehearsal"]);
    assert!(after.code == Some(0) && after.text().contains("14 of 14 places are as it left them"), "{after:?}");
    let by = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    let told = ", let in again at 20";
    for verb in ["show", "report"] {
        let said = fleet.ends(&[verb], 0);
        assert!(said.out.contains("w2 left at 20") && said.out.contains(told) && said.out.contains(&by), "{said:?}");
    }
    let shown = fleet.ends(&["show", "-o", "json"], 0).out;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it prints JSON");
    assert_eq!((&shown["left"], &shown["let_in_again"][0]["execution"]), (&serde_json::json!([]), &by.as_str().into()));
    assert!(!fleet.ends(&["resume"], 0).out.contains("left: w2"));
    let changes = fleet.stand.stage().faults.changes;
    let again = fleet.ends(&["rejoin", "w2", "--yes"], 1);
    assert!(again.err.contains("there is nothing to let in"), "{again:?}");
    assert_eq!(fleet.stand.stage().faults.changes, changes);
    let ended = fleet.ends(&["finalize", "--yes"], 0);
    assert!(ended.text().contains("completed"), "{ended:?}");
    assert!(!fleet.ends(&["report"], 0).out.contains("k0rotate rejoin w2"));
    let listed = fleet.k(&["list"]);
    assert!(listed.text().contains("rejoin") && listed.text().contains("Completed"), "{listed:?}");
    let free = fleet.k(&["inspect"]);
    assert!(free.code == Some(0) && free.text().contains("held by nobody"), "{free:?}");
}

/// Goal: with a daemon it is the same: let in beside the resting rotation, once.
#[test]
fn by_the_daemon() {
    let fleet = without(Fleet::kept("3+2"), "w2", |change| change.contains("systemctl stop"));
    let unknown = fleet.ends(&["rejoin", "w9", "--yes"], 2);
    assert!(unknown.err.contains("c1 c2 c3 w1 w2"), "{unknown:?}");
    power_on(&fleet, "w2");
    fleet.ends(&["rejoin", "w2"], 1);
    let back = fleet.ends(&["rejoin", "w2", "--yes", "--reason", "DC ticket 881"], 0);
    assert!(back.out.contains("the host is in again"), "{back:?}");
    let again = fleet.ends(&["rejoin", "w2", "--yes"], 1);
    assert!(again.err.contains("there is nothing to let in"), "{again:?}");
    fleet.ends(&["finalize", "--yes"], 0);
}

/// Goal: after a way back without the host it gets the first trust, and nobody holds it any more.
#[test]
fn after_a_way_back() {
    let fleet = rotated_without_w2();
    let back = fleet.k(&["rollback", "--yes"]);
    assert_eq!(back.code, Some(7), "{back:?}");
    power_on(&fleet, "w2");
    let held = fleet.k(&["inspect"]);
    assert!(held.text().contains("HELD by alice@") && held.text().contains("· w2"), "{held:?}");
    let rejoined = fleet.k(&["rejoin", "w2", "--yes"]);
    assert_eq!(rejoined.code, Some(0), "{rejoined:?}");
    let after = fleet.k(&["inspect", "--against", "rehearsal"]);
    assert!(after.code == Some(0) && after.text().contains("held by nobody"), "{after:?}");
}

/// Goal: where the host is in with the first trust already, the way back of its rejoin ends, and it can be let in again.
#[test]
fn taken_back_after_a_way_back() {
    let rolled_back = || {
        let fleet = rotated_without_w2();
        fleet.ends(&["rollback", "--yes"], 7);
        power_on(&fleet, "w2");
        fleet
    };
    let whole = rolled_back();
    let before = whole.stand.stage().faults.log.len();
    whole.ends(&["rejoin", "w2", "--yes"], 0);
    let log = whole.stand.stage().faults.log[before..].to_vec();
    let started = log.iter().rposition(|change| change.starts_with("w2 ") && change.contains("systemctl"));
    let started = started.expect("its k0s is started") as u64 + 1;

    let fleet = rolled_back();
    fleet.killed_at(&["rejoin", "w2", "--yes"], started + 1, Fault::CrashBefore);
    let rejoin = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    let back = fleet.ends(&["rollback", &rejoin, "--yes"], 0);
    assert!(back.text().contains("taken back"), "{back:?}");
    fleet.ends(&["rejoin", "w2", "--yes"], 0);
    fleet.ends(&["rotate", "--yes"], 0);
}

/// Goal: while a rejoin is open no word about its rotation is taken, nor is another begun: nothing is recorded, and what ends it is named.
#[test]
fn nothing_goes_on_beside_an_open_rejoin() {
    let fleet = rotated_without_w2();
    let rotation = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    fleet.ends(&["finalize", "--yes"], 3);
    power_on(&fleet, "w2");
    fleet.killed_at(&["rejoin", "w2", "--yes"], 3, Fault::CrashAfter);
    let rejoin = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    let before = fleet.ends(&["list", "-o", "json"], 0).out;
    for verb in ["rollback", "finalize", "resume"] {
        let refused = fleet.ends(&[verb, "--yes"], 5);
        for said in
            ["error[K0R-0402]", &rejoin, &format!("k0rotate rollback {rejoin}"), &format!("k0rotate resume {rejoin}")]
        {
            assert!(refused.err.contains(said), "{said}: {refused:?}");
        }
        assert!(refused.err.contains(&format!("then: k0rotate {verb} {rotation}")), "{refused:?}");
    }
    for (verb, host) in [("rejoin", "w2"), ("leave-behind", "w1")] {
        let again = fleet.ends(&[verb, host, "--yes"], 5);
        assert!(again.err.contains(&format!("then: k0rotate {verb} {host}")), "{again:?}");
    }
    let planned = fleet.ends(&["plan", "--rollback", "rehearsal"], 5);
    assert!(planned.text().contains(&rejoin), "{planned:?}");
    assert_eq!(fleet.ends(&["list", "-o", "json"], 0).out, before, "nothing is recorded");
    fleet.k(&["rollback", &rejoin, "--yes"]);
    fleet.ends(&["rollback", "--yes"], 0);
}

/// Goal: a host that an operator gave up and that came back all the same is let go with the others: the next rotation is free.
#[test]
fn given_up_and_back_again() {
    let fleet = rotated_without_w2();
    fleet.ends(&["leave-behind", "w2", "--yes"], 0);
    power_on(&fleet, "w2");
    fleet.ends(&["rejoin", "w2", "--yes"], 0);
    fleet.ends(&["finalize", "--yes"], 0);
    let free = fleet.ends(&["inspect"], 0);
    assert!(free.text().contains("held by nobody"), "{free:?}");
    fleet.ends(&["rotate", "--yes"], 0);
}

/// Goal: one that stays away keeps nobody from the end; when it answers again, its mark and what takes it away are told.
#[test]
fn given_up_and_gone() {
    let fleet = rotated_without_w2();
    let offered = |fleet: &stand::Fleet| fleet.ends(&["show"], 0).out.contains("k0rotate leave-behind w2");
    assert!(offered(&fleet), "the end will want it");
    fleet.ends(&["leave-behind", "w2", "--yes"], 0);
    assert!(!offered(&fleet));
    let again = fleet.ends(&["leave-behind", "w2", "--yes"], 1);
    assert!(again.err.contains("told to end without w2 already"), "{again:?}");
    fleet.ends(&["finalize", "--yes"], 7);
    power_on(&fleet, "w2");
    let held = fleet.k(&["inspect"]);
    assert!(held.text().contains("which has ended without them; k0rotate rejoin takes the mark away · w2"), "{held:?}");
    let refused = fleet.ends(&["rotate", "--yes"], 5);
    assert!(refused.text().contains("k0rotate rejoin w2 takes the mark away"), "{refused:?}");
    fleet.ends(&["rejoin", "w2", "--yes"], 0);
    fleet.ends(&["rotate", "--yes"], 0);
}

/// A fleet whose w2 was given up, is away still, and has the mark of a rotation that is over.
fn given_up_for_good() -> stand::Fleet {
    let fleet = rotated_without_w2();
    fleet.ends(&["leave-behind", "w2", "--yes"], 0);
    fleet.ends(&["finalize", "--yes"], 7);
    fleet
}

/// Goal: a rotation that ended without having begun anything takes nobody the way in, and says that nothing was stopped.
#[test]
fn after_a_rotation_that_was_not_begun() {
    let fleet = given_up_for_good();
    let refused = fleet.ends(&["rotate", "--yes"], 4);
    assert!(refused.out.contains("taken back before anything was stopped"), "{refused:?}");
    let report = fleet.ends(&["report"], 0).out;
    assert!(!report.contains("Still there, sealed") && !report.contains("verified"), "{report}");
    power_on(&fleet, "w2");
    fleet.ends(&["rejoin", "w2", "w2", "--yes"], 0);
    assert!(fleet.ends(&["inspect"], 0).text().contains("held by nobody"));
    fleet.ends(&["rotate", "--yes"], 0);
}

/// Goal: one that was left from the start by the next rotation is let in by that, and the old mark goes.
#[test]
fn left_twice() {
    let fleet = given_up_for_good();
    fleet.ends(&["rotate", "--yes", "--leave-behind", "w2"], 7);
    power_on(&fleet, "w2");
    let rejoined = fleet.ends(&["rejoin", "w2", "--yes"], 0);
    assert!(rejoined.out.contains("the host is in again"), "{rejoined:?}");
    fleet.ends(&["finalize", "--yes"], 0);
    assert!(fleet.ends(&["inspect"], 0).text().contains("held by nobody"));
}

/// Goal: a controller that has the new files and does not run is not in: finalize is refused and keeps every sealed copy, until it is let in.
#[test]
fn a_controller_with_new_files_alone_is_not_in() {
    let fleet = rotated_without("c3", |change| change.contains("rename") && change.ends_with("pki/ca.crt"));
    let planned = fleet.ends(&["plan", "--rollback", "rehearsal"], 1);
    assert!(planned.text().contains("host-unreachable host=c3"), "as the roll-back will refuse: {planned:?}");
    power_on(&fleet, "c3");
    let copies = fleet.sealed_copies();
    let refused = fleet.ends(&["finalize", "--yes"], 3);
    assert!(refused.text().contains("host-still-left host=c3"), "{refused:?}");
    assert_eq!(fleet.sealed_copies(), copies, "a finalize that is refused destroys nothing");
    fleet.ends(&["rejoin", "c3", "--yes"], 0);
    fleet.ends(&["resume", "--yes"], 0);
    assert_eq!(fleet.listed_of("rotate")["state"], "Completed");
    assert!(fleet.sealed_copies() < copies);
}

/// Goal: a host that is away is not begun to be let in; one that dies on the way can be left, and nothing waits for it then.
#[test]
fn one_that_is_away_keeps_nobody_waiting() {
    let fleet = rotated_without_w2();
    let before = fleet.ends(&["list", "-o", "json"], 0).out;
    let refused = fleet.ends(&["rejoin", "w2", "--yes"], 1);
    assert!(refused.err.contains("w2 does not answer"), "{refused:?}");
    assert_eq!(fleet.ends(&["list", "-o", "json"], 0).out, before, "nothing is recorded");

    power_on(&fleet, "w2");
    fleet.killed_at(&["rejoin", "w2", "--yes"], 5, Fault::CrashBefore);
    fleet.stand.stage().world.power_off("w2");
    let rejoin = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    fleet.ends(&["rollback", &rejoin, "--yes"], 3);
    assert!(fleet.ends(&["show", &rejoin], 0).out.contains("leave-behind HOST"));
    fleet.ends(&["leave-behind", "w2", "--yes"], 0);
    let end = fleet.ends(&["resume", &rejoin], 0);
    assert!(end.out.contains("taken back"), "{end:?}");
    fleet.ends(&["rollback", "--yes"], 7);
}

/// Goal: a host that was given up by word and went back with the others all the same is left no more; who said so, and why, is on record.
#[test]
fn given_up_and_back_on_the_way_back() {
    let fleet = rotated_without_w2();
    fleet.ends(&["leave-behind", "w2", "--yes", "--reason", "PSU dead"], 0);
    power_on(&fleet, "w2");
    fleet.ends(&["rollback", "--yes", "--reason", "it is back"], 0);
    let shown = fleet.ends(&["show"], 0).out;
    assert!(!shown.contains("left ") && !shown.contains("rejoin"), "{shown}");
    let report = fleet.ends(&["report"], 0).out;
    assert!(
        report.contains("| leave-behind w2 | PSU dead |") && report.contains("| rollback | it is back |"),
        "{report}"
    );
}
