//! The daemon: many clusters at once, killed at any point, told to end, reloaded, asked by those who may and those who may not.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Fault;
use stand::kept::Daemon;
use stand::many::{Draw, Many};
use stand::people::{NOBODY, People};
use stand::{Fleet, until};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Child;
use std::time::Duration;

/// Goal: SIGKILL of the daemon at points drawn from a seed, before and after changes of the world and between any two questions to it, while four clusters rotate: started again until nothing is left to do, all end as they do undisturbed.
#[test]
fn killed_anywhere_all_end_as_undisturbed() {
    const KILLS: usize = 12;
    let shapes = ["1+1", "3+1", "1+0", "1+2"];
    let many = Many::new(&shapes);
    let mut daemon = Daemon::begin(&many.etc());
    many.doom(&daemon);
    let mut clients: Vec<Child> = Vec::new();
    for (name, fleet) in &many.fleets {
        clients.push(many.beside(&["rotate", name, "--yes", "--reason", "CHG-4711"]));
        until("the first change", || fleet.stand.stage().faults.changes > 0);
    }
    let mut draw = Draw(7);
    let mut kills = 0;
    while kills < KILLS {
        // One for each, so that none runs to its end while another is waited for; the first that comes counts.
        for (_, fleet) in &many.fleets {
            let mut stage = fleet.stand.stage();
            let faults = &mut stage.faults;
            let change = faults.changes + 1 + draw.below(12);
            match draw.below(3) {
                0 => drop(faults.plan.insert(change, Fault::CrashBefore)),
                1 => drop(faults.plan.insert(change, Fault::CrashAfter)),
                _ => faults.crash_at_question = Some(faults.questions + 1 + draw.below(400)),
            }
        }
        let done = || many.fleets.iter().all(|(name, _)| many.listed(name)["state"] == "Waiting");
        until("a kill, or the end", || daemon.has_ended() || done());
        many.fleets.iter().for_each(|(_, fleet)| fleet.stand.stage().faults.forget_plans());
        if !daemon.has_ended() {
            break;
        }
        kills += 1;
        daemon = Daemon::begin(&many.etc());
        many.doom(&daemon);
    }
    assert!(kills >= 4, "it was killed only {kills} times");
    for (name, fleet) in &many.fleets {
        until("its end", || many.listed(name)["state"] == "Waiting");
        let shape = shapes[name[1..].parse::<usize>().expect("a number")];
        let undisturbed = Fleet::new(shape);
        undisturbed.ends(&["rotate", "--yes"], 0);
        let differs = undisturbed.likeness().trust_differences(&fleet.likeness());
        assert_eq!(differs, Vec::<String>::new(), "{name} after {kills} kills");
    }
    clients.into_iter().for_each(|client| drop(client.wait_with_output()));
}

/// Goal: SIGTERM where the API is down: it drives on until the control plane is up, ends with 0, and what was left goes on at the next start.
#[test]
fn told_to_end_it_leaves_no_api_down() {
    let many = Many::new(&["1+1", "1+0"]);
    let fleet = &many.fleets[0].1;
    let mut daemon = Daemon::begin(&many.etc());
    fleet.stand.stage().faults.stand_at = Some(20);
    let client = many.beside(&["rotate", "c0", "--yes"]);
    for change in 21.. {
        until("the next change", || fleet.stand.stage().faults.stands());
        if many.listed("c0")["down_since"].is_string() {
            break;
        }
        fleet.stand.stage().faults.stand_at = Some(change);
    }
    daemon.signal("-TERM");
    until("its word", || daemon.said().contains("ends: no new step"));
    let refused = many.ends(&["rotate", "c1", "--yes"], 6);
    assert!(refused.err.contains("K0R-0701"), "{refused:?}");
    assert!(!daemon.has_ended(), "the API is down");
    fleet.stand.stage().faults.stand_at = None;
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.said());
    drop(client.wait_with_output());
    drop(daemon);
    let said = many.ends(&["show", "c0", "--embedded"], 0);
    assert!(said.out.contains("driven by  nobody") && !said.out.contains("DOWN"), "{said:?}");
    let _daemon = Daemon::begin(&many.etc());
    until("its end", || many.listed("c0")["state"] == "Waiting");
}

