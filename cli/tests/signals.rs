//! Operators who leave while the control plane is away: it comes up all the same.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Link;
use stand::Fleet;
use stand::Said;
use stand::rejoining::struck;
use std::process::Command;

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

/// A rotation that gets signals once the first controller's k0s is stopped.
fn told_in_down(fleet: &Fleet, more: &[&str], signals: &[&str]) -> Said {
    let words = [&["rotate", "--yes"], more].concat();
    let stopped = |change: &str| change.contains("systemctl stop");
    struck(fleet, &words, "c1", stopped, |_, process| signals.iter().for_each(|signal| send(signal, process)))
}

/// Goal: Ctrl-C and then a closed terminal while the API is away: the control plane is up before the process leaves.
#[test]
fn paused_and_hung_up_it_leaves_nothing_down() {
    let fleet = Fleet::new("1+1");
    let end = told_in_down(&fleet, &[], &["-INT", "-HUP"]);
    assert!(matches!(end.code, Some(3 | 130)), "{end:?}");
    let shown = fleet.shown();
    assert!(shown["down_since"].is_null(), "{shown}");
}

/// Goal: one SIGTERM while the API is away: the control plane is up before the process leaves, and `resume` goes on.
#[test]
fn terminated_once_it_leaves_nothing_down() {
    let fleet = Fleet::new("1+1");
    let end = told_in_down(&fleet, &[], &["-TERM"]);
    assert_eq!(end.code, Some(130), "{end:?}");
    assert!(fleet.shown()["down_since"].is_null());
    fleet.ends(&["resume"], 0);
}

/// Goal: where the control plane cannot come up, the process leaves `--max-outage` after the signal all the same, and says that the API is down;
/// once the hosts answer again, `resume` ends it.
#[test]
fn terminated_it_does_not_wait_for_ever() {
    let fleet = Fleet::new("1+0");
    let words = ["rotate", "--yes", "--max-outage", "10s"];
    let end = struck(
        &fleet,
        &words,
        "c1",
        |change| change.contains("systemctl stop"),
        |stage, process| {
            stage.faults.links.insert("c1".to_owned(), Link { back: None });
            send("-TERM", process);
        },
    );
    assert_eq!(end.code, Some(130), "{end:?}");
    assert!(end.err.contains("within 10 s of the signal") && end.out.contains("THE API IS DOWN"), "{end:?}");
    fleet.stand.stage().faults.links.clear();
    let end = fleet.k(&["resume"]);
    assert!(fleet.shown()["down_since"].is_null(), "{end:?}");
}

/// Goal: the plan of a way back from Down says of every phase before the control plane is up that the API is down, for it is.
#[test]
fn killed_in_down_its_plan_back_says_so() {
    let fleet = Fleet::new("1+1");
    let end = told_in_down(&fleet, &[], &["-KILL"]);
    assert_eq!(end.code, None, "{end:?}");
    let said = fleet.k(&["plan", "--rollback", "rehearsal", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&said.out).expect("it prints JSON");
    let phases = plan["forecast"]["phases"].as_array().unwrap_or_else(|| panic!("{said:?}"));
    assert!(phases.iter().all(|phase| phase["zone"] != "free"), "{phases:?}");
    assert_eq!(phases[0]["down"], "API on all controllers, as it is now");
}
