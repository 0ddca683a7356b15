//! A real machine over SSH keeps the contract of hosts, loses its link, and reboots.

#![allow(clippy::unwrap_used)]

use k0rotate_activities::host::contract::{self, Ground};
use k0rotate_activities::host::ssh::{HostKeys, SshDir, SshHost, SshOptions};
use k0rotate_activities::host::{Change, Command, Fence, Host, HostError, Mark, OwnerIds};
use k0rotate_tests::lab::Lab;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_over_ssh_keeps_the_contract() {
    // Goal: through sshd, sudo and transient units a host does what `Host` promises.
    let Some(lab) = Lab::boot("a_machine_over_ssh_keeps_the_contract", "2+0", None) else { return };
    let host = lab.host(1);
    let made = Command::new("mkdir", ["-p", "/root/ground"]);
    assert!(host.exec(made).await.unwrap().ok());
    let ground = Ground { host: &host, dir: "/root/ground".to_owned(), owner: OwnerIds { uid: 106, gid: 0 } };
    contract::all(&ground).await;
    contract::programs(&ground).await;
    contract::units(&ground).await;
    errors_are_kept_apart(&lab).await;
    many_at_once(&host).await;
    a_lost_link_is_unknown_and_the_unit_goes_on(&lab, &host).await;
    a_reboot_changes_the_boot_id(&lab, &host).await;
}

async fn errors_are_kept_apart(lab: &Lab) {
    let ask = |options: SshOptions| async move {
        SshHost::over_ssh("h1", options, Arc::new(SshDir::new(None).unwrap())).boot_id().await.unwrap_err()
    };
    let with = |change: fn(&mut SshOptions)| {
        let mut options = lab.options(1);
        change(&mut options);
        options
    };
    assert_eq!(ask(with(|o| o.known_hosts = vec!["/dev/null".into()])).await, HostError::HostKey);
    assert_eq!(ask(with(|o| o.target.key = None)).await, HostError::Denied);
    assert_eq!(ask(with(|o| o.target.user = Some("nobody".into()))).await, HostError::Denied);
    assert_eq!(ask(with(|o| o.target.port = Some(1))).await, HostError::Unreachable);
    assert_eq!(ask(with(|o| o.target.address = "h9.invalid".into())).await, HostError::Unreachable);
    let accepts = with(|o| {
        o.host_keys = HostKeys::AcceptNew;
        o.known_hosts = vec![std::env::temp_dir().join(format!("k0rotate-known-{}", std::process::id()))];
    });
    let known = accepts.known_hosts[0].clone();
    let host = SshHost::over_ssh("h1", accepts.clone(), Arc::new(SshDir::new(None).unwrap()));
    host.boot_id().await.unwrap();
    assert!(std::fs::metadata(&known).unwrap().len() > 0, "the key was recorded");
    // A chain of two connections.
    let mut jump = lab.options(1);
    jump.bastions = vec![lab.options(2).target];
    let through = SshHost::over_ssh("h1", jump, Arc::new(SshDir::new(None).unwrap()));
    assert_eq!(through.boot_id().await, host.boot_id().await);
    std::fs::remove_file(known).unwrap();
}

/// sshd allows ten sessions on a connection; we ask for more at once.
async fn many_at_once(host: &SshHost) {
    let one = || async { host.exec(Command::new("sleep", ["0.1"])).await.unwrap().status };
    let all = (0..30).map(|_| one());
    assert_eq!(futures_util::future::join_all(all).await, vec![0; 30]);
}

fn mark() -> Mark {
    Mark {
        execution: "x".into(),
        incarnation: "i".into(),
        fence: 1,
        direction: "forward".into(),
        phase: "stop".into(),
        by: "me".into(),
    }
}

async fn a_lost_link_is_unknown_and_the_unit_goes_on(lab: &Lab, host: &SshHost) {
    host.mark_replace(None, Some(&mark())).await.unwrap();
    let fence = Fence { execution: "x".into(), incarnation: "i".into(), number: 1, attempt: "a".into() };
    let next = Fence { number: 2, ..fence.clone() };
    let long = Command::new("sh", ["-c", "sleep 40; : >/root/went-on"]).deadline(Duration::from_secs(100));
    let running = host.change(&fence, vec![Change::Run(long)]);
    let cut = async {
        while host.units_below(&next).await.unwrap().is_empty() {}
        lab.ask(&["link", "1", "down"]);
    };
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(running, cut);
    assert_eq!(ended.map(|o| o.status), Err(HostError::Lost));
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    assert_eq!(host.boot_id().await, Err(HostError::Unreachable));
    lab.ask(&["link", "1", "up"]);
    while host.boot_id().await.is_err() {}
    assert_eq!(host.units_below(&next).await.unwrap().len(), 1, "the unit goes on");
    while !host.units_below(&next).await.unwrap().is_empty() {}
    assert!(host.read("/root/went-on").await.unwrap().is_some(), "the unit went on to its end");
    host.mark_replace(Some(&mark()), None).await.unwrap();
}

async fn a_reboot_changes_the_boot_id(lab: &Lab, host: &SshHost) {
    let before = host.boot_id().await.unwrap();
    lab.ask(&["reboot", "1"]);
    let mut after = host.boot_id().await;
    while after.as_ref().is_ok_and(|id| *id == before) || after.is_err() {
        after = host.boot_id().await;
    }
    lab.ask(&["power-cut", "1"]);
    assert_ne!(host.boot_id().await.or(host.boot_id().await), after);
}
