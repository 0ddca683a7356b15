//! What a person is shown and asked at a terminal before a change: the program in a terminal of its own, on a rehearsal fleet.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate::commands::quoted;
use serde_json::Value;
use stand::Fleet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// A verb in a terminal (that of util-linux' `script`): each answer is typed once its question stands there. All that was shown, and the exit
/// status.
fn typed(fleet: &Fleet, words: &[&str], answers: &[(&str, &str)]) -> (String, Option<i32>) {
    let inner = fleet.command(words);
    let line = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<String> = line.map(|word| quoted(word.to_str().expect("it is UTF-8"))).collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &line.join(" "), "/dev/null"]).env_remove("K0ROTATE_IDENTITY").env("USER", "alice");
    let mut terminal = terminal
        .current_dir(inner.get_current_dir().expect("it was set"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there: Debian's bsdutils");
    let (mut keys, mut screen) =
        (terminal.stdin.take().expect("it was piped"), terminal.stdout.take().expect("it was piped"));
    let (mut shown, mut byte, mut answers) = (Vec::new(), [0], answers.iter());
    let (mut next, mut from) = (answers.next(), 0);
    while screen.read(&mut byte).expect("the terminal can be read") == 1 {
        shown.push(byte[0]);
        if let Some((question, answer)) = next
            && String::from_utf8_lossy(&shown[from..]).contains(question)
        {
            keys.write_all(format!("{answer}\r").as_bytes()).expect("it listens");
            (next, from) = (answers.next(), shown.len());
        }
    }
    let code = terminal.wait().expect("it was started").code();
    (String::from_utf8_lossy(&shown).into_owned(), code)
}

fn plan(fleet: &Fleet, words: &[&str]) -> Value {
    let said = fleet.ends(&[words, &["-o", "json"]].concat(), 0);
    serde_json::from_str(&said.out).expect("it prints JSON")
}

/// Whole seconds, rounded up, as they are shown.
fn about(ms: &Value) -> String {
    format!("{} s", ms.as_u64().expect("it is a number").div_ceil(1000))
}

const HOST: &str = "10.77.0.11";

/// Goal: before a rotation the API host, the cluster's UID, its hosts and Nodes and the forecast of `plan` are shown; the host typed and the reason, which becomes part of the record; a reason that was given is not asked for again.
#[test]
fn a_rotation_and_its_way_back() {
    let fleet = Fleet::new("1+1");
    let planned = plan(&fleet, &["plan"]);
    let (shown, code) =
        typed(&fleet, &["rotate"], &[("Type the API host (10.77.0.11) to go on", HOST), ("Why?", "CHG-4711")]);
    assert_eq!(code, Some(0), "{shown}");
    let forecast = &planned["forecast"]["forward"];
    for told in [
        format!(
            "https://{HOST}:6443 · kube-system uid {} · 2 hosts, 1 Node\r",
            planned["uid"].as_str().expect("it is")
        ),
        format!("the API is away for about {}", about(&forecast["api_down_ms"])),
        format!("{} until the control plane is verified (forecast", about(&forecast["down_ms"])),
        "rolls back by itself after 5 min".to_owned(),
    ] {
        assert!(shown.contains(&told), "{told} is not in {shown}");
    }
    assert_eq!(fleet.listed()["reason"], "CHG-4711");

    let events = fleet.listed()["events"].clone();
    let (shown, code) = typed(&fleet, &["rollback"], &[("Type the API host", "api.another.example")]);
    assert!(code == Some(1) && shown.contains("error[K0R-0302]") && !shown.contains("Why?"), "{code:?} {shown}");
    assert_eq!(fleet.listed()["events"], events, "nothing was recorded");
    let planned_back = plan(&fleet, &["plan", "--rollback", "rehearsal"]);
    let back = format!("the API is away for about {} once more", about(&planned_back["forecast"]["api_down_ms"]));
    let (shown, code) = typed(&fleet, &["rollback", "--reason", "INC-915"], &[("Type the API host", HOST)]);
    assert!(code == Some(0) && !shown.contains("Why?"), "{code:?} {shown}");
    assert!(shown.contains(&back) && shown.contains(planned["uid"].as_str().expect("it is")), "{back}: {shown}");
    assert!(fleet.ends(&["report"], 0).out.contains("INC-915"));
}

/// Goal: where no controller was stopped yet the way back says that nothing will be down; and before the end that there is no way back; no reason is an answer, too.
#[test]
fn a_way_back_from_where_it_stands_and_the_end() {
    use k0rotate_activities::rehearsal::stage::faults::Fault;
    let fleet = Fleet::new("1+0");
    fleet.killed_at(&["rotate", "--yes"], 4, Fault::CrashBefore);
    let (shown, code) = typed(&fleet, &["rollback"], &[("Type the API host", HOST), ("Why?", "")]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("none: no controller was stopped yet"), "{shown}");

    fleet.ends(&["rotate", "--yes"], 0);
    let (shown, code) = typed(&fleet, &["finalize"], &[("Type the API host", HOST), ("Why?", "soaked 7 d")]);
    assert!(
        code == Some(0) && shown.contains("the old keys on 1 host and the sealed copies here are destroyed"),
        "{code:?} {shown}"
    );
    assert!(shown.contains("no way back"), "{shown}");
}

/// Goal: what is so afterwards is told of what is acted on: the roots that were asked for, and the host that a rejoin lets in or leaves out.
#[test]
fn what_is_so_afterwards() {
    use k0rotate_activities::rehearsal::stage::faults::Fault;
    let fleet = Fleet::new("3+2");
    let rotated = fleet.ends(&["rotate", "--yes", "--roots", "service-account"], 0);
    let then = "what the old service-account issued is refused; what the other roots issued stays valid";
    assert!(rotated.err.contains(then) && !rotated.err.contains("every old credential"), "{}", rotated.err);
    fleet.ends(&["finalize", "--yes"], 0);

    let fleet = stand::rejoining::rotated_without_w2();
    stand::rejoining::power_on(&fleet, "w2");
    fleet.killed_at(&["rejoin", "w2", "--yes"], 3, Fault::CrashAfter);
    let rejoin = fleet.listed()["execution"].as_str().expect("it has an id").to_owned();
    let refused = fleet.ends(&["finalize", &rejoin, "--yes"], 1);
    assert!(!refused.text().contains("afterwards"), "nobody is asked about what is refused: {refused:?}");
    let back = fleet.k(&["rollback", &rejoin, "--yes"]);
    assert!(back.err.contains("what was begun on w2 is taken back; it stays out"), "{}", back.err);
    assert!(back.err.contains("join tokens minted meanwhile, by whomever, are revoked"), "{}", back.err);
    assert!(!back.err.contains("first trust is in use again"), "{}", back.err);
    let again = fleet.ends(&["rejoin", "w2", "--yes"], 0);
    assert!(again.err.contains("join tokens minted meanwhile, by whomever, are revoked"), "{}", again.err);
}

/// Goal: before the way back of a rotation that was begun because the keys leaked, the host alone is not enough: a second word is asked for, which says what comes back.
#[test]
fn a_leaked_trust_comes_back_on_a_second_word() {
    let fleet = Fleet::new("1+0");
    let host = ("Type the API host", HOST);
    let (shown, code) = typed(&fleet, &["rotate", "--compromised", "--reason", "INC-950"], &[host]);
    assert!(code == Some(0) && shown.contains("every join token is revoked before the stop"), "{code:?} {shown}");
    let back = ["rollback", "--reason", "INC-951"];
    let events = fleet.listed()["events"].clone();
    let second = "is let in as before. Type \"the leaked trust\" to go on";
    let (shown, code) = typed(&fleet, &back, &[host, (second, HOST)]);
    assert!(code == Some(1) && shown.contains("error[K0R-0302]"), "{code:?} {shown}");
    assert_eq!(fleet.listed()["events"], events, "nothing was recorded");
    let (shown, code) = typed(&fleet, &back, &[host, (second, "the leaked trust")]);
    assert!(code == Some(0) && shown.contains("THE LEAKED TRUST IS IN USE"), "{code:?} {shown}");
    assert_eq!(fleet.differs_from_first(), Vec::<String>::new());
}
