//! The systemd unit of k0s: how it is held, stopped, started and looked at.

use super::common::{self, LOOK_EVERY, Step};
use crate::facts::K0sHost;
use crate::host::{Change, Command, Output, OwnerIds, Process};
use crate::k0s;
use crate::layout;
use crate::secret::Secret;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a stop may take: up to 90 s with a frozen etcd on 1.34 and older (lab §33).
pub const STOP_DEADLINE: Duration = Duration::from_secs(100);
/// How long an etcd may wait for peers that are gone, before it is ended (lab §30).
const ORPHAN_PATIENCE: Duration = Duration::from_secs(2);
/// From SIGTERM to SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// How long another process may outlive an ended unit before it is ended too (lab §22).
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(5);

const ROOT: OwnerIds = OwnerIds { uid: 0, gid: 0 };

/// A unit as systemd shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub state: String,
    /// 0 if there is none.
    pub main_pid: u32,
    /// Start of the main process, microseconds since boot.
    pub started: u64,
}

impl Unit {
    /// Whether its main process runs.
    pub fn runs(&self) -> bool {
        self.state == "active" && self.main_pid != 0
    }

    /// Whether it has ended. `failed` counts: a stop that ran into its limit ends so (lab §33).
    pub fn ended(&self) -> bool {
        matches!(self.state.as_str(), "inactive" | "failed")
    }
}

/// Looks at the unit.
pub async fn show(cx: &Step, host: &K0sHost) -> Result<Unit, Failure> {
    let shown = common::exec(cx, &host.name, to_show(host)).await?;
    read(&shown).ok_or_else(|| Failure::new("unit-unreadable").with("host", &host.name).with("unit", &host.unit))
}

/// The command that shows it.
pub fn to_show(host: &K0sHost) -> Command {
    Command::new("systemctl", ["show", "-p", "ActiveState,MainPID,ExecMainStartTimestampMonotonic", &host.unit])
}

/// What that printed; `None` if it was no state. One that is not installed is `inactive`.
pub fn read(shown: &Output) -> Option<Unit> {
    let shown = k0s::properties(&shown.text());
    let value = |key: &str| shown.get(key).map(String::as_str).unwrap_or_default();
    (!value("ActiveState").is_empty()).then(|| Unit {
        state: value("ActiveState").to_owned(),
        main_pid: value("MainPID").parse().unwrap_or(0),
        started: value("ExecMainStartTimestampMonotonic").parse().unwrap_or(0),
    })
}

/// Processes of k0s that run now. Shims of containers carry its marker too and stay by design (lab §16).
pub async fn leftovers(cx: &Step, host: &K0sHost) -> Result<Vec<Process>, Failure> {
    let all = common::host(cx, &host.name)?.processes().await.map_err(common::of(&host.name))?;
    Ok(all.into_iter().filter(|p| !p.is_shim()).collect())
}

/// Whether k0s has ended: its unit, and all that it started but shims.
pub async fn has_ended(cx: &Step, host: &K0sHost) -> Result<bool, Failure> {
    Ok(show(cx, host).await?.ended() && leftovers(cx, host).await?.is_empty())
}

/// `systemctl VERB UNIT`.
pub fn systemctl(verb: &str, host: &K0sHost) -> Change {
    Change::Run(Command::new("systemctl", [verb, host.unit.as_str()]))
}

/// What makes the unit stay down over reboots and `systemctl start`. The mark is written last: it proves that the drop-in is loaded.
pub fn hold(host: &K0sHost, execution: &str) -> Vec<Change> {
    let held = format!(
        "execution {execution}\nk0rotate replaces the trust of this cluster: {} must not start now\n",
        host.unit
    );
    hold_saying(host, &held)
}

/// The same with a mark that says this.
pub fn hold_saying(host: &K0sHost, held: &str) -> Vec<Change> {
    let drop_in = format!("[Unit]\nConditionPathExists=!{}\n", layout::HELD);
    vec![
        write(layout::drop_in(&host.unit), &drop_in),
        Change::Run(Command::new("systemctl", ["daemon-reload"])),
        write(layout::HELD.to_owned(), held),
    ]
}

fn write(path: String, text: &str) -> Change {
    Change::Write { path, bytes: Secret::new(text.as_bytes().to_vec()), mode: 0o644, owner: ROOT }
}

/// Whether the unit is held by this execution.
pub async fn is_held(cx: &Step, host: &K0sHost) -> Result<bool, Failure> {
    let held = common::read_text(cx, &host.name, layout::HELD).await?;
    Ok(held.is_some_and(|text| text.starts_with(&format!("execution {}\n", cx.execution))))
}

/// Whether anybody's held mark lies there.
pub async fn is_held_at_all(cx: &Step, host: &K0sHost) -> Result<bool, Failure> {
    Ok(common::read(cx, &host.name, layout::HELD).await?.is_some())
}

