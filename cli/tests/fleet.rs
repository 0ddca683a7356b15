//! The verbs as real processes on a rehearsal fleet: what they promise, their exit statuses, killed and beside each other.

#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Fault;
use stand::{Fleet, Said, until};
use std::io::{BufRead, BufReader};

const YES: [&str; 3] = ["--yes", "--reason", "CHG-4711"];

fn with<'a>(verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[verb], YES.as_slice(), more].concat()
}

fn of(value: &serde_json::Value) -> &str {
    value.as_str().expect("it is a text")
}

/// Each of these holds in a process of its own and with a daemon.
macro_rules! both {
    ($($name:ident)*) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(super::Fleet::new); })*
        }
        mod kept {
            $(#[test] fn $name() { super::$name(super::Fleet::kept); })*
        }
    };
}

both! {
    it_rotates_and_finalizes_once
    at_the_wait_there_is_nothing_to_resume
    it_rolls_back_from_the_wait
    others_look_on_and_pause
    others_ask_to_go_back
    a_dead_node_is_left_behind
    who_answers_is_not_left_behind_from_the_start
    evidence_is_exported_and_checked
}

/// Goal: forward to the wait, at most one open rotation, finalized, and no way back from there.
fn it_rotates_and_finalizes_once(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+1");
    let said = fleet.ends(&with("rotate", &[]), 0);
    assert!(said.out.contains("waits for finalize") && said.out.contains("k0rotate rollback"), "{}", said.out);
    assert_eq!(fleet.listed()["state"], "Waiting");
    let id = of(&fleet.listed()["execution"]).to_owned();
    assert!(fleet.ends(&["list", &id[..20]], 0).out.contains(&id));
    assert!(fleet.ends(&["list", "zzz"], 1).err.contains("error[K0R-0401]"));
    assert!(said.out.contains("the last moment for a roll-back is 20"), "{}", said.out);
    let shown = fleet.ends(&["show"], 0);
    assert!(shown.out.contains("way back   until 20") && shown.out.contains("a day before the old"), "{}", shown.out);
    let shown = fleet.shown();
    let can = |verb: &str| shown["next"].as_array().is_some_and(|all| all.iter().any(|next| of(next).contains(verb)));
    assert!(can("k0rotate finalize") && can("k0rotate rollback") && !can("rejoin"), "{shown}");
    assert!(of(&shown["way_back"]["until"]).starts_with("20") && shown["way_back"]["is_over"] == false, "{shown}");
    assert!(!fleet.differs_from_first().is_empty(), "the trust is new");

    let said = fleet.ends(&with("rotate", &[]), 5);
    assert!(said.err.contains("error[K0R-0402]") && said.err.contains("nothing was changed"), "{}", said.err);

    let said = fleet.ends(&with("finalize", &[]), 0);
    assert!(said.out.contains("completed"), "{}", said.out);
    let events = fleet.listed()["events"].clone();
    let said = fleet.ends(&with("rollback", &[]), 1);
    assert!(said.out.contains("not now") && said.out.contains("nothing was recorded"), "{}", said.out);
    assert_eq!(fleet.listed()["events"], events);
    assert_eq!(fleet.listed()["state"], "Completed");
}

/// Goal: at the wait for finalize there is nothing to resume: it says so, the promise is kept (0), nothing is recorded and no host is changed.
fn at_the_wait_there_is_nothing_to_resume(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+0");
    fleet.ends(&with("rotate", &[]), 0);
    let before = (fleet.listed()["events"].clone(), fleet.stand.stage().faults.changes);
    let said = fleet.ends(&["resume"], 0);
    assert!(said.err.contains("nothing to go on with") && said.out.contains("k0rotate finalize"), "{said:?}");
    assert_eq!((fleet.listed()["events"].clone(), fleet.stand.stage().faults.changes), before);
}

