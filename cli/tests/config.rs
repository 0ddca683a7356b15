//! The configuration as its operator meets it: clusters by name, values with their origin, and all that is wrong with its place.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::{Fleet, Said};
use std::path::Path;
use std::process::{Command, Stdio};

/// A fleet called blue in a configuration whose inventory has a variable.
fn configured() -> (Fleet, tempfile::TempDir) {
    let fleet = Fleet::new("1+0");
    let home = tempfile::tempdir().expect("a temporary folder");
    let text = std::fs::read_to_string(fleet.stand.dir().join("k0sctl.yaml")).expect("it was written");
    let world = serde_json::Value::from(fleet.stand.dir().join("world").display().to_string()).to_string();
    write(home.path(), "etc/clusters/blue/k0sctl.yaml", &text.replace(&world, "${WORLD}"));
    write(home.path(), "etc/env", &format!("WORLD={world}\n"));
    let identity = fleet.stand.dir().join("identity").display().to_string();
    let main = format!("state_dir = \"../state\"\nidentity = \"{identity}\"\nenvironment = \"env\"\n");
    write(home.path(), "etc/config.toml", &main);
    write(home.path(), "etc/clusters/blue.toml", "inventory = \"blue/k0sctl.yaml\"\nroots = [\"service-account\"]\n");
    (fleet, home)
}

fn write(home: &Path, name: &str, text: &str) {
    let file = home.join(name);
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("it is ours");
    std::fs::write(file, text).expect("it is ours");
}

fn typed(home: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(words).env_clear().env("HOME", home).env("USER", "alice").env("PATH", "/usr/bin:/bin");
    command.env("WORLD", "/nowhere").env("K0ROTATE_CONFIG_DIR", home.join("etc"));
    command.current_dir(home).stdin(Stdio::null()).output().expect("the program starts").into()
}

fn ends(home: &Path, words: &[&str], code: i32) -> Said {
    let said = typed(home, words);
    assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
    said
}

/// Goal: a configured cluster is rotated by its name alone, with what is set for it: variables of the environment file (the shell's are another world), identity, folder of event logs, roots; a flag wins.
#[test]
fn a_configured_cluster_is_meant_by_its_name() {
    let (_fleet, home) = configured();
    let home = home.path();
    let plan: Value = serde_json::from_str(&ends(home, &["plan", "blue", "-o", "json"], 0).out).expect("it is JSON");
    assert_eq!((&plan["cluster"], &plan["roots"]), (&"blue".into(), &serde_json::json!(["service-account"])));
    let by_flag = ends(home, &["plan", "blue", "--roots", "kubernetes-ca", "-o", "json"], 0);
    assert!(by_flag.out.contains("\"kubernetes-ca\""), "{by_flag:?}");
    let rotated = ends(home, &["rotate", "blue", "--yes"], 0);
    assert!(rotated.out.starts_with("blue "), "{rotated:?}");
    assert!(home.join("state/blue/anchor").is_file(), "its event log is where the configuration says");
    assert!(ends(home, &["show", "blue"], 0).out.contains("waits for finalize"));
    ends(home, &["finalize", "blue", "--yes"], 0);
    ends(home, &["rotate", "green", "--yes"], 2);
}

/// Goal: the configured file may be named as well; another file with the cluster's name is refused, and so is a folder that is not there.
#[test]
fn a_cluster_has_one_inventory() {
    let (_fleet, home) = configured();
    let home = home.path();
    let own = "etc/clusters/blue/k0sctl.yaml";
    assert!(ends(home, &["plan", "-c", own, "-o", "json"], 0).out.contains("\"cluster\": \"blue\""));
    let text = std::fs::read_to_string(home.join(own)).expect("it was written");
    write(home, "mine.yaml", &text.replace("name: rehearsal", "name: blue"));
    let refused = ends(home, &["rotate", "-c", "mine.yaml", "--yes"], 2);
    assert!(refused.err.contains("blue is configured with another file"), "{refused:?}");
    let refused = ends(home, &["list", "--config-dir", "nowhere"], 2);
    assert!(refused.err.contains("error[K0R-0103]: nowhere: is no folder"), "{refused:?}");
}

