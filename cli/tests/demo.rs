//! The demo as a new user runs it, and its picture in the README.

mod picture;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn demo(state: &Path, hosts: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(["demo", "--hosts", hosts, "--state-dir"]).arg(state);
    command.output().expect("the binary runs")
}

/// Goal: it rotates, says so, and leaves a report that holds the proof.
#[test]
fn it_rotates_and_reports() {
    let state = tempfile::tempdir().unwrap();
    let output = demo(state.path(), "1+1");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let line = out.lines().find(|l| l.starts_with("Report: ")).expect("it says where the report is");
    let report = std::fs::read_to_string(&line["Report: ".len()..]).unwrap();
    assert!(report.contains("| admin-certificate | c1 | refused | accepted |"), "{report}");
    assert!(report.contains("| kubernetes-ca | c1 |"), "{report}");
}

/// Goal: a fleet that cannot be is a usage error, before anything is made.
#[test]
fn a_wrong_fleet_is_refused() {
    let state = tempfile::tempdir().unwrap();
    for hosts in ["0+2", "3", "x+y", "9+1"] {
        let output = demo(state.path(), hosts);
        assert_eq!(output.status.code(), Some(2), "{hosts}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error[K0R-0101]"), "{hosts}");
    }
}

/// Goal: the picture shows what the demo prints today. `K0ROTATE_UPDATE=1` draws it anew.
#[test]
fn the_picture_is_of_today() {
    let state = tempfile::tempdir().unwrap();
    let output = demo(state.path(), "3+2");
    let mut lines = vec!["$ k0rotate demo".to_owned()];
    for text in [&output.stderr, &output.stdout] {
        lines.extend(String::from_utf8_lossy(text).lines().map(steady));
    }
    let svg = picture::terminal("k0rotate demo", &lines);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/demo.svg");
    if std::env::var_os("K0ROTATE_UPDATE").is_some() {
        std::fs::write(&path, &svg).unwrap();
    }
    let drawn = std::fs::read_to_string(&path).expect("docs/demo.svg is there");
    assert!(drawn == svg, "docs/demo.svg is stale: run K0ROTATE_UPDATE=1 cargo test -p k0rotate --test demo");
}

/// What differs from run to run by nature: where the report and the program lie, the order in which hosts of a group end, and tenths of seconds.
fn steady(line: &str) -> String {
    if line.starts_with("Report: ") {
        return "Report: ~/.local/state/k0rotate/demo/01…/report.md".to_owned();
    }
    if line.trim().starts_with("alias k0rotate=") {
        return "  alias k0rotate=$PWD/target/release/k0rotate".to_owned();
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    if let Some(at) = words.windows(2).position(|w| w[1] == "s" && w[0].contains('.')) {
        words[at] = words[at].split('.').next().unwrap_or_default();
    }
    sorted_hosts(&words.join(" "))
}

/// The run of host names in a line, sorted.
fn sorted_hosts(line: &str) -> String {
    let host = |w: &str| {
        w == "cluster" || (w.len() == 2 && w.starts_with(['c', 'w']) && w.ends_with(|c: char| c.is_ascii_digit()))
    };
    let mut words: Vec<&str> = line.split(' ').collect();
    let at: Vec<usize> = (0..words.len()).filter(|i| host(words[*i])).collect();
    let mut names: Vec<&str> = at.iter().map(|i| words[*i]).collect();
    names.sort_unstable();
    at.into_iter().zip(names).for_each(|(i, name)| words[i] = name);
    words.join(" ")
}
