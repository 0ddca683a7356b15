//! Operators who leave while the control plane is away: it comes up all the same.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use stand::Fleet;
use stand::rejoining::struck;
use std::process::Command;

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