/// Goal: a cluster whose time stands, and a client that connects and says nothing, delay nobody: the other cluster rotates to its end meanwhile.
#[test]
fn who_hangs_starves_nobody() {
    let many = Many::new(&["1+0", "1+0"]);
    let daemon = Daemon::begin(&many.etc());
    many.fleets[0].1.stand.stage().faults.stand_at = Some(5);
    let client = many.beside(&["rotate", "c0", "--yes"]);
    until("the fifth change", || many.fleets[0].1.stand.stage().faults.stands());
    let mut silent: Vec<UnixStream> =
        (0..20).filter_map(|_| UnixStream::connect(many.etc().join("../api.sock")).ok()).collect();
    for stream in &mut silent {
        stream.write_all(b"POST /clusters/c1/ask HTTP/1.1\r\ncontent-length: 9\r\n").expect("it listens");
    }
    let said = many.ends(&["rotate", "c1", "--yes"], 0);
    assert!(said.out.contains("waits for finalize"), "{said:?}");
    many.fleets[0].1.stand.stage().faults.stand_at = None;
    assert_eq!(client.wait_with_output().expect("it was started").status.code(), Some(0), "{}", daemon.said());
}

/// Goal: no daemon where one is configured is status 6 with its own code, nothing is done in its place; `--embedded` does it here.
#[test]
fn without_a_daemon_nothing_is_done() {
    let many = Many::new(&["1+0"]);
    for words in
        [&["rotate", "c0", "--yes"][..], &["show", "c0"], &["list"], &["pause", "c0"], &["finalize", "c0", "--yes"]]
    {
        let said = many.ends(words, 6);
        assert!(said.err.contains("error[K0R-0701]") && said.err.contains("k0rotate daemon"), "{said:?}");
    }
    assert_eq!(many.fleets[0].1.stand.stage().faults.changes, 0);
    let said = many.ends(&["rotate", "c0", "--yes", "--embedded"], 0);
    assert!(said.out.contains("--embedded"), "next steps are commands that work: {said:?}");
    let _daemon = Daemon::begin(&many.etc());
    let said = many.ends(&["finalize", "c0", "--yes"], 0);
    assert!(said.out.contains("completed"), "{said:?}");
    let flags = many.ends(&["rotate", "c0", "--yes", "--state-dir", "elsewhere"], 2);
    assert!(flags.err.contains("the daemon's to know"), "{flags:?}");
    let second = many.ends(&["daemon"], 5);
    assert!(second.err.contains("K0R-0501"), "{second:?}");
}

/// Goal: SIGHUP reads the configuration anew: a broken one is refused in the log and the old one kept; a new cluster is held, one that is gone is not, and what is driven is not disturbed.
#[test]
fn reloaded_it_keeps_what_is_right() {
    let many = Many::new(&["1+0", "1+0"]);
    let gone = many.etc().join("clusters/c1.toml");
    let text = std::fs::read_to_string(&gone).expect("it was written");
    std::fs::remove_file(&gone).expect("it is ours");
    let daemon = Daemon::begin(&many.etc());
    let fleet = &many.fleets[0].1;
    fleet.stand.stage().faults.stand_at = Some(5);
    let client = many.beside(&["rotate", "c0", "--yes"]);
    until("the fifth change", || fleet.stand.stage().faults.stands());
    std::fs::write(&gone, "inventroy = 1\n").expect("it is ours");
    daemon.signal("-HUP");
    until("its refusal", || daemon.said().contains("is kept as it was"));
    assert!(daemon.said().contains("c1.toml:1: unknown key `inventroy`"), "{}", daemon.said());
    std::fs::write(&gone, text).expect("it is ours");
    daemon.signal("-HUP");
    until("the new one", || daemon.said().contains("was read anew"));
    until("the new cluster", || {
        many.command(&["rotate", "c1", "--yes"]).output().is_ok_and(|out| out.status.code() == Some(0))
    });
    std::fs::remove_file(&gone).expect("it is ours");
    daemon.signal("-HUP");
    until("the cluster's end", || daemon.said().matches("was read anew").count() == 2);
    fleet.stand.stage().faults.stand_at = None;
    assert_eq!(client.wait_with_output().expect("it was started").status.code(), Some(0), "{}", daemon.said());
}

