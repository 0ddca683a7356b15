//! The command of `[notify]`: what it is told, that one that hangs or fails delays nothing, and that a kill of the daemon loses nothing.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::{Fleet, until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes the command that is told.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("to-chat");
    let new = dir.join("to-chat.new");
    std::fs::write(&new, format!("#!/bin/sh\n{text}\n")).expect("it is ours");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("it is ours");
    std::fs::rename(&new, &path).expect("it is ours");
    path
}

/// A fleet whose daemon tells this.
fn told_by(dir: &Path, text: &str) -> Fleet {
    let command = script(dir, text).display().to_string();
    Fleet::kept_with("1+0", &format!("[notify]\ncommand = \"{command}\"\n"))
}

/// Appends what it is told, as one line.
fn keeps(dir: &Path) -> String {
    format!("cat >> {}", dir.join("told.jsonl").display())
}

fn told(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("told.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What was told: names of events, with what they are about where that is a wait or a zone.
fn names(all: &[Value]) -> Vec<String> {
    let name = |one: &Value| match one["about"].as_str() {
        Some(about) => format!("{} {about}", one["what"].as_str().expect("a text")),
        None => one["what"].as_str().expect("a text").to_owned(),
    };
    all.iter().map(name).collect()
}

/// A verb to its end. A daemon that has just begun looks at its cluster first, and refuses meanwhile.
fn ends(fleet: &Fleet, words: &[&str]) {
    const AT_WORK: Option<i32> = Some(5);
    let mut said = fleet.k(words);
    until("its first look", || {
        said = if said.code == AT_WORK { fleet.k(words) } else { return true };
        said.code != AT_WORK
    });
    assert_eq!(said.code, Some(0), "{words:?}: {}{}", said.out, said.err);
}

const TO_THE_END: [&str; 6] = [
    "execution-started",
    "zone-entered down",
    "zone-entered held",
    "wait-started finalize",
    "wait-ended finalize",
    "completed",
];

fn ends_with(dir: &Path, what: &str) {
    until(what, || told(dir).last().is_some_and(|last| last["what"] == what));
}

/// Goal: a person is told the start, the outage, the waits and the end, once each and in order, with who and why; nothing of the daemon's environment is theirs.
#[test]
fn a_person_is_told_what_happens() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let env = dir.path().join("env").display().to_string();
    let fleet = told_by(dir.path(), &format!("env > {env}; {}", keeps(dir.path())));
    ends(&fleet, &["rotate", "--yes", "--reason", "CHG-4711"]);
    ends_with(dir.path(), "wait-started");
    ends(&fleet, &["finalize", "--yes"]);
    ends_with(dir.path(), "completed");
    let all = told(dir.path());
    assert_eq!(names(&all), TO_THE_END);
    assert!(all[0]["why"] == "CHG-4711" && all[0]["who"].as_str().is_some_and(|who| who.contains('@')), "{all:?}");
    assert!(all[3]["says"].as_str().is_some_and(|says| says == "rotate of rehearsal: waits for finalize"), "{all:?}");
    assert!(all.iter().all(|one| one["execution"] == all[0]["execution"] && one["cluster"] == "rehearsal"), "{all:?}");
    let seen = std::fs::read_to_string(env).expect("it was written");
    assert!(!seen.contains("HOME=") && !seen.contains("CARGO"), "{seen}");
}

/// Goal: a command that never ends holds up no rotation; it is ended after its limit with what it began, and the log says so. What it heard while the daemon was killed is told again by the next daemon, and so is what came after.
#[test]
fn one_that_hangs_delays_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pids = dir.path().join("pids");
    let mut fleet = told_by(dir.path(), &format!("sleep 1000 & echo $! >> {}; wait", pids.display()));
    ends(&fleet, &["rotate", "--yes"]);
    assert!(!fleet.logged().contains("was ended after"), "it is beside the rotation: {}", fleet.logged());
    until("its limit", || fleet.logged().contains("was not told: it was ended after 10 s"));
    let first = std::fs::read_to_string(&pids).expect("it was written");
    let first = first.lines().next().expect("it began").to_owned();
    until("the end of what it began", || has_ended(&first));
    fleet.without_its_daemon(|_| drop(script(dir.path(), &keeps(dir.path()))));
    ends(&fleet, &["finalize", "--yes"]);
    ends_with(dir.path(), "completed");
    let (all, wanted) = (names(&told(dir.path())), TO_THE_END.map(str::to_owned));
    assert!(wanted.ends_with(&all) && all.len() >= 5, "told again from the one that was under way: {all:?}");
}

/// Whether a process is gone, or only waits for somebody to hear of its end.
fn has_ended(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.map_or(true, |status| status.contains(") Z "))
}

/// Goal: one that fails is told in the log and not asked the same again; the next event is told. One that is none is found by `config check`.
#[test]
fn one_that_fails_is_in_the_log() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fleet = told_by(dir.path(), "exit 3");
    ends(&fleet, &["rotate", "--yes"]);
    until("each failure", || fleet.logged().matches("was not told: exit status: 3").count() == 4);
    script(dir.path(), &keeps(dir.path()));
    ends(&fleet, &["finalize", "--yes"]);
    ends_with(dir.path(), "completed");
    assert_eq!(names(&told(dir.path())), TO_THE_END[4..]);
    fleet.ends(&["config", "check"], 0);
    std::fs::set_permissions(dir.path().join("to-chat"), PermissionsExt::from_mode(0o644)).expect("it is ours");
    let said = fleet.ends(&["config", "check"], 2);
    assert!(said.err.contains("`notify.command`: ") && said.err.contains("to-chat: is no program"), "{said:?}");
}