/// Goal: back from the wait every trust file is as it was, and another rotation may begin.
fn it_rolls_back_from_the_wait(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+1");
    fleet.ends(&["rotate", "--yes", "--reason", "a |\n| state | completed |"], 0);
    let said = fleet.ends(&with("rollback", &[]), 0);
    assert!(said.out.contains("rolled back to the first trust"), "{}", said.out);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
    assert_eq!(fleet.listed()["state"], "RolledBack");
    let report = fleet.ends(&["report"], 0).out;
    assert!(!report.contains("\n| state | completed |"), "{report}");
    for title in ["The new trust in use, before", "The first trust in use again"] {
        let (_, of_way) =
            report.split_once(&format!("### {title}")).unwrap_or_else(|| panic!("no {title} in {report}"));
        let matrix = of_way.split("###").next().unwrap_or_default();
        assert!(matrix.matches("| refused | accepted |").count() > 1, "{matrix}");
    }
    fleet.ends(&with("rotate", &[]), 0);
}

/// Goal: what is killed is driven by nobody, and `resume` goes on to where it was going.
#[test]
fn killed_it_is_resumed() {
    let fleet = Fleet::new("3+2");
    fleet.killed_at(&with("rotate", &[]), 40, Fault::CrashAfter);
    let listed = fleet.listed();
    assert_eq!((&listed["state"], &listed["driven"]), (&"Running".into(), &false.into()));
    let said = fleet.ends(&["show"], 0);
    assert!(said.out.contains("driven by  nobody") && said.out.contains("k0rotate resume"), "{}", said.out);
    fleet.killed_at(&["resume"], 20, Fault::CrashBefore);
    let said = fleet.ends(&["resume"], 0);
    assert!(said.out.contains("waits for finalize"), "{}", said.out);
}

/// Goal: right after a kill, before and after the first stop, `rollback` brings the first trust back.
#[test]
fn killed_it_goes_back() {
    for change in [9, 30, 60] {
        let fleet = Fleet::new("1+1");
        fleet.killed_at(&with("rotate", &[]), change, Fault::CrashBefore);
        fleet.ends(&with("rollback", &[]), 0);
        assert_eq!(fleet.differs_from_first(), Vec::<String>::new(), "killed at change {change}");
    }
}

/// Goal: a word that was said and then cut off is said again, or resumed, and ends as it would have.
#[test]
fn a_word_that_was_cut_off_is_said_again() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&with("rotate", &[]), 0);
    fleet.killed_at(&with("finalize", &[]), 3, Fault::CrashAfter);
    assert_eq!(fleet.listed()["state"], "Running");
    let said = fleet.ends(&with("finalize", &[]), 0);
    assert!(said.out.contains("completed"), "{}", said.out);

    let fleet = Fleet::new("1+0");
    for word in [with("rollback", &[]), vec!["resume"]] {
        fleet.ends(&with("rotate", &[]), 0);
        fleet.killed_at(&with("rollback", &[]), 9, Fault::CrashAfter);
        assert_eq!(fleet.listed()["state"], "RollingBack");
        let refused = fleet.ends(&with("finalize", &[]), 1);
        assert!(refused.out.contains("it is going back") && refused.out.contains("k0rotate resume"), "{refused:?}");
        fleet.ends(&word, 0);
        assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
    }
    let refused = fleet.ends(&with("finalize", &[]), 1);
    assert!(refused.out.contains("it is rolled back") && !refused.out.contains("illegal"), "{refused:?}");
}

