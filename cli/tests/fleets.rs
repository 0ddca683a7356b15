//! Fleets of real clusters of a daemon: waves, one that fails, approvals, declines and pauses, and a daemon that is killed on the way.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::host::{Change, OwnerIds};
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::secret::Secret;
use serde_json::Value;
use stand::kept::Daemon;
use stand::many::{Draw, Many};
use stand::people::{BIN, DAEMON, NOBODY, People};
use stand::{Fleet, until};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

/// Clusters with the label `env=prod`, and with this besides.
fn labelled(shapes: &[&str], more: &str) -> Many {
    let many = Many::new(shapes);
    for (name, _) in &many.fleets {
        label(&many, name, "prod", more);
    }
    many
}

fn label(many: &Many, name: &str, env: &str, more: &str) {
    let path = many.etc().join("clusters").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("it was written");
    let inventory = text.lines().next().expect("it names the inventory");
    std::fs::write(&path, format!("{inventory}\nlabels = {{ env = \"{env}\" }}\n{more}")).expect("it is ours");
}

/// What `fleet show` says; nothing while no daemon answers.
fn shown(many: &Many) -> Value {
    let out = many.command(&["fleet", "show", "-o", "json"]).output().expect("the program starts");
    serde_json::from_slice(&out.stdout).unwrap_or_default()
}

/// The state of each cluster, in the order in which they are shown.
fn states(many: &Many) -> Vec<String> {
    let shown = shown(many);
    let rows = shown["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["state"].as_str().expect("a text").to_owned()).collect()
}

fn has_ended(many: &Many) -> bool {
    shown(many)["state"].as_str().is_some_and(|state| state.starts_with("has ended"))
}

/// Executions of all clusters: cluster, state.
fn executions(many: &Many) -> Vec<(String, String)> {
    let said = many.ends(&["list", "-o", "json"], 0);
    let all: Vec<Value> = serde_json::from_str(&said.out).expect("it prints JSON");
    let text = |one: &Value, field: &str| one[field].as_str().expect("a text").to_owned();
    all.iter().map(|one| (text(one, "cluster"), text(one, "state"))).collect()
}

/// One rotation each, with this state.
fn one_each(many: &Many, names: &[&str], state: &str) {
    let wanted: Vec<(String, String)> = names.iter().map(|name| ((*name).to_owned(), state.to_owned())).collect();
    assert_eq!(executions(many), wanted);
}

fn rotate<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["fleet", "rotate", "--selector", "env=prod", "--yes", "--reason", "CHG-5000"], more].concat()
}

/// Goal: clusters with the labels, and no others, are rotated wave after wave, each by who asked and why; then all are finalized by one word. The audit has both, whole.
#[test]
fn wave_after_wave_and_finalized() {
    let many = labelled(&["1+0", "1+1", "1+0", "1+0"], "");
    label(&many, "c3", "test", "");
    let mut daemon = Daemon::begin(&many.etc());
    let none = many.ends(&["fleet", "rotate", "--selector", "env=dev", "--yes"], 2);
    assert!(none.err.contains("no cluster has the labels env=dev"), "{none:?}");
    many.ends(&["fleet", "show"], 1);
    many.fleets[0].1.stand.stage().faults.stand_at = Some(5);
    let begun = many.ends(&rotate(&["--waves", "1,rest"]), 0);
    assert!(begun.out.contains("WAVE") && begun.out.contains("k0rotate fleet pause"), "{begun:?}");
    let again = many.ends(&rotate(&[]), 5);
    assert!(again.err.contains("which has not ended"), "{again:?}");
    many.fleets[0].1.stand.stage().faults.stand_at = None;
    until("its end", || has_ended(&many));
    assert_eq!(states(&many), ["waiting for finalize"; 3]);
    one_each(&many, &["c0", "c1", "c2"], "Waiting");
    let reason = many.listed("c1")["reason"].as_str().expect("a text").to_owned();
    assert!(reason.starts_with("CHG-5000 (fleet 01"), "{reason}");
    let away = &shown(&many)["rows"][0]["api_away_ms"];
    assert!(away.as_u64().is_some_and(|ms| ms > 0), "{away}");

    let finalized = many.ends(&["fleet", "finalize", "--yes", "--reason", "soaked"], 0);
    assert_eq!(finalized.out.matches("finalized").count(), 3, "{finalized:?}");
    one_each(&many, &["c0", "c1", "c2"], "Completed");
    many.ends(&["fleet", "finalize", "--yes"], 1);
    let audit = many.dir.path().join("state/+fleets/audit.jsonl");
    let lines = || std::fs::read_to_string(&audit).unwrap_or_default();
    until("its lines", || lines().contains("\"fleet-finalize\"") && lines().matches("\"completed\"").count() >= 2);
    assert!(lines().contains("\"why\":\"CHG-5000\"") && lines().contains("\"why\":\"soaked\""), "{}", lines());
    let first: Value = serde_json::from_str(lines().lines().next().expect("a line")).expect("each line is JSON");
    let callers = std::fs::read_to_string(many.dir.path().join("state/c1/callers.json")).expect("it was called");
    assert!(callers.contains(first["trace_id"].as_str().expect("a text")), "its trace names the fleet's: {callers}");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.said());
    many.ends(&["verify", audit.to_str().expect("a UTF-8 path")], 0);
}

