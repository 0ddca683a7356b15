//! Those who only look: beside each other, beside a process at its prompt, beside one that drives, ends or hangs.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate::commands::quoted;
use stand::{Fleet, Said, until};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const ROTATE: [&str; 4] = ["rotate", "--yes", "--reason", "CHG-4711"];
/// Verbs that only look, and what they end with at a wait.
const LOOKS: [&[&str]; 6] =
    [&["list"], &["show"], &["history"], &["report"], &["watch"], &["plan", "--rollback", "rehearsal"]];

fn file(fleet: &Fleet, name: &str) -> PathBuf {
    fleet.stand.dir().parent().expect("it lies in a folder").join(name)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

/// Goal: any number look at the same time, and a verb that opens the store beside them is not refused.
#[test]
fn looks_do_not_exclude_each_other() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&ROTATE, 0);
    let looks: Vec<_> = LOOKS[..5].iter().flat_map(|words| [fleet.beside(words), fleet.beside(words)]).collect();
    fleet.ends(&["rollback", "--yes", "--reason", "try"], 0);
    for (n, look) in looks.into_iter().enumerate() {
        let said: Said = look.wait_with_output().expect("it was started").into();
        assert_eq!(said.code, Some(0), "{:?}: {said:?}", LOOKS[n / 2]);
    }
}

/// Goal: while a verb waits for its person to type, everybody can look, and nobody is told that it is paused.
#[test]
fn a_prompt_keeps_nobody_from_looking() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&ROTATE, 0);
    let inner = fleet.command(&["finalize", "--reason", "try"]);
    let line = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<String> = line.map(|word| quoted(word.to_str().expect("it is UTF-8"))).collect();
    let mut terminal = Command::new("script")
        .args(["-qefc", &line.join(" "), "/dev/null"])
        .env_remove("K0ROTATE_IDENTITY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there: Debian's bsdutils");
    let mut screen = terminal.stdout.take().expect("it was piped");
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&shown).contains("Type the API host") {
        assert_eq!(screen.read(&mut byte).expect("the terminal can be read"), 1, "it asks");
        shown.push(byte[0]);
    }
    for words in LOOKS {
        fleet.ends(words, 0);
    }
    fleet.ends(&["export", "--to", "evidence"], 0);
    assert_eq!(fleet.listed()["driven"], false, "it drives nothing yet");
    let said = fleet.ends(&["pause"], 1);
    assert!(said.err.contains("nobody drives it"), "{}", said.err);
    let mut keys = terminal.stdin.take().expect("it was piped");
    keys.write_all(b"another.example\r").expect("it listens");
    screen.read_to_end(&mut shown).expect("the terminal can be read");
    assert_eq!(terminal.wait().expect("it was started").code(), Some(1));
    assert_eq!(fleet.listed()["state"], "Waiting");
}

/// Goal: what is driven is exported as it stands, and the evidence is whole.
#[test]
fn what_is_driven_is_exported() {
    let fleet = Fleet::new("1+1");
    fleet.stand.stage().faults.stand_at = Some(20);
    let driver = fleet.beside(&ROTATE);
    until("the twentieth change", || fleet.stand.stage().faults.stands());
    fleet.ends(&["export", "--to", "evidence"], 0);
    let said = fleet.ends(&["verify", "evidence", "-o", "json"], 0);
    let summary: serde_json::Value = serde_json::from_str(&said.out).expect("it prints JSON");
    assert_eq!((&summary["ended"], &summary["events"]), (&false.into(), &fleet.listed()["events"]));
    fleet.stand.stage().faults.stand_at = None;
    assert_eq!(driver.wait_with_output().expect("it was started").status.code(), Some(0));
}