/// Stops k0s and sees it end; ends what waits for nobody. Returns when nothing of it runs, or fails.
pub async fn stop(cx: &Step, host: &K0sHost) -> Result<(), Failure> {
    let stop = Command::new("systemctl", ["stop", "--no-block", &host.unit]);
    common::change(cx, &host.name, vec![Change::Run(stop)]).await?;
    let begun = cx.clock.monotonic();
    let mut orphans = Orphans::default();
    loop {
        let unit = show(cx, host).await?;
        let left = leftovers(cx, host).await?;
        if unit.ended() && left.is_empty() {
            return Ok(());
        }
        if cx.clock.monotonic().saturating_sub(begun) > STOP_DEADLINE {
            return Err(Failure::new("k0s-still-runs").with("host", &host.name).with("processes", left.len()));
        }
        let due = orphans.next(&unit, &left, cx.clock.monotonic());
        common::change_or_refused(cx, &host.name, due).await?;
        cx.clock.sleep(LOOK_EVERY).await;
    }
}

/// Since when each process that is left waits for nobody, and when it was told to end.
#[derive(Default)]
struct Orphans(BTreeMap<u32, (Duration, Option<Duration>)>);

impl Orphans {
    /// The signals that are due now. The host compares start time and executable before it sends one.
    fn next(&mut self, unit: &Unit, left: &[Process], now: Duration) -> Vec<Change> {
        let served = left.iter().any(|p| matches!(p.comm.as_str(), "kube-apiserver" | "kine"));
        let mut due = Vec::new();
        for process in left {
            let Some(patience) = patience(process, unit, served) else { continue };
            let (since, warned) = self.0.entry(process.pid).or_insert((now, None));
            let signal = match *warned {
                None if now >= *since + patience => 15,
                Some(at) if now >= at + KILL_PATIENCE => 9,
                _ => continue,
            };
            *warned = Some(now);
            due.push(Change::Signal { process: process.clone(), signal });
        }
        due
    }
}

/// How long a process may stay, if it is an orphan: an etcd once the API server that used it is gone, anything else once the unit has ended.
fn patience(process: &Process, unit: &Unit, served: bool) -> Option<Duration> {
    if process.comm == "etcd" && !served { Some(ORPHAN_PATIENCE) } else { unit.ended().then_some(LEFTOVER_PATIENCE) }
}

#[cfg(test)]
mod tests {
    //! Shows which process is told to end, and when.

    use super::*;

    fn process(pid: u32, comm: &str) -> Process {
        Process { pid, start: u64::from(pid), comm: comm.to_owned(), exe: format!("/var/lib/k0s/bin/{comm}") }
    }

    fn signals(orphans: &mut Orphans, state: &str, left: &[Process], ms: u64) -> Vec<(u32, i32)> {
        let unit = Unit { state: state.to_owned(), ..Unit::default() };
        let due = orphans.next(&unit, left, Duration::from_millis(ms)).into_iter();
        due.map(|change| match change {
            Change::Signal { process, signal } => (process.pid, signal),
            other => panic!("not a signal: {other:?}"),
        })
        .collect()
    }

    /// Goal: an etcd that waits for nobody is told to end after 2 s and killed a second later; one that still serves is left alone.
    #[test]
    fn an_etcd_without_peers_is_ended() {
        let (etcd, api) = (process(1, "etcd"), process(2, "kube-apiserver"));
        let mut orphans = Orphans::default();
        assert!(signals(&mut orphans, "deactivating", &[etcd.clone(), api], 9_000).is_empty());
        let left = [etcd];
        assert!(signals(&mut orphans, "deactivating", &left, 10_000).is_empty());
        assert!(signals(&mut orphans, "deactivating", &left, 11_999).is_empty());
        assert_eq!(signals(&mut orphans, "deactivating", &left, 12_000), [(1, 15)]);
        assert!(signals(&mut orphans, "deactivating", &left, 12_900).is_empty());
        assert_eq!(signals(&mut orphans, "deactivating", &left, 13_000), [(1, 9)]);
    }

    /// Goal: what outlives an ended unit is ended, each process with its own patience; before that nothing is touched.
    #[test]
    fn leftovers_of_an_ended_unit_are_ended() {
        let mut orphans = Orphans::default();
        let left = [process(3, "kube-scheduler"), process(4, "kubelet")];
        assert!(signals(&mut orphans, "deactivating", &left, 0).is_empty());
        assert!(signals(&mut orphans, "failed", &left[..1], 60_000).is_empty());
        assert_eq!(signals(&mut orphans, "failed", &left, 65_000), [(3, 15)]);
        assert_eq!(signals(&mut orphans, "failed", &left, 70_000), [(3, 9), (4, 15)]);
    }
}
