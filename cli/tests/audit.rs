//! The audit on a rehearsal fleet: one line an event whatever is killed, what is changed in it is found with its place, and evidence holds it.

#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use k0rotate::audit::Line;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_engine::event::Record;
use stand::{Fleet, Said};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const YES: [&str; 3] = ["--yes", "--reason", "CHG-4711"];

fn with(verb: &str) -> Vec<&str> {
    [&[verb], YES.as_slice()].concat()
}

fn store(fleet: &Fleet) -> PathBuf {
    fleet.stand.dir().join("state/rehearsal")
}

fn audit(fleet: &Fleet) -> PathBuf {
    store(fleet).join("audit.jsonl")
}

fn text(fleet: &Fleet) -> String {
    fs::read_to_string(audit(fleet)).expect("there is an audit")
}

fn lines(fleet: &Fleet) -> Vec<Line> {
    text(fleet).lines().map(|line| serde_json::from_str(line).expect("it is a line")).collect()
}

fn history(fleet: &Fleet) -> Vec<Record> {
    serde_json::from_str(&fleet.ends(&["history", "-o", "json"], 0).out).expect("it prints records")
}

fn verified(fleet: &Fleet, code: i32) -> Said {
    fleet.ends(&["verify", &audit(fleet).display().to_string()], code)
}