/// Goal: whoever watches sees the end, however close the process that drives is to its own.
#[test]
fn a_watch_outlives_its_driver() {
    let fleet = Fleet::new("1+0");
    fleet.stand.stage().faults.stand_at = Some(5);
    let driver = fleet.beside(&ROTATE);
    until("the fifth change", || fleet.stand.stage().faults.stands());
    let watches = [(); 3].map(|()| fleet.beside(&["watch"]));
    let lines = fleet.beside(&["watch", "-o", "json"]);
    fleet.stand.stage().faults.stand_at = None;
    assert_eq!(driver.wait_with_output().expect("it was started").status.code(), Some(0));
    for watch in watches {
        let said: Said = watch.wait_with_output().expect("it was started").into();
        assert!(said.code == Some(0) && said.out.contains("waits for finalize"), "{said:?}");
    }
    let said: Said = lines.wait_with_output().expect("it was started").into();
    let events = said.out.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert_eq!((said.code, serde_json::json!(events)), (Some(0), fleet.listed()["events"].clone()), "{said:?}");
}

/// Goal: a process that drives and does not answer is named after a while, whatever was asked of it.
#[test]
fn a_driver_that_hangs_is_named() {
    let fleet = Fleet::new("1+0");
    fleet.stand.stage().faults.stand_at = Some(5);
    let driver = fleet.beside(&ROTATE);
    until("the fifth change", || fleet.stand.stage().faults.stands());
    signal("-STOP", driver.id());
    let asked = [fleet.beside(&["show"]), fleet.beside(&["pause"])];
    for asked in asked {
        let said: Said = asked.wait_with_output().expect("it was started").into();
        assert_eq!(said.code, Some(5), "{said:?}");
        let named = format!("error[K0R-0502]: process {} holds the store and does not answer", driver.id());
        assert!(said.err.contains(&named), "{}", said.err);
    }
    signal("-CONT", driver.id());
    fleet.ends(&["show"], 0);
    fleet.stand.stage().faults.stand_at = None;
    assert_eq!(driver.wait_with_output().expect("it was started").status.code(), Some(0));
}

/// Goal: every file of the evidence is vouched for: one that is changed, no text any more, or missing is found.
#[test]
fn changed_evidence_is_found() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&ROTATE, 0);
    fleet.ends(&["export", "--to", "evidence"], 0);
    fleet.ends(&["verify", "evidence"], 0);
    for name in ["history.jsonl", "report.md", "manifest.json"] {
        let path = file(&fleet, "evidence").join(name);
        let whole = std::fs::read(&path).expect("it was exported");
        let mut harmed = whole.clone();
        harmed[40] ^= 0x80;
        std::fs::write(&path, &harmed).expect("it is ours");
        let said = fleet.ends(&["verify", "evidence"], 8);
        assert!(said.err.contains("error[K0R-0602]") && said.err.contains(name), "{}", said.err);
        if name == "history.jsonl" {
            fleet.ends(&["verify", "evidence/history.jsonl"], 8);
        }
        std::fs::remove_file(&path).expect("it is ours");
        let said = fleet.ends(&["verify", "evidence"], 8);
        assert!(said.err.contains("it is missing"), "{}", said.err);
        std::fs::write(&path, &whole).expect("it is ours");
    }
    fleet.ends(&["verify", "evidence"], 0);
}

/// Goal: a result that cannot be written is an error, and a way to print that a verb does not have is refused.
#[test]
fn what_cannot_be_printed_is_said_so() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&ROTATE, 0);
    for words in [&["report"][..], &["list", "-o", "json"], &["version"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let said: Said = fleet.command(words).stdout(full).output().expect("the program starts").into();
        assert!(said.code == Some(1) && said.err.contains("error[K0R-0106]"), "{words:?}: {said:?}");
    }
    for words in [
        &["report", "-o", "json"][..],
        &["watch", "-o", "yaml"],
        &["completion", "bash", "-o", "json"],
        &["list", "-o", "notice"],
        &["finalize", "--yes", "-o", "notice"],
        &["finalize", "--yes", "-o", "json"],
        &["rollback", "--yes", "-o", "yaml"],
    ] {
        let said = fleet.ends(words, 2);
        assert!(said.err.contains("error[K0R-0101]") && said.out.is_empty(), "{words:?}: {said:?}");
    }
    assert!(fleet.ends(&["version", "-o", "json"], 0).out.contains("\"version\""));
}