/// Goal: while one process drives, the reading verbs answer, no other may drive, and `pause` lets it rest.
fn others_look_on_and_pause(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+1");
    fleet.stand.stage().faults.stand_at = Some(5);
    let mut driver = fleet.beside(&with("rotate", &[]));
    until("the fifth change", || fleet.stand.stage().faults.stands());

    let listed = fleet.listed();
    assert_eq!((&listed["state"], &listed["driven"]), (&"Running".into(), &true.into()));
    let by = if fleet.is_kept() { "the daemon" } else { "another terminal" };
    assert!(fleet.ends(&["show"], 0).out.contains(&format!("driven by  {by}")));
    assert!(fleet.ends(&["history"], 0).out.contains("ExecutionStarted"));
    assert!(fleet.ends(&["report"], 0).out.contains("| why | CHG-4711 |"));
    for verb in [with("rotate", &[]), vec!["resume"]] {
        let said = fleet.ends(&verb, 5);
        assert!(said.err.contains("error[K0R-0501]"), "{}", said.err);
    }

    let pause = fleet.beside(&["pause", "--reason", "lunch"]);
    let mut heard = BufReader::new(driver.stderr.take().expect("it was piped")).lines();
    if fleet.is_kept() {
        until("the word", || fleet.logged().contains("asks to pause"));
    } else {
        let asked = heard.find(|line| line.as_ref().is_ok_and(|line| line.contains("asks to pause")));
        assert!(asked.is_some(), "the driving process says who asks");
    }
    fleet.stand.stage().faults.stand_at = None;
    let pause: Said = pause.wait_with_output().expect("it was started").into();
    assert_eq!(pause.code, Some(0), "{pause:?}");
    assert!(heard.all(|line| line.is_ok()), "it prints UTF-8 to its end");
    let end: Said = driver.wait_with_output().expect("it was started").into();
    assert_eq!(end.code, Some(3), "{end:?}");
    assert!(end.out.contains("paused by") && end.out.contains("lunch"), "{}", end.out);
    fleet.ends(&with("rollback", &[]), 0);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: while one process drives, `rollback` in another terminal makes it go back, and follows it to the first trust.
fn others_ask_to_go_back(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+1");
    fleet.stand.stage().faults.stand_at = Some(40);
    let mut driver = fleet.beside(&with("rotate", &[]));
    until("the fortieth change", || fleet.stand.stage().faults.stands());
    let planned = fleet.ends(&with("rollback", &["--plan", "12345678"]), 1);
    assert!(planned.err.contains("error[K0R-0403]"), "{}", planned.err);

    let back = fleet.beside(&with("rollback", &[]));
    fleet.goes_back_as_it_hears(&mut driver);
    let end: Said = driver.wait_with_output().expect("it was started").into();
    assert_eq!(end.code, Some(4), "{end:?}");
    let back: Said = back.wait_with_output().expect("it was started").into();
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.out.contains("rolled back to the first trust"), "{}", back.out);
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: a node that dies is left, finalize waits for a word about it, and with that word it goes on without it.
fn a_dead_node_is_left_behind(fleet: fn(&str) -> Fleet) {
    let untouched = fleet("1+2");
    untouched.ends(&with("rotate", &[]), 0);
    let log = untouched.stand.stage().faults.log.clone();
    let at = log.iter().position(|change| change.starts_with('w') && change.ends_with("/kubelet.conf"));
    let at = at.expect("a node's old files are put aside");

    let fleet = fleet("1+2");
    fleet.stand.stage().faults.plan.insert(at as u64 + 1, Fault::PowerCut(None));
    let mut said = fleet.k(&with("rotate", &[]));
    if said.code == Some(3) {
        // The hold may find that it is dead before its step does.
        assert!(said.out.contains("host-unreachable"), "{}", said.out);
        said = fleet.k(&["resume"]);
    }
    assert_eq!(said.code, Some(7), "{said:?}");
    let dead = fleet.stand.stage().faults.log[at].split(' ').next().expect("its host").to_owned();
    assert!(said.out.contains(&format!("left: {dead}")), "{}", said.out);
    assert_eq!(fleet.listed()["left"], serde_json::json!([dead]));
    assert!(said.out.contains(&format!("k0rotate rejoin {dead}")), "{}", said.out);
    fleet.ends(&["resume"], 7);
    let said = fleet.ends(&with("finalize", &[]), 3);
    assert!(said.out.contains("stuck"), "{}", said.out);
    let shown = fleet.ends(&["show"], 0);
    assert!(shown.out.contains("leave-behind HOST"), "{}", shown.out);
    let left_at =
        |out: &str| out.lines().find(|line| line.contains("  left  ")).map(str::to_owned).expect("it was left");
    fleet.ends(&with("leave-behind", &[&dead]), 0);
    assert_eq!(
        left_at(&fleet.ends(&["show"], 0).out),
        left_at(&shown.out),
        "a word after it changes nothing of when it was left"
    );
    let listed = fleet.ends(&["list"], 0).out;
    assert!(
        listed.lines().any(|line| line.contains("LEFT")) && listed.lines().any(|line| line.contains(&dead)),
        "{listed}"
    );
    // What the word destroys is told once more, and confirmed.
    let asked = fleet.ends(&["resume"], 1);
    assert!(
        asked.err.contains("are destroyed for good: no way back") && asked.err.contains("error[K0R-0302]"),
        "{asked:?}"
    );
    let said = fleet.ends(&with("resume", &[]), 7);
    assert!(said.out.contains("completed"), "{}", said.out);
    let history = fleet.ends(&["history"], 0).out;
    for line in
        [format!("StepLeft           rejoin/rejoin-node@{dead}: host-unreachable host={dead}"), "LeftBehind".to_owned()]
    {
        assert!(history.contains(&line), "{line}: {history}");
    }
}

/// Goal: a host that answers is not left behind from the start: a controller would lead on with the old trust, and nobody could come in.
fn who_answers_is_not_left_behind_from_the_start(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("3+2");
    for verb in ["plan", "rotate"] {
        let sure: &[&str] = if verb == "plan" { &[] } else { &["--yes", "--reason", "a test"] };
        let said = fleet.k(&[&[verb, "--leave-behind", "c1"], sure].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.text().contains("host-answers") && said.text().contains("c1"), "{said:?}");
    }
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}

/// Goal: an exported history is checked without a store, and a changed byte of it is found.
fn evidence_is_exported_and_checked(fleet: fn(&str) -> Fleet) {
    let fleet = fleet("1+0");
    fleet.ends(&with("rotate", &[]), 0);
    fleet.ends(&["export", "--to", "evidence"], 0);
    let said = fleet.ends(&["verify", "evidence"], 0);
    assert!(said.out.contains("chain whole"), "{}", said.out);
    let file = fleet.stand.dir().parent().expect("it lies in a folder").join("evidence/history.jsonl");
    let text = std::fs::read_to_string(&file).expect("it was exported");
    assert!(text.contains("CHG-4711"));
    std::fs::write(&file, text.replacen("CHG-4711", "CHG-4712", 1)).expect("it is ours");
    let said = fleet.ends(&["verify", "evidence"], 8);
    assert!(said.err.contains("error[K0R-0602]"), "{}", said.err);
}

/// Goal: an identity that does not open what was sealed is refused before anything is changed, whichever way is asked for.
#[test]
fn another_identity_is_refused() {
    let fleet = Fleet::new("1+1");
    fleet.ends(&with("rotate", &[]), 0);
    std::fs::remove_file(fleet.stand.dir().join("identity")).expect("it is ours");
    fleet.ends(&["keys", "new"], 0);
    let (events, changes) = (fleet.listed()["events"].clone(), fleet.stand.stage().faults.changes);
    for verb in [with("rollback", &[]), with("finalize", &[]), vec!["resume"]] {
        let said = fleet.ends(&verb, 2);
        assert!(said.err.contains("error[K0R-0104]") && said.err.contains("nothing was changed"), "{}", said.err);
    }
    assert_eq!((fleet.listed()["events"].clone(), fleet.stand.stage().faults.changes), (events, changes));
}

/// Goal: a fleet that is gone, and hosts that cannot be driven together, are said so; nothing starts.
#[test]
fn a_fleet_must_be_there_and_be_one() {
    let fleet = Fleet::new("1+1");
    let file = fleet.stand.dir().join("k0sctl.yaml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    let two = text.replacen("/world", "/another", 1);
    std::fs::write(&file, &two).expect("it is ours");
    let said = fleet.ends(&with("rotate", &[]), 2);
    assert!(said.err.contains("the same `rehearsal` socket"), "{}", said.err);
    std::fs::write(&file, text.replace("/world", "/another")).expect("it is ours");
    let said = fleet.ends(&with("rotate", &[]), 1);
    assert!(said.err.contains("error[K0R-0201]") && said.err.contains("demo --shell"), "{}", said.err);
}