/// Goal: killed and resumed, back from the wait and rotated again, every event of both histories has one line, in a whole chain, with who, why, the
/// plan's digest, and the trust before and after; the file is its owner's alone.
#[test]
fn every_event_has_its_line() {
    let fleet = Fleet::new("1+1");
    let planned: serde_json::Value =
        serde_json::from_str(&fleet.ends(&["plan", "-o", "json"], 0).out).expect("it prints JSON");
    fleet.killed_at(&with("rotate"), 12, Fault::CrashAfter);
    fleet.killed_at(&["resume"], 20, Fault::CrashBefore);
    fleet.ends(&["resume"], 0);
    fleet.ends(&with("rollback"), 0);
    let (first, lines_of_first) = (history(&fleet), lines(&fleet));
    fleet.ends(&with("rotate"), 0);
    let said = verified(&fleet, 0);
    assert!(said.out.contains("each as in the history,"), "{said:?}");
    let all = lines(&fleet);
    assert_eq!(all.len(), first.len() + history(&fleet).len());
    assert_eq!(all[..first.len()], lines_of_first, "what is written stays");
    let places: Vec<u64> = lines_of_first.iter().map(|line| line.entry.event).collect();
    assert_eq!(places, (0..first.len() as u64).collect::<Vec<_>>());
    let of = |what: &str, host: &str| {
        let fits = |line: &&Line| line.entry.what == what && line.entry.step.as_deref().unwrap_or("").contains(host);
        lines_of_first.iter().find(fits).unwrap_or_else(|| panic!("no {what} {host}")).entry.clone()
    };
    let start = of("execution-started", "");
    assert!(start.who.starts_with("alice@") && start.why.as_deref() == Some("CHG-4711"), "{start:?}");
    assert_eq!(start.authenticated, None, "only the environment says so");
    let swap = of("step-succeeded", "/wipe@c1");
    assert_eq!((swap.host.as_deref(), swap.outcome.as_deref()), (Some("c1"), Some("done")));
    assert_eq!(swap.plan.as_deref(), planned["digest"].as_str(), "the plan that was printed");
    assert!(swap.plan.is_some() && swap.before.len() == 4 && swap.after.len() == 4, "{swap:?}");
    assert!(swap.before.iter().all(|(root, old)| swap.after[root] != *old), "all are new");
    let back = of("step-succeeded", "/put-back@c1");
    assert_eq!((&back.before, &back.after), (&swap.after, &swap.before));
    assert_eq!(of("step-succeeded", "/check-host@c1").before, swap.before);
    assert_eq!(of("rolled-back", "").outcome.as_deref(), Some("rolled-back"));
    let mode = fs::metadata(audit(&fleet)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Goal: what was torn by a kill, cut off or taken away is written again by the next verb that drives, byte for byte.
#[test]
fn what_is_missing_is_written_again() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate"), 0);
    let whole = text(&fleet);
    for left in [whole.len() - 7, whole.len() / 2, 0] {
        fs::write(audit(&fleet), &whole[..left]).expect("it is ours");
        fleet.ends(&["resume"], 0);
        assert_eq!(text(&fleet), whole, "{left} bytes were left");
    }
    fs::remove_file(audit(&fleet)).expect("it is ours");
    fleet.ends(&["resume"], 0);
    assert_eq!(text(&fleet), whole);
}

/// Goal: a line that is changed, dropped, swapped, doubled or cut off is found, and its place is said; so is a chain that is rewritten whole, by the
/// history.
#[test]
fn what_is_changed_is_found_with_its_place() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate"), 0);
    let whole = text(&fleet);
    let all: Vec<&str> = whole.lines().collect();
    let at = all.len() / 2;
    let without = |gone: usize| all.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, l)| *l).collect::<Vec<_>>();
    let (mut swapped, mut doubled) = (all.clone(), all.clone());
    swapped.swap(at, at + 1);
    doubled.insert(at, all[at]);
    let flipped =
        all[at].replacen("done", "DONE", 1).replacen("begun", "BEGUN", 1).replacen("phase-started", "PHASE", 1);
    let mut changed = all.clone();
    changed[at] = &flipped;
    assert_ne!(changed, all);
    let cases = [
        ("changed", changed, at + 1),
        ("dropped", without(at), at + 1),
        ("dropped at the front", without(0), 1),
        ("swapped", swapped, at + 1),
        ("doubled", doubled, at + 2),
        ("cut", all[..at].to_vec(), at + 1),
    ];
    for (what, lines, line) in cases {
        fs::write(audit(&fleet), lines.join("\n") + "\n").expect("it is ours");
        let said = verified(&fleet, 8);
        assert!(
            said.err.contains("error[K0R-0603]") && said.err.contains(&format!("line {line}:")),
            "{what}: {said:?}"
        );
    }
    fs::rename(store(&fleet).join("audit.head"), store(&fleet).join("kept")).expect("it is there");
    fs::write(audit(&fleet), all[..at].join("\n") + "\n").expect("it is ours");
    let said = verified(&fleet, 8);
    assert!(said.err.contains(&format!("{} events of the store beside it have no line", all.len() - at)), "{said:?}");
    fs::rename(store(&fleet).join("kept"), store(&fleet).join("audit.head")).expect("it is ours");
    for (forged, head) in [(forge(&all, at), true), (forge(&all, at), false)] {
        fs::write(audit(&fleet), &forged).expect("it is ours");
        if !head {
            fs::remove_file(store(&fleet).join("audit.head")).expect("it is there");
        }
        let said = verified(&fleet, 8);
        let found = if head { "another line was written here" } else { "says something else in the history" };
        assert!(said.err.contains(found), "{said:?}");
        if !head {
            assert!(said.err.contains(&format!("line {}:", at + 1)), "{said:?}");
        }
    }
    // Alone it looks whole: what a chain cannot show.
    let alone = fleet.stand.dir().join("alone.jsonl");
    fs::write(&alone, forge(&all, at)).expect("it is ours");
    let said = fleet.ends(&["verify", &alone.display().to_string()], 0);
    assert!(said.out.contains("no history lies beside it: compare the head with another copy"), "{said:?}");
}