/// Lets the daemon tell a command, which keeps what it is told in this file.
fn tells(many: &Many) -> PathBuf {
    let (chat, told) = (many.dir.path().join("to-chat"), many.dir.path().join("told"));
    std::fs::write(&chat, format!("#!/bin/sh\ncat >> {}\n", told.display())).expect("it is ours");
    std::fs::set_permissions(&chat, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let main = many.etc().join("config.toml");
    let text = std::fs::read_to_string(&main).expect("it was written");
    std::fs::write(&main, format!("{text}[notify]\ncommand = \"../to-chat\"\n")).expect("it is ours");
    told
}

/// Goal: a wave that fails is the last one: the cluster is back at its first trust, no other begins, and that is said until somebody lets it go on.
#[test]
fn a_wave_that_fails() {
    let many = labelled(&["1+0", "1+0", "1+0"], "");
    let told = tells(&many);
    let _daemon = Daemon::begin(&many.etc());
    many.fleets[1].1.stand.stage().faults.plan.extend((3..=20).map(|change| (change, Fault::Refuse)));
    many.ends(&rotate(&["--waves", "1,1,rest"]), 0);
    until("the limit", || shown(&many)["state"].as_str().is_some_and(|state| state.starts_with("is paused: 1 failed")));
    let said = states(&many);
    assert!(said[0] == "waiting for finalize" && ["stuck", "rolled back"].contains(&said[1].as_str()), "{said:?}");
    assert_eq!(said[2], "not begun");
    assert_eq!(many.listed("c2"), Value::Null);
    let text = many.ends(&["fleet", "show"], 0).out;
    assert!(text.contains("no further cluster begins") && text.contains("k0rotate fleet resume"), "{text}");
    let says = "fleet of env=prod: as many have failed as may: no new one begins";
    until("the word of it", || std::fs::read_to_string(&told).is_ok_and(|told| told.contains(says)));
    many.ends(&["fleet", "resume", "--reason", "c1 is known"], 0);
    until("its end", || has_ended(&many));
    assert_eq!(many.listed("c2")["state"], "Waiting");
    many.ends(&["fleet", "resume"], 1);
}

/// Goal: the window of a cluster holds as it does for one alone: its rotation waits for it, which is said, and nothing is stopped before.
#[test]
fn windows_hold() {
    let many = labelled(&["1+0"], "[window]\nat = \"daily 01:00-03:00\"\n");
    let stage = || many.fleets[0].1.stand.stage();
    stage().pace = NonZeroU32::new(20);
    let _daemon = Daemon::begin(&many.etc());
    many.ends(&rotate(&[]), 0);
    until("the wait", || states(&many) == ["waits for window"]);
    let text = many.ends(&["fleet", "show"], 0).out;
    assert!(text.contains("2026-11-25T01:00:00Z"), "{text}");
    assert!(!stage().faults.log.iter().any(|change| change.contains("systemctl stop")));
    stage().pass(Duration::from_hours(13));
    stage().pace = None;
    until("its end", || has_ended(&many));
    assert_eq!(states(&many), ["waiting for finalize"]);
}

/// Goal: a pause is durable while a cluster rotates; what runs goes on to its rest, nothing begins until the fleet is resumed.
#[test]
fn paused_and_resumed() {
    let many = labelled(&["1+0", "1+0"], "");
    let mut daemon = Daemon::begin(&many.etc());
    let stage = || many.fleets[0].1.stand.stage();
    stage().faults.stand_at = Some(5);
    many.ends(&rotate(&["--waves", "1,rest"]), 0);
    until("the fifth change", || stage().faults.stands());
    many.ends(&["fleet", "pause", "--reason", "lunch"], 0);
    let text = many.ends(&["fleet", "show"], 0).out;
    assert!(text.contains("was paused by") && text.contains("lunch"), "{text}");
    stage().faults.stand_at = None;
    until("the end of what ran", || many.listed("c0")["state"] == "Waiting");
    daemon.signal("-KILL");
    daemon.ended();
    assert!(many.ends(&["list", "--embedded"], 0).out.contains("env=prod"));
    let _daemon = Daemon::begin(&many.etc());
    until("the state after it", || states(&many) == ["waiting for finalize", "not begun"]);
    many.ends(&["fleet", "resume"], 0);
    until("its end", || has_ended(&many));
    one_each(&many, &["c0", "c1"], "Waiting");
}

/// Goal: SIGKILL of the daemon at points drawn from a seed, before and after changes of the world and between any two questions to it, and right after the fleet was asked for: started again until nothing is left to do, each cluster was begun once and ends as it does undisturbed.
#[test]
fn killed_anywhere_nothing_is_begun_twice() {
    const KILLS: usize = 10;
    let shapes = ["1+0", "1+1", "1+0", "1+0"];
    let many = labelled(&shapes, "");
    let mut daemon = Daemon::begin(&many.etc());
    many.doom(&daemon);
    let client: Child = many.beside(&rotate(&["--waves", "1,rest"]));
    until("the fleet", || shown(&many)["fleet"].is_string());
    let (mut draw, mut kills) = (Draw(11), 0);
    daemon.signal("-KILL");
    daemon.ended();
    while kills < KILLS {
        daemon = Daemon::begin(&many.etc());
        many.doom(&daemon);
        for (_, fleet) in &many.fleets {
            let mut stage = fleet.stand.stage();
            let faults = &mut stage.faults;
            let change = faults.changes + 1 + draw.below(12);
            match draw.below(3) {
                0 => drop(faults.plan.insert(change, Fault::CrashBefore)),
                1 => drop(faults.plan.insert(change, Fault::CrashAfter)),
                _ => faults.crash_at_question = Some(faults.questions + 1 + draw.below(400)),
            }
        }
        until("a kill, or the end", || daemon.has_ended() || has_ended(&many));
        many.fleets.iter().for_each(|(_, fleet)| fleet.stand.stage().faults.forget_plans());
        if !daemon.has_ended() {
            break;
        }
        kills += 1;
    }
    if daemon.has_ended() {
        daemon = Daemon::begin(&many.etc());
        many.doom(&daemon);
    }
    assert!(kills >= 4, "it was killed only {kills} times");
    until("its end", || has_ended(&many));
    one_each(&many, &["c0", "c1", "c2", "c3"], "Waiting");
    for (shape, (name, fleet)) in shapes.iter().zip(&many.fleets) {
        let undisturbed = Fleet::new(shape);
        undisturbed.ends(&["rotate", "--yes"], 0);
        let differs = undisturbed.likeness().trust_differences(&fleet.likeness());
        assert_eq!(differs, Vec::<String>::new(), "{name} after {kills} kills");
    }
    drop(client.wait_with_output());
}

/// Clusters that want an approval: `daemon` may ask, `nobody` may approve, and so may the asker and root, as far as they are let.
fn approving(shapes: &[&str]) -> Option<(Many, People)> {
    let many = labelled(
        shapes,
        "approval = true\n[who]\noperate = [\"daemon\"]\napprove = [\"nobody\", \"daemon\", \"root\"]\n",
    );
    let people = People::at(many.dir.path(), &many.etc())?;
    Some((many, people))
}

/// Goal: a wave is begun once somebody approved it who has the right, did not ask and is not uid 0, by the plans that were shown; each rotation of it is approved in that name. A decline keeps its wave and those after it from being begun, and says who and why.
#[test]
fn approved_and_declined() {
    let Some((many, people)) = approving(&["1+0", "1+0", "1+0"]) else { return };
    let daemon = Daemon::begin(&many.etc());
    let root = people.ends(0, &rotate(&[]), 6);
    assert!(root.err.contains("is nobody where two persons are needed"), "{root:?}");
    people.ends(BIN, &rotate(&[]), 6);
    let asked = people.ends(DAEMON, &rotate(&["--waves", "1,1,rest"]), 9);
    assert!(asked.out.contains("waits for somebody else than daemon@") && asked.out.contains("--wave 1"), "{asked:?}");
    let fleet = shown(&many)["fleet"].as_str().expect("a text").to_owned();
    let plan = shown(&many)["waits_for"]["plan"].as_str().expect("a digest")[..12].to_owned();
    let approve = |wave| vec!["approve", &fleet, "--wave", wave, "--yes"];
    for (uid, why) in
        [(0, "uid 0 is nobody there"), (DAEMON, "somebody else must approve"), (BIN, "the right to approve")]
    {
        let refused = people.ends(uid, &approve("1"), 6);
        assert!(refused.err.contains("error[K0R-0702]") && refused.err.contains(why), "{refused:?}");
        until("the log", || daemon.said().contains(why));
    }
    people.ends(NOBODY, &approve("2"), 1);
    people.ends(NOBODY, &[&approve("1")[..], &["--plan", "0123456789ab"]].concat(), 8);
    assert_eq!(many.listed("c0"), Value::Null);
    people.ends(NOBODY, &[&approve("1")[..], &["--plan", &plan, "--reason", "read it"]].concat(), 0);
    until("the second wave", || shown(&many)["waits_for"]["wave"] == 2);
    assert_eq!(states(&many), ["waiting for finalize", "waits for approval", "not begun"]);
    let report = people.ends(NOBODY, &["report", "c0"], 0).out;
    assert!(report.contains("nobody@") && report.contains("read it (fleet 01"), "{report}");
    people.ends(BIN, &["decline", &fleet, "--wave", "2", "--yes"], 6);
    people.ends(NOBODY, &["decline", &fleet, "--wave", "2", "--yes", "--reason", "freeze"], 0);
    until("its end", || has_ended(&many));
    assert_eq!(states(&many), ["waiting for finalize", "declined", "declined"]);
    one_each(&many, &["c0"], "Waiting");
    let text = many.ends(&["fleet", "show"], 0).out;
    assert!(text.contains("by nobody@") && text.contains("declined: freeze"), "{text}");
    let audit = many.dir.path().join("state/+fleets/audit.jsonl");
    until("its line", || std::fs::read_to_string(&audit).is_ok_and(|text| text.contains("declined: freeze")));
}

/// Goal: a cluster that is not as it was planned when its turn comes is not begun, which is said; it is planned again, and approved once more.
#[test]
fn a_plan_that_no_longer_fits() {
    const UNIT: &str = "/etc/systemd/system/k0sworker.service";
    let Some((many, people)) = approving(&["1+1", "1+0"]) else { return };
    let _daemon = Daemon::begin(&many.etc());
    people.ends(DAEMON, &rotate(&["--waves", "rest"]), 9);
    {
        // From its next start on: a plan covers that.
        let mut stage = many.fleets[0].1.stand.stage();
        let text = String::from_utf8(stage.world.read("w1", UNIT).expect("it is there")).expect("it is text");
        let bytes = Secret::new(text.replace("--token-file", "--debug --token-file").into_bytes());
        let owner = OwnerIds { uid: 0, gid: 0 };
        let change = Change::Write { path: UNIT.to_owned(), bytes, mode: 0o644, owner };
        stage.world.apply("w1", &change).expect("there is space");
    }
    let fleet = shown(&many)["fleet"].as_str().expect("a text").to_owned();
    people.ends(NOBODY, &["approve", &fleet, "--wave", "1", "--yes"], 0);
    until("the question", || states(&many) == ["plan no longer fits", "waiting for finalize"]);
    until("the second plan", || shown(&many)["waits_for"]["wave"] == 1);
    assert_eq!(many.listed("c0"), Value::Null);
    let text = many.ends(&["fleet", "show"], 0).out;
    assert!(text.contains("asks for wave 1 once more") && text.contains("approve again"), "{text}");
    people.ends(NOBODY, &["approve", &fleet, "--wave", "1", "--yes"], 0);
    until("its end", || has_ended(&many));
    one_each(&many, &["c0", "c1"], "Waiting");
}
