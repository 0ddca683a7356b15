//! The verb `rejoin` as it is typed: a worker that loses its power in a rotation is let in again, beside the resting rotation and after its way back.

use k0rotate::demo::stand::Stand;
use k0rotate_activities::rehearsal::stage::Stage;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Typed {
    code: i32,
    text: String,
}

fn command(stand: &Stand, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(args).args(stand.flags()).env("USER", "alice").stdin(Stdio::null());
    command
}

fn typed(stand: &Stand, args: &[&str]) -> Typed {
    ended(command(stand, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
}

fn ended(child: Child) -> Typed {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("no signal ended it");
    Typed { code, text: format!("{}{}", text(&output.stdout), text(&output.stderr)) }
}

/// A rotation of 3+2 in which w2 loses its power as it is let in. While it can still be told that the hold lapsed, it is resumed.
fn rotated_without_w2(dir: &std::path::Path) -> Stand {
    let plan = k0rotate::demo::plan("3+2").expect("a plan");
    let stand = Stand::new(&dir.join("stand"), &plan, Stage::new(&plan), || ()).expect("it stands");
    let rotation = command(&stand, &["rotate", "--yes", "--reason", "CHG-4711"]);
    let rotation = { rotation }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    loop {
        let mut stage = stand.stage();
        if stage.faults.log.iter().any(|line| line.starts_with("w2 ") && line.contains("systemctl stop")) {
            stage.world.power_off("w2");
            break;
        }
        drop(stage);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut rotated = ended(rotation);
    for _ in 0..3 {
        if rotated.code == 3 {
            rotated = typed(&stand, &["resume"]);
        }
    }
    assert_eq!(rotated.code, 7, "{}", rotated.text);
    assert!(rotated.text.contains("left: w2"), "{}", rotated.text);
    stand
}

fn power_on(stand: &Stand) {
    let mut stage = stand.stage();
    stage.world.power_on("w2");
    let until = stage.now().plus(Duration::from_secs(90));
    while stage.now() < until {
        stage.advance(Some(until));
    }
}

/// Goal: leave-behind and rejoin know hosts by any of their names; the place with the old trust is told before, and none after; the rotation can end then.
#[test]
fn beside_a_resting_rotation() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let stand = rotated_without_w2(dir.path());
    let unknown = typed(&stand, &["leave-behind", "w9", "--yes"]);
    assert!(unknown.code == 2 && unknown.text.contains("c1 c2 c3 w1 w2"), "{}", unknown.text);
    let refused = typed(&stand, &["rejoin", "w1", "--yes"]);
    assert!(refused.code == 1 && refused.text.contains("error[K0R-0403]"), "{}", refused.text);
    power_on(&stand);
    let before = typed(&stand, &["inspect", "--against", "rehearsal"]);
    assert_eq!(before.code, 8, "{}", before.text);
    assert!(before.text.contains("w2 kubernetes-ca still has the old trust"), "{}", before.text);
    assert!(before.text.contains("HELD by alice@"), "{}", before.text);

    let back = typed(&stand, &["rejoin", "10.77.0.15", "--yes", "--reason", "DC ticket 881"]);
    assert_eq!(back.code, 0, "{}", back.text);
    let after = typed(&stand, &["inspect", "--against", "rehearsal"]);
    assert!(after.code == 0 && after.text.contains("14 of 14 places are as it left them"), "{}", after.text);
    let ended = typed(&stand, &["finalize", "--yes"]);
    assert!(ended.text.contains("completed"), "{}", ended.text);
    let listed = typed(&stand, &["list"]);
    assert!(listed.text.contains("rejoin") && listed.text.contains("Completed"), "{}", listed.text);
    let free = typed(&stand, &["inspect"]);
    assert!(free.code == 0 && free.text.contains("held by nobody"), "{}", free.text);
}

/// Goal: after a way back without the host it gets the first trust, and nobody holds it any more.
#[test]
fn after_a_way_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let stand = rotated_without_w2(dir.path());
    let back = typed(&stand, &["rollback", "--yes"]);
    assert_eq!(back.code, 7, "{}", back.text);
    power_on(&stand);
    let held = typed(&stand, &["inspect"]);
    assert!(held.text.contains("HELD by alice@") && held.text.contains("· w2"), "{}", held.text);
    let rejoined = typed(&stand, &["rejoin", "w2", "--yes"]);
    assert_eq!(rejoined.code, 0, "{}", rejoined.text);
    let after = typed(&stand, &["inspect", "--against", "rehearsal"]);
    assert!(after.code == 0 && after.text.contains("held by nobody"), "{}", after.text);
}