/// Goal: without a history beside it, too, a line that says something else than its hash is found, wherever it stands.
#[test]
fn a_line_is_bound_by_its_hash() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate"), 0);
    let whole = text(&fleet);
    let alone = fleet.stand.dir().join("alone.jsonl");
    let last = whole.lines().count();
    for at in [1, last / 2, last] {
        let change = |(n, line): (usize, &str)| {
            let time = "\"time\":\"2";
            if n + 1 == at { line.replacen(time, "\"time\":\"1", 1) } else { line.to_owned() }
        };
        let lines: Vec<String> = whole.lines().enumerate().map(change).collect();
        let changed = lines.join("\n") + "\n";
        assert_ne!(changed, whole);
        fs::write(&alone, changed).expect("it is ours");
        let said = fleet.ends(&["verify", &alone.display().to_string()], 8);
        assert!(said.err.contains(&format!("line {at}: it was changed")), "{said:?}");
    }
    let all: Vec<&str> = whole.lines().collect();
    let forged = forge(&all, 3);
    let one = |line: usize, by: String| {
        let mut lines: Vec<String> = all.iter().map(|line| (*line).to_owned()).collect();
        lines[line] = by;
        lines.join("\n") + "\n"
    };
    let with_its_own_hash = one(3, forged.lines().nth(3).expect("it has so many").to_owned());
    let with_more = one(3, all[3].replacen('{', "{\"more\":1,", 1));
    for (text, found) in [
        (with_its_own_hash, "line 5: it does not follow from the line before it"),
        (with_more, "line 4: it is not a line as it is written"),
    ] {
        fs::write(&alone, text).expect("it is ours");
        let said = fleet.ends(&["verify", &alone.display().to_string()], 8);
        assert!(said.err.contains(found), "{said:?}");
    }
}

/// Puts the lines up to this one aside, as a file that was full.
fn put_aside(fleet: &Fleet, upto: usize) -> PathBuf {
    let text = text(fleet);
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let first: Line = serde_json::from_str(all[0]).expect("it is a line");
    let full = store(fleet).join(format!("audit-{:012}.jsonl", first.line));
    fs::write(&full, all[..upto].concat()).expect("it is ours");
    fs::write(audit(fleet), all[upto..].concat()).expect("it is ours");
    full
}

/// Goal: an audit in several files goes on in the last, is verified and exported as one, and what is changed in a full file, taken away or torn is
/// found with that file and the place in it.
#[test]
fn full_files_are_one_audit() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate"), 0);
    let (first, second) = (put_aside(&fleet, 7), put_aside(&fleet, 9));
    fleet.ends(&with("rollback"), 0);
    let said = verified(&fleet, 0);
    let events = history(&fleet).len();
    assert!(said.out.contains(&format!("audit: lines 1 to {events}, chain whole, each as in the history")), "{said:?}");
    assert_eq!(lines(&fleet)[0].line, 17, "it went on in the last");
    let to = fleet.stand.dir().join("evidence").display().to_string();
    fleet.ends(&["export", "--to", &to], 0);
    let said = fleet.ends(&["verify", &to], 0);
    assert!(said.out.contains(&format!("audit: lines 1 to {events}, chain whole, each as in the history")), "{said:?}");
    let good = fs::read_to_string(&second).expect("it is there");
    let torn = &good[..good.len() - 1];
    let changed: String = good
        .split_inclusive('\n')
        .enumerate()
        .map(|(at, l)| if at == 2 { l.replace('-', "_") } else { l.into() })
        .collect();
    for (what, text, found) in
        [("changed", changed.as_str(), "line 3:"), ("torn", torn, "line 9: the line is torn"), ("empty", "", "")]
    {
        fs::write(&second, text).expect("it is ours");
        let said = verified(&fleet, 8);
        let file = if what == "empty" { audit(&fleet) } else { second.clone() };
        assert!(said.err.contains(&format!("{}: {found}", file.display())), "{what}: {said:?}");
    }
    fs::write(&second, &good).expect("it is ours");
    fs::remove_file(&first).expect("it is there");
    let said = verified(&fleet, 8);
    let found = format!("{}: line 1: line 8 stands where line 1 must", second.display());
    assert!(said.err.contains(&found), "{said:?}");
    let said = fleet.ends(&["verify", &second.display().to_string()], 0);
    assert!(said.out.contains("audit: lines 8 to 16, chain whole; no history lies beside it"), "{said:?}");
}