/// Goal: who asks is known by the kernel and stands in the event; one without the right is refused, with its own code and in the log, also where it may look; rights are by user or group.
#[test]
fn only_those_who_may_are_heard() {
    let many = Many::new(&["1+0"]);
    let Some(people) = People::at(many.dir.path(), &many.etc()) else { return };
    let (chat, told) = (many.dir.path().join("to-chat"), many.dir.path().join("told"));
    std::fs::write(&chat, format!("#!/bin/sh\ncat >> {}\n", told.display())).expect("it is ours");
    std::fs::set_permissions(&chat, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let main = many.etc().join("config.toml");
    let text = std::fs::read_to_string(&main).expect("it was written");
    let text = format!("{text}[notify]\ncommand = \"../to-chat\"\n");
    std::fs::write(&main, &text).expect("it is ours");
    let daemon = Daemon::begin(&many.etc());
    let nobody = |words: &[&str]| people.typed(NOBODY, words);
    let said = nobody(&["rotate", "c0", "--yes"]);
    assert!(said.code == Some(6) && said.err.contains("error[K0R-0702]: nobody may not rotate c0"), "{said:?}");
    assert!(nobody(&["show", "c0"]).code == Some(6), "nor look");
    until("the log", || daemon.said().contains("refused: rotate"));
    until("the word of it", || std::fs::read_to_string(&told).is_ok_and(|told| told.contains("may not rotate c0")));
    for (more, look, rotate) in
        [("view = [\"nobody\"]", Some(1), Some(6)), ("operate = [\"%nogroup\"]", Some(1), Some(0))]
    {
        std::fs::write(&main, format!("{text}[who]\n{more}\n")).expect("it is ours");
        let before = daemon.said().matches("was read anew").count();
        daemon.signal("-HUP");
        until("the new rights", || daemon.said().matches("was read anew").count() > before);
        let said = nobody(&["show", "c0"]);
        assert_eq!(said.code, look, "there is no execution yet: {said:?}");
        let said = nobody(&["rotate", "c0", "--yes"]);
        assert_eq!(said.code, rotate, "{more}: {said:?}");
    }
    let told = std::fs::read_to_string(&told).expect("it was written");
    assert_eq!(told.matches("\"what\":\"refused\"").count(), 1, "once a minute: {told}");
    let by = many.listed("c0")["by"].as_str().expect("a text").to_owned();
    assert!(by.starts_with("nobody@"), "what the environment says counts for nothing: {by}");
}

/// Goal: a request that is too large is refused, and the next one is answered.
#[test]
fn large_requests_are_refused() {
    use std::io::Read;
    let many = Many::new(&["1+0"]);
    let _daemon = Daemon::begin(&many.etc());
    let mut stream = UnixStream::connect(many.etc().join("../api.sock")).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(100 << 10));
    let head = format!(
        "POST /clusters/c0/ask HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // It may answer, and close, before all was said.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    many.ends(&["rotate", "c0", "--yes"], 0);
}

/// Goal: the service manager hears when it serves, that it lives, and when it ends, with more time for that.
#[test]
fn the_service_manager_is_told() {
    let many = Many::new(&["1+0"]);
    let manager = many.dir.path().join("notify");
    let heard = UnixDatagram::bind(&manager).expect("it is ours");
    heard.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
    let next = || {
        let mut word = [0; 4096];
        let length = heard.recv(&mut word).expect("it is told something");
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    let manager = manager.display().to_string();
    let variables = [("NOTIFY_SOCKET", manager.as_str()), ("WATCHDOG_USEC", "200000")];
    let mut daemon = Daemon::begin_with(&many.etc(), &variables);
    assert!(next().contains("READY=1"));
    assert!(next().contains("WATCHDOG=1"));
    daemon.signal("-HUP");
    until("its reload", || next().contains("RELOADING=1"));
    until("its readiness", || next().contains("READY=1"));
    daemon.signal("-TERM");
    let last = std::iter::repeat_with(next).find(|word| word.contains("STOPPING=1")).expect("it ends");
    assert!(last.contains("EXTEND_TIMEOUT_USEC="), "{last}");
    assert_eq!(daemon.ended().code(), Some(0));
}
