//! Plans, and what is started by them, typed on a rehearsal fleet that this process serves.

use k0rotate::demo::stand::Stand;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use serde_json::Value;
use std::process::{Command, Stdio};

/// A verb on the fleet: exit status, standard output, standard error.
fn k0rotate(stand: &Stand, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(args).args(stand.flags()).stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    (output.status.code().expect("no signal ended it"), text(output.stdout), text(output.stderr))
}

fn json(stand: &Stand, args: &[&str], code: i32) -> Value {
    let (found, out, err) = k0rotate(stand, &[args, &["-o", "json"]].concat());
    assert_eq!(found, code, "{args:?}\n{out}{err}");
    serde_json::from_str(&out).expect("it prints JSON")
}

fn digest(plan: &Value) -> &str {
    plan["digest"].as_str().expect("nothing speaks against it")
}

/// Goal: a rotation and a roll-back start by the plan that was agreed on and by no other, and a window is given the room of the forecast.
#[test]
fn changes_hold_to_their_plan() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fleet = FleetPlan::sized(1, 1);
    let stand = Stand::new(&folder.path().join("fleet"), &fleet, Stage::new(&fleet), || ()).expect("it stands");
    let plan = json(&stand, &["plan"], 0);
    assert!(!stand.dir().join("state").exists(), "a plan leaves no store behind");
    assert_eq!(stand.stage().faults.changes, 0);
    let (code, out, _) = k0rotate(&stand, &["plan", "-o", "notice"]);
    assert!(code == 0 && out.starts_with("Maintenance of the Kubernetes cluster rehearsal"), "{out}");

    let (code, _, err) = k0rotate(&stand, &["rotate", "--yes", "--plan", &digest(&plan)[..7]]);
    assert!(code == 2 && err.contains("at least 8 characters"), "{code} {err}");
    let (code, _, err) = k0rotate(&stand, &["rotate", "--yes", "--plan", "0123456789ab"]);
    assert!(code == 8 && err.contains("error[K0R-0301]"), "{code} {err}");
    let (code, _, err) = k0rotate(&stand, &["rotate", "--yes", "--refresh", "none", "--plan", digest(&plan)]);
    assert!(code == 8, "another option is another plan: {code} {err}");
    assert_eq!(stand.stage().faults.changes, 0);

    let window = ["--not-after", "2026-11-24T20:00:00Z"];
    let (code, out, err) =
        k0rotate(&stand, &[&["rotate", "--yes", "--plan", &digest(&plan)[..12]], &window[..]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let history = json(&stand, &["history"], 0);
    let input = history[0]["event"]["ExecutionStarted"]["input"].as_str().expect("it is the first event");
    let input: Value = serde_json::from_str(input).expect("inputs are JSON");
    let way = |way: &str, field: &str| plan["forecast"][way][field].as_u64().expect("there is a forecast");
    let room = (way("forward", "from_down_ms") + way("back", "total_ms")) / 1000;
    let kept = input["room_seconds"].as_u64().expect("it is a number");
    assert!(kept.abs_diff(room) <= 2, "{kept} {room}");

    let held = json(&stand, &["plan"], 5);
    assert!(held["digest"].is_null() && held["refusals"][0]["code"] == "K0R-0402", "{held}");
    let back = json(&stand, &["plan", "--rollback", "rehearsal"], 0);
    assert_ne!(digest(&back), digest(&plan));
    let (code, _, err) = k0rotate(&stand, &["rollback", "--yes", "--plan", digest(&plan)]);
    assert!(code == 8 && err.contains("error[K0R-0301]"), "{code} {err}");
    let (code, out, err) = k0rotate(&stand, &["rollback", "--yes", "--plan", &digest(&back)[..8]]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = k0rotate(&stand, &["plan", "--rollback", "rehearsal"]);
    assert!(code == 1 && err.contains("has no way back to plan"), "{code} {err}");
}
