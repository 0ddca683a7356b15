//! `demo --chaos` as a process: killed at points drawn from a seed, it ends as an undisturbed run does.

use std::process::Command;

fn chaos(hosts: &str, seed: u64) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_k0rotate"))
        .args(["demo", "--hosts", hosts, "--chaos", &seed.to_string(), "--state-dir"])
        .arg(state.path())
        .output()
        .expect("the program starts");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("Seed {seed}: killed ")) && said.contains(": killed\n"), "{said}");
    let left = std::fs::read_dir(state.path().join("demo")).expect("the folder of demos").count();
    assert_eq!(left, 0, "what agreed is taken away");
}

/// Goal: each seed ends as undisturbed: one in the fast tier, a dozen usually, 200 in the full one.
#[test]
fn seeds_end_as_undisturbed() {
    let seeds = match std::env::var("K0ROTATE_TIER").as_deref() {
        Ok("fast") => 7..=7,
        Ok("full") => 1..=200,
        _ => 1..=8,
    };
    seeds.for_each(|seed| chaos("1+1", seed));
}

/// Goal: so they do on three controllers and two workers; among them 12 and 13, which once kept a controller held for ever, and 6, after
/// which a key was not kept.
#[test]
fn seeds_end_as_undisturbed_on_three_and_two() {
    let seeds: Vec<u64> = match std::env::var("K0ROTATE_TIER").as_deref() {
        Ok("fast") => return,
        Ok("full") => (1..=200).collect(),
        _ => vec![6, 11, 12, 13, 14],
    };
    seeds.into_iter().for_each(|seed| chaos("3+2", seed));
}
