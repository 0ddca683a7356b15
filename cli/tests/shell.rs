//! `demo --shell` as a process: what it prints works, and it ends when it is told to.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Goal: with the words that it prints a cluster is rotated and brought back from another process, also without a host that died just now
/// and that is let in again later; SIGTERM ends it cleanly.
#[test]
fn it_stands_until_it_is_told() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut shell = Command::new(env!("CARGO_BIN_EXE_k0rotate"))
        .args(["demo", "--shell", "--hosts", "1+2", "--state-dir"])
        .arg(state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(shell.stdout.take().expect("it was piped")).lines();
    let alias = lines.find_map(|line| line.ok()?.trim().strip_prefix("alias k='").map(str::to_owned));
    let alias = alias.expect("it prints how to reach it");
    let k = |words: &str| {
        let line = format!("{} {words}", alias.trim_end_matches('\''));
        let output = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().expect("a shell starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut words = shell.stdin.take().expect("it was piped");
    let mut hand = |word: &str, answer: &str| {
        writeln!(words, "{word}").expect("it reads on");
        let said = lines.by_ref().find_map(|line| line.ok()?.strip_prefix("· ").map(str::to_owned));
        assert_eq!(said.as_deref(), Some(answer), "{word}");
    };
    hand("pace 0", "as fast as it goes");
    assert_eq!(k("rotate --yes --reason try").0, Some(0));
    assert_eq!(k("rollback --yes --reason try").0, Some(0));
    assert!(k("report").1.contains("Rolled back"));

    hand("off w2", "w2 has no power");
    assert_eq!(k("rotate --yes --leave-behind w2").0, Some(7));
    assert_eq!(k("rollback --yes").0, Some(0), "it has the first trust still");
    assert_eq!(k("rotate --yes --leave-behind w2").0, Some(7));
    hand("on w2", "w2 boots as time passes");
    hand("pass 60", "60 s have passed");
    assert_eq!(k("rejoin w2 --yes").0, Some(0));
    assert_eq!(k("finalize --yes").0, Some(0));

    let told = Command::new("kill").args(["-TERM", &shell.id().to_string()]).status().expect("kill is there");
    assert!(told.success());
    let last = lines.map_while(Result::ok).last().expect("it says good-bye");
    assert!(last.contains("The fleet is gone, and its folder with it"), "{last}");
    assert!(shell.wait().expect("it was started").success());
    let left = std::fs::read_dir(state.path().join("demo")).expect("the folder of demos").count();
    assert_eq!(left, 0, "no identity and no history is left lying");
    assert_eq!(k("list -o json").0, Some(2), "nothing is there any more");
}
