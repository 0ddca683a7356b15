//! A rotation that goes on without a host, which is there again later.

use super::{Fleet, Said, until};
use std::time::Duration;

/// A rotation of 3+2 in which w2 loses its power in the moment in which its k0s is stopped. While it can still be told that the hold lapsed,
/// it is resumed.
pub fn rotated_without_w2() -> Fleet {
    let fleet = Fleet::new("3+2");
    fleet.stand.stage().faults.stand_at = Some(0);
    let rotation = fleet.beside(&["rotate", "--yes", "--reason", "CHG-4711"]);
    // Changes of both workers come in any order, so time stands at each change until it is the one.
    until("the stop of w2", || {
        let mut stage = fleet.stand.stage();
        if !stage.faults.stands() {
            return false;
        }
        let stopped = |line: &String| line.starts_with("w2 ") && line.contains("systemctl stop");
        let it_is_the_one = stage.faults.log.iter().any(stopped);
        if it_is_the_one {
            stage.world.power_off("w2");
        }
        stage.faults.stand_at = (!it_is_the_one).then_some(stage.faults.changes + 1);
        it_is_the_one
    });
    let mut rotated: Said = rotation.wait_with_output().expect("it was started").into();
    for _ in 0..3 {
        if rotated.code == Some(3) {
            rotated = fleet.k(&["resume"]);
        }
    }
    assert_eq!(rotated.code, Some(7), "{rotated:?}");
    assert!(rotated.out.contains("left: w2"), "{rotated:?}");
    fleet
}

/// Power for this host, and the time in which it boots.
pub fn power_on(fleet: &Fleet, name: &str) {
    let mut stage = fleet.stand.stage();
    stage.world.power_on(name);
    let until = stage.now().plus(Duration::from_secs(90));
    while stage.now() < until {
        stage.advance(Some(until));
    }
}
