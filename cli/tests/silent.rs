//! Hosts that fall silent, and operators who leave, while the control plane is away: it comes up all the same.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Link;
use stand::Fleet;
use stand::rejoining::struck;
use std::process::Command;

/// Goal: a rotation whose outage takes too long, for a controller is cut off, goes back by itself to its end, without being resumed.
#[test]
fn it_goes_back_by_itself_without_a_controller_that_is_cut_off() {
    let fleet = Fleet::new("3+2");
    let words = ["rotate", "--yes", "--max-outage", "30s"];
    let end = struck(
        &fleet,
        &words,
        "c1",
        |change| change.contains("systemctl stop"),
        |stage, _| {
            stage.faults.links.insert("c1".to_owned(), Link { back: None });
        },
    );
    assert!(!end.text().contains("the hold could not be renewed"), "{end:?}");
    assert!(matches!(end.code, Some(4 | 7)), "{end:?}");
    assert!(end.out.contains("left: c1"), "{end:?}");
}

/// Goal: Ctrl-C and then a closed terminal while the API is away: the control plane is up before the process leaves.
#[test]
fn paused_and_hung_up_it_leaves_nothing_down() {
    let fleet = Fleet::new("1+1");
    let end = struck(
        &fleet,
        &["rotate", "--yes"],
        "c1",
        |change| change.contains("systemctl stop"),
        |_, process| {
            for signal in ["-INT", "-HUP"] {
                let sent = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill is there");
                assert!(sent.success());
            }
        },
    );
    assert!(matches!(end.code, Some(3 | 130)), "{end:?}");
    let shown = fleet.shown();
    assert!(shown["down_since"].is_null(), "{shown}");
}
