//! A rotation that waits for its window: what is said of it, and what ends the wait before anything is stopped.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use stand::{Fleet, Said, until};
use std::num::NonZeroU32;
use std::process::{Child, Command};
use std::time::Duration;

/// Seconds of the fleet's time in one of ours: the way to the wait takes a moment, and the hours of the wait do not pass.
const PACE: u32 = 20;

/// A rotation in a process of its own that has come to the wait for its window.
fn waiting(fleet: &Fleet) -> Child {
    fleet.stand.stage().pace = NonZeroU32::new(PACE);
    let child = fleet.beside(&["rotate", "--yes", "--not-before", "2026-11-25T12:00:00Z"]);
    until("the wait", || fleet.k(&["list", "-o", "json"]).out.contains("\"Waiting\""));
    child
}

/// It ended at rest, nothing was stopped, and it can be taken back.
fn rests(fleet: &Fleet, driver: Child) {
    let end: Said = driver.wait_with_output().expect("it was started").into();
    assert_eq!(end.code, Some(3), "{end:?}");
    assert!(end.out.contains("stuck: paused by alice") && end.out.contains("k0rotate resume"), "{end:?}");
    assert!(!fleet.stand.stage().faults.log.iter().any(|change| change.contains("systemctl stop")));
    fleet.stand.stage().pace = None;
    let refused = fleet.ends(&["rejoin", "w1", "--yes"], 1);
    assert!(refused.err.contains("error[K0R-0403]") && refused.err.contains("does not rest at a trust"), "{refused:?}");
    fleet.ends(&["rollback", "--yes"], 0);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: while it waits it is said to wait and to be driven, and not to be verified; `pause` in another terminal ends the drive there.
#[test]
fn it_is_told_and_paused() {
    let fleet = Fleet::new("1+1");
    let driver = waiting(&fleet);
    for verb in ["show", "report"] {
        let said = fleet.ends(&[verb], 0).out;
        assert!(
            said.contains("waits for its window until 2026-11-25T12:00:00Z; nothing was stopped"),
            "{verb}: {said}"
        );
        assert!(!said.contains("verified"), "{verb}: {said}");
    }
    let shown = fleet.ends(&["show"], 0).out;
    assert!(shown.contains("driven by  another terminal") && shown.contains("k0rotate pause"), "{shown}");
    fleet.ends(&["pause", "--reason", "lunch"], 0);
    rests(&fleet, driver);
}

/// Goal: so does one Ctrl-C.
#[test]
fn it_ends_at_the_first_interrupt() {
    let fleet = Fleet::new("1+1");
    let driver = waiting(&fleet);
    let sent = Command::new("kill").args(["-INT", &driver.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
    rests(&fleet, driver);
}

/// Goal: a window that passes while the daemon is away is shown as missed and not caught up: the next daemon takes the rotation back before anything was stopped, and begins no other.
#[test]
fn a_missed_window_is_shown_and_not_caught_up() {
    let mut fleet = Fleet::kept("1+1");
    fleet.stand.stage().pace = NonZeroU32::new(PACE);
    let window = ["--not-before", "2026-11-25T01:00:00Z", "--not-after", "2026-11-25T03:00:00Z"];
    let client = fleet.beside(&[&["rotate", "--yes"], &window[..]].concat());
    until("the wait", || fleet.k(&["list", "-o", "json"]).out.contains("\"Waiting\""));
    fleet.without_its_daemon(|fleet| fleet.stand.stage().pass(Duration::from_hours(24)));
    until("the way back", || fleet.listed()["state"] == "RolledBack");
    fleet.stand.stage().pace = None;
    let shown = fleet.ends(&["show"], 0).out;
    assert!(
        shown.contains("the window has passed") && shown.contains("would have ended by 2026-11-25T03:00:00Z"),
        "{shown}"
    );
    assert!(!fleet.stand.stage().faults.log.iter().any(|change| change.contains("systemctl stop")));
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&fleet.ends(&["list", "-o", "json"], 0).out).expect("it prints JSON");
    assert_eq!(all.len(), 1, "it was not started again: {all:?}");
    drop(client.wait_with_output());
}