/// Goal: each value has its origin: flag, environment, file and line, default.
#[test]
fn values_have_origins() {
    let (_fleet, home) = configured();
    let home = home.path();
    let shown = ends(home, &["config", "show", "-o", "json", "--concurrency", "7"], 0);
    let shown: Value = serde_json::from_str(&shown.out).expect("it is JSON");
    let from = |key: &str| {
        let all = shown["values"].as_array().expect("a list");
        let row = all.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {shown}"));
        (row["value"].as_str().expect("a text").to_owned(), row["from"].as_str().expect("a text").to_owned())
    };
    assert_eq!(from("concurrency"), ("7".to_owned(), "--concurrency".to_owned()));
    assert_eq!(from("max_outage"), ("5m".to_owned(), "default".to_owned()));
    assert!(from("roots").0 == "service-account" && from("roots").1.ends_with("clusters/blue.toml:2"), "{shown}");
    assert!(from("identity").1.ends_with("config.toml:2"), "the file for all: {shown}");
    assert!(from("state_dir").1.ends_with("config.toml:1"), "{shown}");
    assert!(ends(home, &["config", "show"], 0).out.contains("clusters/blue.toml:1"));
}

/// Goal: `config check` says all that is wrong at once, with file and line, also in what the files name; a verb on a broken configuration does nothing.
#[test]
fn all_that_is_wrong_is_said() {
    let (fleet, home) = configured();
    let home = home.path();
    assert!(ends(home, &["config", "check"], 0).out.contains("ok: 1 cluster"));
    write(home, "etc/clusters/red.toml", "inventory = \"red.yaml\"\n[ssh]\nidentity = \"missing\"\n");
    let said = ends(home, &["config", "check"], 2).err;
    assert!(said.contains("error[K0R-0107]") && said.contains("red.yaml: No such file"), "{said}");
    assert!(said.contains("clusters/red.toml:3: `ssh.identity`: "), "{said}");
    write(home, "etc/clusters/red.toml", "inventroy = \"red.yaml\"\n");
    write(home, "etc/config.toml", "concurrency = 0\n");
    let said = ends(home, &["config", "check"], 2).err;
    assert!(said.contains("clusters/red.toml:1: unknown key `inventroy`; is `inventory` meant?"), "{said}");
    assert!(said.contains("config.toml:1: `concurrency` takes a number from 1 to 64"), "{said}");
    let said = ends(home, &["rotate", "blue", "--yes"], 2).err;
    assert!(said.contains("error[K0R-0107]") && said.contains("nothing was changed"), "{said}");
    assert_eq!(fleet.stand.stage().faults.changes, 0);
    ends(home, &["version"], 0);
}

/// Goal: a cluster with windows is stopped in the next one that has room, in its time zone; a window that is asked for stands before it.
#[test]
fn a_cluster_waits_for_its_window() {
    let (fleet, home) = configured();
    let home = home.path();
    // There it is noon on a Tuesday, in UTC; in Berlin it is 13:00.
    let file = "inventory = \"blue/k0sctl.yaml\"\n[window]\nat = \"daily 11:00-13:01,\"\nzone = \"Mars\"\n";
    write(home, "etc/clusters/blue.toml", file);
    let said = ends(home, &["rotate", "blue", "--yes"], 2).err;
    assert!(
        said.contains("blue.toml:3: `window.at` takes") && said.contains("blue.toml:4: `window.zone` takes"),
        "{said}"
    );
    let file = file.replace("13:01,", "13:01").replace("Mars", "Europe/Berlin");
    write(home, "etc/clusters/blue.toml", &file);
    let planned = ends(home, &["plan", "blue"], 0).out;
    assert!(planned.contains("they are expected to be at 2026-11-25T10:00:00Z"), "a minute is too little: {planned}");
    let rotated = ends(home, &["rotate", "blue", "--yes"], 0);
    assert!(
        rotated.err.contains("window      the controllers are stopped not before 2026-11-25T10:00:00Z"),
        "{rotated:?}"
    );
    let history = ends(home, &["history", "blue", "-o", "json"], 0).out;
    let history: Vec<Value> = serde_json::from_str(&history).expect("it is JSON");
    let down = |one: &&Value| one["event"]["ZoneEntered"]["zone"]["Down"].is_object();
    let at = history.iter().find(down).expect("the API was away")["time"].as_u64().expect("a time");
    let tomorrow = 1_795_600_800_000;
    assert!((tomorrow..tomorrow + 60_000).contains(&at), "it is stopped at 10:00 UTC of the next day, not at {at}");
    drop(fleet);

    let (_fleet, home) = configured();
    write(home.path(), "etc/clusters/blue.toml", &file);
    let asked = ["rotate", "blue", "--yes", "--not-after", "2026-11-24T12:30:00Z"];
    ends(home.path(), &asked, 0);
}
