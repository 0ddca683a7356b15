//! Several clusters in the files of one command: one is named, or all are inspected.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::{Fleet, Said};
use std::path::Path;
use std::process::{Command, Stdio};

/// Two fleets, called blue and green, and a folder with an inventory of each.
fn two() -> (Fleet, Fleet, tempfile::TempDir) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let [blue, green] = ["blue", "green"].map(|name| {
        let fleet = Fleet::new("1+0");
        let text = std::fs::read_to_string(fleet.stand.dir().join("k0sctl.yaml")).expect("it was written");
        let text = text.replace("name: rehearsal", &format!("name: {name}"));
        std::fs::write(home.path().join(format!("{name}.yaml")), text).expect("it is ours");
        fleet
    });
    (blue, green, home)
}

fn typed(home: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(words).env_clear().env("HOME", home).env("USER", "alice").env("PATH", "/usr/bin:/bin");
    command.current_dir(home).stdin(Stdio::null()).output().expect("the program starts").into()
}

fn ends(home: &Path, words: &[&str], code: i32) -> Said {
    let said = typed(home, words);
    assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
    said
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).expect("it prints JSON")
}

/// Goal: of several clusters the one that is named is inspected, planned, rotated by the command that the plan prints, and brought back by the execution's id; a name that is not there, and no name, are usage errors.
#[test]
fn one_of_several_is_named() {
    let (blue, green, home) = two();
    let (home, both) = (home.path(), ["-c", "*.yaml"]);
    let unnamed = ends(home, &[&["inspect"], &both[..]].concat(), 2);
    assert!(unnamed.err.contains("several clusters: blue green"), "{unnamed:?}");
    let wrong = ends(home, &[&["plan", "red"], &both[..]].concat(), 2);
    assert!(wrong.err.contains("no cluster is called red; the inventory has blue green"), "{wrong:?}");
    let wrong = ends(home, &["rotate", "green", "--yes", "-c", "blue.yaml"], 2);
    assert!(wrong.err.contains("no cluster is called green; the inventory has blue"), "{wrong:?}");
    assert!(ends(home, &[&["inspect", "green"], &both[..]].concat(), 0).out.starts_with("green · "));

    ends(home, &["keys", "new"], 0);
    let plan = json(&ends(home, &[&["plan", "green", "-o", "json"], &both[..]].concat(), 0));
    let go_on = plan["go_on"].as_str().expect("nothing speaks against it");
    assert!(go_on.starts_with("k0rotate rotate green -c '*.yaml' --plan "), "{go_on}");
    let words: Vec<&str> = go_on.split(' ').skip(1).map(|word| word.trim_matches('\'')).chain(["--yes"]).collect();
    let rotated = ends(home, &words, 0);
    assert_eq!((blue.stand.stage().faults.changes, green.stand.stage().faults.changes > 0), (0, true));
    let id = rotated.out.split(' ').nth(1).expect("the execution").trim_end_matches(':');
    let planned = ends(home, &[&["plan", "--rollback", id], &both[..]].concat(), 0);
    assert!(planned.out.contains(id), "{planned:?}");
    ends(home, &[&["rollback", id, "--yes"], &both[..]].concat(), 0);
    assert_eq!(green.differs_from_first(), Vec::<String>::new());
}

/// Goal: pods that mount the CA and were not restarted since it was replaced are told by their owner, with status 8; refreshed ones are not.
#[test]
fn pods_that_hold_the_retired_ca_are_told() {
    let fleet = Fleet::new("1+1");
    let stale = |code: i32| json(&fleet.ends(&["inspect", "--stale-pods", "-o", "json"], code))["stale_pods"].clone();
    let never = stale(0);
    assert!(never["execution"].is_null() && never["pods"].as_object().expect("a map").is_empty(), "{never}");
    fleet.ends(&["rotate", "--yes", "--refresh", "none"], 0);
    let kept = stale(8);
    let owners: Vec<&String> = kept["pods"].as_object().expect("a map").keys().collect();
    assert!(owners.iter().any(|owner| owner.starts_with("kube-system/")), "{kept}");
    assert!(!owners.iter().any(|owner| owner.contains("konnectivity-agent")), "agents were restarted: {kept}");

    let fleet = Fleet::new("1+1");
    fleet.ends(&["rotate", "--yes", "--refresh", "all"], 0);
    let all = json(&fleet.ends(&["inspect", "--stale-pods", "-o", "json"], 0))["stale_pods"].clone();
    assert!(all["since"].is_string() && all["pods"].as_object().expect("a map").is_empty(), "{all}");
}

/// Goal: all are inspected, and one that nobody reaches hides no other; 8 where one differs, 1 where one could not be looked at.
#[test]
fn all_are_inspected() {
    let (blue, green, home) = two();
    let all = ["inspect", "--all", "-c", "*.yaml", "-o", "json"];
    let names = |said: &Said| -> Vec<String> {
        let all = json(said);
        let all = all.as_array().expect("a list").iter();
        all.map(|found| found["cluster"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(names(&ends(home.path(), &all, 0)), ["blue", "green"]);
    assert_eq!(names(&ends(home.path(), &[&all[..], &["--expires-within", "30y"]].concat(), 8)), ["blue", "green"]);
    blue.stand.stage().world.power_off("c1");
    assert_eq!(names(&ends(home.path(), &all, 1)), ["blue", "green"]);
    drop(green);
    ends(home.path(), &["inspect", "blue", "--all", "-c", "*.yaml"], 2);
}
