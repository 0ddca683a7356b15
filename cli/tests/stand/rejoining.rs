//! A rotation that goes on without a host, which is there again later.

use super::{Fleet, Said, until};
use k0rotate_activities::rehearsal::stage::Stage;
use std::time::Duration;

/// A rotation of 3+2 in which w2 loses its power in the moment in which its k0s is stopped.
pub fn rotated_without_w2() -> Fleet {
    rotated_without("w2", |change| change.contains("systemctl stop"))
}

/// A rotation of 3+2 in which a host loses its power right after such a change of it, and is left.
pub fn rotated_without(host: &str, after: impl Fn(&str) -> bool) -> Fleet {
    without(Fleet::new("3+2"), host, after)
}

/// The same on this fleet.
pub fn without(fleet: Fleet, host: &str, after: impl Fn(&str) -> bool) -> Fleet {
    let rotated = struck(&fleet, &["rotate", "--yes", "--reason", "CHG-4711"], host, after, |stage, _| {
        stage.world.power_off(host);
    });
    assert_eq!(rotated.code, Some(7), "one that died is left, and the others go on: {rotated:?}");
    assert!(rotated.out.contains(&format!("left: {host}")), "{rotated:?}");
    fleet
}

/// A verb in which something befalls a host, or the process that has this id, right after such a change of it.
pub fn struck(
    fleet: &Fleet,
    words: &[&str],
    host: &str,
    after: impl Fn(&str) -> bool,
    blow: impl Fn(&mut Stage, u32),
) -> Said {
    fleet.stand.stage().faults.stand_at = Some(0);
    let child = fleet.beside(words);
    // Changes of several hosts come in any order, so time stands at each change until it is the one.
    until("the last change of the host", || {
        let mut stage = fleet.stand.stage();
        if !stage.faults.stands() {
            return false;
        }
        let own = |line: &&String| line.starts_with(&format!("{host} "));
        let it_is_the_one = stage.faults.log.iter().filter(own).any(|line| after(line));
        if it_is_the_one {
            blow(&mut stage, child.id());
        }
        stage.faults.stand_at = (!it_is_the_one).then_some(stage.faults.changes + 1);
        it_is_the_one
    });
    child.wait_with_output().expect("it was started").into()
}

/// Power for this host, and the time in which it boots.
pub fn power_on(fleet: &Fleet, name: &str) {
    let mut stage = fleet.stand.stage();
    stage.world.power_on(name);
    stage.pass(Duration::from_secs(90));
}