/// Another reason from this line on, in a chain that holds.
fn forge(all: &[&str], from: usize) -> String {
    let mut text = String::new();
    let (mut before, mut previous) = (0, "0".repeat(64));
    for (at, line) in all.iter().enumerate() {
        let mut entry = serde_json::from_str::<Line>(line).expect("it is a line").entry;
        if at == from {
            entry.who = "mallory@ops1".into();
        }
        let line = Line::after(before, &previous, entry);
        (before, previous) = (line.line, line.hash.clone());
        text += &(line.text() + "\n");
    }
    text
}

/// Goal: exported evidence holds the audit lines of its execution, named in its manifest and compared with its history.
#[test]
fn evidence_holds_the_audit() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate"), 0);
    fleet.ends(&with("rollback"), 0);
    fleet.ends(&with("rotate"), 0);
    let to = fleet.stand.dir().join("evidence");
    let dir = to.display().to_string();
    fleet.ends(&["export", "--to", &dir], 0);
    let said = fleet.ends(&["verify", &dir], 0);
    assert!(said.out.contains("audit: lines ") && said.out.contains("each as in the history,"), "{said:?}");
    let exported = fs::read_to_string(to.join("audit.jsonl")).expect("it is there");
    assert_eq!(exported.lines().count(), history(&fleet).len());
    for (changed, found) in [
        (exported.replacen("alice@", "mallory@", 1), "it is not the file that was exported"),
        (String::new(), "it is not the file that was exported"),
    ] {
        fs::write(to.join("audit.jsonl"), changed).expect("it is ours");
        let said = fleet.ends(&["verify", &dir], 8);
        assert!(said.err.contains("audit.jsonl") && said.err.contains(found), "{said:?}");
    }
    fs::write(to.join("audit.jsonl"), exported).expect("it is ours");
    fs::write(to.join("notes.txt"), "by somebody else").expect("it is ours");
    let said = fleet.ends(&["verify", &dir], 8);
    assert!(said.err.contains("notes.txt: the manifest does not name it"), "{said:?}");
}

/// Goal: of an execution of a cluster that a daemon holds the evidence is the same closed set, up to the last event, also right after it; and the
/// daemon's own file is verified against the history while it holds the store.
#[test]
fn evidence_through_a_daemon_holds_the_audit() {
    let fleet = Fleet::kept("1+0");
    fleet.ends(&with("rotate"), 0);
    fleet.ends(&with("rollback"), 0);
    fleet.ends(&with("rotate"), 0);
    let to = fleet.dir().join("evidence");
    let dir = to.display().to_string();
    let said = fleet.ends(&["export", "--to", &dir], 0);
    assert!(said.out.contains("history, report and audit"), "{said:?}");
    let events = history(&fleet).len();
    let exported = fs::read_to_string(to.join("audit.jsonl")).expect("it is there");
    assert_eq!(exported.lines().count(), events);
    let started: Line = serde_json::from_str(exported.lines().next().expect("there is one")).expect("it is a line");
    assert_eq!(started.entry.authenticated.as_deref(), Some("daemon"), "and not what the environment says");
    assert!(!started.entry.who.starts_with("alice@"), "{started:?}");
    let said = fleet.ends(&["verify", &dir], 0);
    assert!(said.out.contains("chain whole, each as in the history,"), "{said:?}");
    let own = fleet.dir().join("state/rehearsal/audit.jsonl");
    assert!(fs::read_to_string(&own).expect("it is there").ends_with(&exported), "these are its last lines");
    let said = fleet.ends(&["verify", &own.display().to_string()], 0);
    assert!(said.out.contains("each as in the history"), "{said:?}");
    let forged = forge(&fs::read_to_string(&own).expect("it is there").lines().collect::<Vec<_>>(), 3);
    fs::write(&own, forged).expect("it is ours");
    fs::remove_file(own.with_file_name("audit.head")).expect("it is there");
    let said = fleet.ends(&["verify", &own.display().to_string()], 8);
    assert!(said.err.contains("line 4: ") && said.err.contains("says something else in the history"), "{said:?}");
}
