//! What is printed to go on with: commands that work as they are copied, and executions that are found without their inventory.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use serde_json::Value;
use stand::{Fleet, Said};
use std::path::Path;
use std::process::{Command, Stdio};

/// A line as it was printed, in a shell that stands elsewhere.
fn copied(line: &str) -> Said {
    let binary = k0rotate::commands::quoted(env!("CARGO_BIN_EXE_k0rotate"));
    let line = line.trim().replacen("k0rotate", &binary, 1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_remove("K0ROTATE_IDENTITY").env_remove("K0ROTATE_STATE_DIR").env("USER", "alice");
    shell.current_dir("/").stdin(Stdio::null()).output().expect("a shell starts").into()
}

/// The line of a text in which this verb stands ready.
fn command<'a>(text: &'a str, verb: &str) -> &'a str {
    let wanted = format!("k0rotate {verb} ");
    let at = text.find(&wanted).unwrap_or_else(|| panic!("{wanted} is not in {text}"));
    text[at..].lines().next().expect("it begins a line")
}

/// Goal: every next step of a rotation, of `show`, `list`, `watch` and of an error works as it is copied, in another folder.
#[test]
fn next_steps_work_as_they_are_copied() {
    let fleet = Fleet::new("1+0");
    let rotated = fleet.ends(&["rotate", "--yes"], 0);
    for verb in ["report", "finalize", "rollback"] {
        let id = fleet.listed()["execution"].as_str().expect("a text").to_owned();
        assert!(command(&rotated.out, verb).contains(&id), "{}", rotated.out);
    }
    assert_eq!(copied(command(&rotated.err, "show")).code, Some(0));
    assert!(copied(command(&rotated.out, "report")).out.contains("# Change record"));
    let listed = fleet.ends(&["list"], 0);
    let watched = fleet.ends(&["watch"], 0);
    for text in [&listed.out, &watched.out] {
        let refused = copied(command(text, "finalize"));
        assert!(refused.err.contains("error[K0R-0302]"), "it is asked for, and nobody is there: {refused:?}");
    }
    let second = fleet.ends(&["rotate", "--yes"], 5);
    assert!(copied(command(&second.err, "report")).out.contains("waits for finalize"));
    let shown = fleet.ends(&["show"], 0);
    let back = copied(&format!("{} --yes", command(&shown.out, "rollback")));
    assert_eq!(back.code, Some(0), "{back:?}");
}

/// Two clusters whose one host nobody can reach, rotated in vain into one state folder; the folder.
fn two() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    for name in ["prod-1", "prod-2"] {
        let text = format!(
            "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nmetadata: {{name: {name}}}\nspec:\n  hosts:\n    - role: single\n      ssh: {{address: 127.0.0.1, port: 1}}\n"
        );
        std::fs::create_dir_all(home.path().join("inventories")).expect("it is ours");
        std::fs::write(home.path().join(format!("inventories/{name}.yaml")), text).expect("it is ours");
    }
    assert_eq!(typed(home.path(), &["keys", "new"]).code, Some(0));
    for name in ["prod-1", "prod-2"] {
        let file = format!("inventories/{name}.yaml");
        assert_eq!(typed(home.path(), &["rotate", "--yes", "--reason", name, "-c", &file]).code, Some(4));
    }
    home
}

fn typed(home: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(words).env_clear().env("HOME", home).env("USER", "alice").env("PATH", "/usr/bin:/bin");
    command.current_dir(home).stdin(Stdio::null()).output().expect("the program starts").into()
}

fn listed(home: &Path, words: &[&str]) -> Vec<(String, String)> {
    let said = typed(home, &[&["list", "-o", "json"], words].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let rows: Vec<Value> = serde_json::from_str(&said.out).expect("it prints JSON");
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(row, "cluster"), text(row, "execution"))).collect()
}

/// Goal: without an inventory all executions of this machine are listed with their cluster, with one only its own; one that is named by id or cluster is read without an inventory; what needs an inventory says where it goes.
#[test]
fn executions_are_found_without_an_inventory() {
    let home = two();
    let all = listed(home.path(), &[]);
    assert_eq!(all.iter().map(|(cluster, _)| cluster.as_str()).collect::<Vec<_>>(), ["prod-1", "prod-2"]);
    assert_eq!(listed(home.path(), &["-c", "inventories/prod-2.yaml"]), all[1..]);
    let id = all[1].1.as_str();
    for words in [["show", id], ["show", "prod-2"], ["watch", id], ["history", id], ["report", id]] {
        let said = typed(home.path(), &words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
    }
    assert!(typed(home.path(), &["report", id]).out.contains("| why | prod-2 |"));
    assert_eq!(typed(home.path(), &["export", id, "--to", "evidence"]).code, Some(0));
    assert_eq!(typed(home.path(), &["verify", "evidence"]).code, Some(0));
    let both = typed(home.path(), &["show", &id[..2]]);
    assert!(both.code == Some(1) && both.err.contains(" of prod-1") && both.err.contains(" of prod-2"), "{both:?}");
    let unnamed = typed(home.path(), &["show"]);
    assert!(unnamed.code == Some(2) && unnamed.err.contains("name an execution"), "{unnamed:?}");
    assert_eq!(typed(home.path(), &["show", "01NONE"]).code, Some(1));
    let other = typed(home.path(), &["report", id, "-c", "inventories/prod-1.yaml"]);
    assert_eq!(other.code, Some(1), "an inventory that is given is heeded: {other:?}");
}
