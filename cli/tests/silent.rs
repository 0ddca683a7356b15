//! Hosts that fall silent while the control plane is away: nobody is waited for, and the hold of the others stays.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Link;
use stand::Fleet;
use stand::rejoining::struck;

/// Goal: a rotation whose outage takes too long, for a controller is cut off, goes back by itself to its end, without being resumed.
#[test]
fn it_goes_back_by_itself_without_a_controller_that_is_cut_off() {
    let fleet = Fleet::new("3+2");
    let words = ["rotate", "--yes", "--max-outage", "30s"];
    let end = struck(&fleet, &words, "c1", |change| change.contains("systemctl stop"), |stage| {
        stage.faults.links.insert("c1".to_owned(), Link { back: None });
    });
    assert!(!end.text().contains("the hold could not be renewed"), "{end:?}");
    assert!(matches!(end.code, Some(4 | 7)), "{end:?}");
    assert!(end.out.contains("left: c1"), "{end:?}");
}
