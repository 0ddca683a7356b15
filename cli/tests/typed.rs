//! The command line as it is typed: exit statuses, what is said, and that a refusal changes nothing. No machine is needed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SINGLE: &str = "apiVersion: k0sctl.k0sproject.io/v1beta1
kind: Cluster
metadata: {name: lonely}
spec:
  hosts:
    - role: single
      ssh: {address: 127.0.0.1, port: 1}
";

/// A home with an inventory whose one host nobody can reach.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(home.path().join("k0sctl.yaml"), SINGLE).expect("it is ours");
    home
}

fn k0rotate(home: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    command.args(args).env_clear().env("HOME", home).env("USER", "alice").env("PATH", "/usr/bin:/bin");
    let Output { status, stdout, stderr } =
        command.current_dir(home).stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

#[test]
fn an_identity_is_made_once() {
    // Goal: a second `keys new` never overwrites what may be the only key to sealed copies.
    let home = home();
    let (code, out, _) = k0rotate(home.path(), &["keys", "new"]);
    assert_eq!((code, out.starts_with("age1")), (0, true), "{out}");
    let file = home.path().join(".config/k0rotate/identity");
    let first = std::fs::read(&file).expect("it is there");
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let (code, out, err) = k0rotate(home.path(), &["keys", "new"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("error[K0R-0103]") && err.contains("nothing was changed"), "{err}");
    assert_eq!(std::fs::read(&file).expect("it is there"), first);
}

#[test]
fn a_wrong_inventory_is_named_by_file_and_line() {
    // Goal: usage and configuration are exit status 2, and the place is found.
    let home = home();
    std::fs::write(home.path().join("k0sctl.yaml"), SINGLE.replace("role:", "rolle:")).expect("it is ours");
    let (code, _, err) = k0rotate(home.path(), &["list", "-c", "k0sctl.yaml"]);
    assert_eq!(code, 2);
    assert!(err.contains("k0sctl.yaml:6: k0sctl knows no key spec.hosts[].rolle"), "{err}");
    assert!(err.contains("did you mean `role`?"), "{err}");
}

#[test]
fn nothing_to_look_at_is_said_so() {
    // Goal: a cluster that was never rotated has an empty list, and no execution to show.
    let home = home();
    let (code, out, _) = k0rotate(home.path(), &["list", "-o", "json"]);
    assert_eq!((code, out.trim()), (0, "[]"));
    let (code, _, err) = k0rotate(home.path(), &["show"]);
    assert_eq!(code, 1);
    assert!(err.contains("error[K0R-0401]"), "{err}");
}

#[test]
fn without_a_terminal_a_rotation_wants_yes() {
    // Goal: nothing starts by accident; the store stays empty.
    let home = home();
    k0rotate(home.path(), &["keys", "new"]);
    let (code, _, err) = k0rotate(home.path(), &["rotate"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[K0R-0302]"), "{err}");
    let (code, out, _) = k0rotate(home.path(), &["list", "-o", "json"]);
    assert_eq!((code, out.trim()), (0, "[]"));
}

#[test]
fn without_an_identity_nothing_starts() {
    // Goal: a rotation whose keys could not be opened again is refused before anything.
    let home = home();
    let (code, _, err) = k0rotate(home.path(), &["rotate", "--yes"]);
    assert_eq!(code, 2);
    assert!(err.contains("error[K0R-0104]"), "{err}");
}

#[test]
fn a_host_that_nobody_reaches_ends_it() {
    // Goal: nothing was changed yet, so it ends by itself at the first trust (exit status 4) and says why; the next one may begin.
    let home = home();
    k0rotate(home.path(), &["keys", "new"]);
    let (code, out, err) = k0rotate(home.path(), &["rotate", "--yes", "--reason", "CHG-4711"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("host-unreachable"), "{out}{err}");
    let (code, out, _) = k0rotate(home.path(), &["list", "-o", "json"]);
    assert!(code == 0 && out.contains("\"cluster\": \"lonely\"") && out.contains("\"down_since\": null"), "{out}");
    let (code, out, _) = k0rotate(home.path(), &["report"]);
    assert_eq!(code, 0);
    assert!(out.contains("CHG-4711") && out.contains("alice@"), "{out}");
    assert_eq!(k0rotate(home.path(), &["resume"]).0, 4, "it has ended");
    assert_eq!(k0rotate(home.path(), &["rotate", "--yes"]).0, 4);
    let (code, out, _) = k0rotate(home.path(), &["history"]);
    assert!(code == 0 && out.contains("RolledBack"), "{out}");
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    // Goal: `k0rotate completion bash | head` ends as if it had been read to its end.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    let ended = command.args(["completion", "bash"]).stdout(writer).output().expect("the binary runs");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn what_was_mistyped_is_refused_before_anything() {
    // Goal: a flag that was to keep something from happening is never taken for one that means nothing.
    let home = home();
    k0rotate(home.path(), &["keys", "new"]);
    let cases: &[(&[&str], &str)] = &[
        (&["--leave-behind", "nobody"], "no host is called nobody"),
        (&["--allow", "nonsense"], "the checks that can be allowed are backup clock-skew version"),
        (&["--max-outage", "500ms"], "shorter than 10 s"),
        (&["--max-outage", "soon"], "is no duration"),
        (&["--not-before", "2030-01-01T00:00:00Z", "--not-after", "2029-01-01T00:00:00Z"], "no such window"),
        (&["--not-after", "2020-01-01T00:00:00Z"], "--not-after lies in the past"),
        (&["--reboot", "--reboot-at-once", "0"], "0"),
        (&["--concurrency", "0"], "not a number from 1 to 64"),
        (&["--concurrency", "65"], "not a number from 1 to 64"),
    ];
    for (flags, wanted) in cases {
        let (code, _, err) = k0rotate(home.path(), &[&["rotate", "--yes"], *flags].concat());
        assert!(code == 2 && err.contains(wanted), "{flags:?}: {code} {err}");
    }
    let (_, out, _) = k0rotate(home.path(), &["list", "-o", "json"]);
    assert_eq!(out.trim(), "[]");
}

#[test]
fn what_is_no_folder_or_no_inventory_is_said_so() {
    // Goal: a file where a folder is wanted, a device without an end and a host named twice are usage, told by their place.
    let home = home();
    let (code, _, err) = k0rotate(home.path(), &["list", "--state-dir", "k0sctl.yaml"]);
    assert!(code == 2 && err.contains("error[K0R-0103]: k0sctl.yaml: is no folder"), "{code} {err}");
    let (code, _, err) = k0rotate(home.path(), &["show", "-c", "/dev/zero"]);
    assert!(code == 2 && err.contains("error[K0R-0103]: /dev/zero: is larger than"), "{code} {err}");
    let twice = format!("{SINGLE}    - role: worker\n      ssh: {{address: 127.0.0.1, port: 1}}\n");
    std::fs::write(home.path().join("k0sctl.yaml"), twice).expect("it is ours");
    let (code, _, err) = k0rotate(home.path(), &["show"]);
    assert!(code == 2 && err.contains("k0sctl.yaml:8: another host has the same name and address"), "{code} {err}");
    assert!(err.contains("role: worker") && !err.contains("apiVersion"), "{err}");
}

#[test]
fn a_name_leads_nowhere_else() {
    // Goal: whatever a cluster is called, its store lies in a folder of its own below the state folder.
    let home = home();
    k0rotate(home.path(), &["keys", "new"]);
    let state = home.path().join("state");
    for name in ["..", "a/b", "a_b"] {
        std::fs::write(home.path().join("k0sctl.yaml"), SINGLE.replace("lonely", &format!("\"{name}\"")))
            .expect("it is ours");
        let state = state.to_str().expect("UTF-8");
        let (code, _, err) = k0rotate(home.path(), &["rotate", "--yes", "--state-dir", state]);
        assert_eq!(code, 4, "{name}: {err}");
    }
    let mut found: Vec<String> = std::fs::read_dir(&state)
        .expect("it was made")
        .map(|entry| entry.expect("it is ours").file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, ["%2E%2E", "a%2Fb", "a_b"]);
}
