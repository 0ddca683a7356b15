//! Plans, and what is started by them, typed on a rehearsal fleet that this process serves.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::Fleet;

fn json(fleet: &Fleet, words: &[&str], code: i32) -> Value {
    let said = fleet.ends(&[words, &["-o", "json"]].concat(), code);
    serde_json::from_str(&said.out).expect("it prints JSON")
}

fn digest(plan: &Value) -> &str {
    plan["digest"].as_str().expect("nothing speaks against it")
}

/// Goal: a rotation and a roll-back start by the plan that was agreed on and by no other, and a window is given the room of the forecast.
#[test]
fn changes_hold_to_their_plan() {
    let fleet = Fleet::new("1+1");
    let plan = json(&fleet, &["plan"], 0);
    assert!(!fleet.stand.dir().join("state").exists(), "a plan leaves no store behind");
    assert_eq!(fleet.stand.stage().faults.changes, 0);
    let notice = fleet.ends(&["plan", "-o", "notice"], 0).out;
    assert!(notice.starts_with("Maintenance of the Kubernetes cluster rehearsal"), "{notice}");

    let some = json(&fleet, &["plan", "--roots", "kubernetes-ca"], 0);
    let stays = "stay as they are, with all that they issued: etcd-ca front-proxy-ca service-account";
    assert!(some["warnings"].to_string().contains(stays), "{}", some["warnings"]);
    assert!(!plan["warnings"].to_string().contains("stay as they are"), "{}", plan["warnings"]);

    let short = fleet.ends(&["rotate", "--yes", "--plan", &digest(&plan)[..7]], 2);
    assert!(short.err.contains("at least 8 characters"), "{short:?}");
    let wrong = fleet.ends(&["rotate", "--yes", "--plan", "0123456789ab"], 8);
    assert!(wrong.err.contains("error[K0R-0301]"), "{wrong:?}");
    // Another option is another plan.
    fleet.ends(&["rotate", "--yes", "--refresh", "none", "--plan", digest(&plan)], 8);
    assert_eq!(fleet.stand.stage().faults.changes, 0);

    let late = fleet.ends(&["rotate", "--yes", "--not-after", "2026-11-24T12:01:30Z"], 9);
    assert!(late.err.contains("error[K0R-0304]"), "{late:?}");
    assert_eq!(fleet.stand.stage().faults.changes, 0);

    let window = ["--not-after", "2026-11-24T20:00:00Z"];
    fleet.ends(&[&["rotate", "--yes", "--plan", &digest(&plan)[..12]], &window[..]].concat(), 0);
    let history = json(&fleet, &["history"], 0);
    let input = history[0]["event"]["ExecutionStarted"]["input"].as_str().expect("it is the first event");
    let input: Value = serde_json::from_str(input).expect("inputs are JSON");
    let way = |way: &str, field: &str| plan["forecast"][way][field].as_u64().expect("there is a forecast");
    let room = (way("forward", "from_down_ms") + way("back", "total_ms")) / 1000;
    let kept = input["room_seconds"].as_u64().expect("it is a number");
    assert!(kept.abs_diff(room) <= 2, "{kept} {room}");

    let held = json(&fleet, &["plan"], 5);
    assert!(held["digest"].is_null() && held["refusals"][0]["code"] == "K0R-0402", "{held}");
    let back = json(&fleet, &["plan", "--rollback", "rehearsal"], 0);
    assert_ne!(digest(&back), digest(&plan));
    let wrong = fleet.ends(&["rollback", "--yes", "--plan", digest(&plan)], 8);
    assert!(wrong.err.contains("error[K0R-0301]"), "{wrong:?}");
    fleet.ends(&["rollback", "--yes", "--plan", &digest(&back)[..8]], 0);
    let over = fleet.ends(&["plan", "--rollback", "rehearsal"], 1);
    assert!(over.err.contains("has no way back to plan"), "{over:?}");
}
