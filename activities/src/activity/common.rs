//! What every activity needs: its host, its fence, and failures that name the host and nothing that it printed.

use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command, Fence, Host, HostError, Mark, Output};
use crate::kube::Api;
use crate::secret::Secret;
use k0rotate_engine::activity::StepCx;
use k0rotate_engine::failure::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What an attempt is given, on this fleet.
pub type Step = StepCx<Fleet>;

/// What a look found, and all that speaks against going on, the first reason first: looks tell, checks judge.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// What was found.
    pub facts: T,
    /// What speaks against it.
    pub against: Vec<Failure>,
}

impl<T> Seen<T> {
    /// What was found, if nothing speaks against it.
    pub fn judged(self) -> Result<T, Failure> {
        self.against.into_iter().next().map_or(Ok(self.facts), Err)
    }
}

/// How long a command that reads the Kubernetes API or etcd may run: `k0s etcd member-list` hangs for ever when etcd is down (lab §16).
pub const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Pause between looks at the same thing inside one attempt.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The host of that name.
pub fn host(cx: &Step, name: &str) -> Result<Arc<dyn Host>, Failure> {
    let found = cx.env.hosts.get(name).cloned();
    found.ok_or_else(|| Failure::refused("host-not-in-inventory").with("host", name))
}

/// Turns what a host could not do into a failure that names it.
pub fn of(host: &str) -> impl Fn(HostError) -> Failure + '_ {
    move |error| {
        let failure = match error {
            HostError::Unreachable => Failure::new("host-unreachable"),
            HostError::Lost => Failure::new("link-lost"),
            HostError::Deadline => Failure::new("host-slow"),
            HostError::Fenced(mark) => held_by(mark.as_deref()),
            HostError::Denied => Failure::new("access-denied"),
            HostError::HostKey => Failure::refused("host-key-unknown"),
            HostError::Refused(code) => Failure::new("host-refused").with("reason", code),
        };
        failure.with("host", host)
    }
}

fn held_by(mark: Option<&Mark>) -> Failure {
    let failure = Failure::new("host-fenced");
    match mark {
        Some(mark) => failure.with("by", &mark.by).with("execution", &mark.execution),
        None => failure,
    }
}

/// The fence of this attempt.
pub fn fence(cx: &Step) -> Fence {
    Fence {
        execution: cx.execution.to_string(),
        incarnation: cx.incarnation.to_string(),
        number: cx.fence,
        attempt: format!("{}#{}", cx.step, cx.attempt),
    }
}

/// Carries changes out on a host. The output is that of the last command; a change that fails is a failure.
pub async fn change(cx: &Step, name: &str, changes: Vec<Change>) -> Result<Output, Failure> {
    change_or_refused(cx, name, changes).await.and_then(|output| ended_well(name, output))
}

fn ended_well(name: &str, output: Output) -> Result<Output, Failure> {
    if output.ok() {
        return Ok(output);
    }
    Err(Failure::new("change-failed").with("host", name).with("status", output.status))
}

/// The same, where a command that says no is no failure: the probe decides.
pub async fn change_or_refused(cx: &Step, name: &str, changes: Vec<Change>) -> Result<Output, Failure> {
    if changes.is_empty() {
        return Ok(Output { status: 0, stdout: Vec::new(), stderr: Vec::new() });
    }
    host(cx, name)?.change(&fence(cx), changes).await.map_err(of(name))
}

/// Carries changes of the cluster out on one controller, the first whose API server calls itself ready. The next is asked only where nothing
/// can have begun on the one before: a command that was lost on its way may land there still, and sent to another it would be carried out
/// twice. Any other failure ends the attempt; before the next one [`fence_reachable`] sees that nothing of this one can land.
pub async fn change_on_first(
    cx: &Step,
    via: &[K0sHost],
    changes: impl Fn(&K0sHost) -> Vec<Change>,
) -> Result<Output, Failure> {
    let mut last = Failure::new("no-controller-to-ask");
    for controller in via {
        let name = &controller.name;
        if let Err(failure) = is_ready(cx, controller).await {
            last = failure;
            continue;
        }
        match host(cx, name)?.change(&fence(cx), changes(controller)).await {
            Err(error) if error.nothing_was_sent() => last = of(name)(error),
            ended => return ended.map_err(of(name)).and_then(|output| ended_well(name, output)),
        }
    }
    Err(last)
}

/// Fails unless the controller answers and its API server calls itself ready.
pub async fn is_ready(cx: &Step, controller: &K0sHost) -> Result<(), Failure> {
    Api::of(cx, controller)?.must_be_ready().await
}

/// Raises the fence number in the host's mark and ends what still runs with a lower one: see [`k0rotate_engine::activity::Activity::fence`].
pub async fn fence_host(cx: &Step, name: &str) -> Result<(), Failure> {
    let host = host(cx, name)?;
    let mut found = host.mark().await.map_err(of(name))?;
    // Without a mark no change can start there.
    while let Some(mark) = found {
        if mark.execution != cx.execution.as_str() || mark.incarnation != cx.incarnation.as_str() {
            return Err(held_by(Some(&mark)).with("host", name));
        }
        if mark.fence >= cx.fence {
            break;
        }
        let direction = if cx.back { "back" } else { "forward" };
        let raised = Mark { fence: cx.fence, phase: cx.phase.clone(), direction: direction.to_owned(), ..mark.clone() };
        found = match host.mark_replace(Some(&mark), Some(&raised)).await {
            // The hold wrote the phase into it meanwhile.
            Err(HostError::Fenced(now)) => now.map(|mark| *mark),
            other => {
                other.map_err(of(name))?;
                break;
            }
        };
    }
    for unit in host.units_below(&fence(cx)).await.map_err(of(name))? {
        host.stop_unit(&unit).await.map_err(of(name))?;
    }
    Ok(())
}

/// Replaces our mark, or takes it away. The hold may write its phase into it meanwhile: it is ours all the same, and replaced as it lies then.
pub async fn replace_ours(cx: &Step, name: &str, mut ours: Mark, new: Option<&Mark>) -> Result<(), Failure> {
    let host = host(cx, name)?;
    loop {
        match host.mark_replace(Some(&ours), new).await {
            Err(HostError::Fenced(Some(now))) if differs_in_phase(&ours, &now) => ours = *now,
            ended => return ended.map_err(of(name)),
        }
    }
}

fn differs_in_phase(one: &Mark, other: &Mark) -> bool {
    let (direction, phase) = (one.direction.clone(), one.phase.clone());
    one != other && Mark { direction, phase, ..other.clone() } == *one
}

/// [`fence_host`] on every controller that can be reached, for a change of the cluster that any of them may have been asked for. One that is
/// away for good must not keep the others from being used: what it may still do late is seen by the look that ends each step.
pub async fn fence_reachable(cx: &Step, via: &[K0sHost]) -> Result<(), Failure> {
    let mut unreached = None;
    let mut fenced = 0;
    for controller in via {
        match fence_host(cx, &controller.name).await {
            Ok(()) => fenced += 1,
            Err(failure) if failure.code == "host-fenced" => return Err(failure),
            Err(failure) => unreached = Some(failure),
        }
    }
    match unreached {
        Some(failure) if fenced == 0 => Err(failure),
        _ => Ok(()),
    }
}

/// Reads a file that may be missing.
pub async fn read(cx: &Step, name: &str, path: &str) -> Result<Option<Secret>, Failure> {
    host(cx, name)?.read(path).await.map_err(of(name))
}

/// Reads a file that may be missing, as text.
pub async fn read_text(cx: &Step, name: &str, path: &str) -> Result<Option<String>, Failure> {
    let bytes = read(cx, name, path).await?;
    Ok(bytes.map(|b| String::from_utf8_lossy(b.expose()).into_owned()))
}

/// Runs a command that changes nothing.
pub async fn exec(cx: &Step, name: &str, command: Command) -> Result<Output, Failure> {
    host(cx, name)?.exec(command).await.map_err(of(name))
}

/// `k0s …` by the absolute path of the unit.
pub fn k0s<const N: usize>(host: &K0sHost, args: [&str; N]) -> Command {
    command(&host.k0s, args)
}

/// `k0s …` by this path.
pub fn command<const N: usize>(k0s: &str, args: [&str; N]) -> Command {
    Command::new(k0s, args).deadline(READ_DEADLINE)
}

/// GET of an API path through `k0s kubectl` on a controller, which asks its own API server as the administrator.
/// `None` if it is not answered, whatever the reason: after a start 403 and 500 are transient (lab §4).
pub async fn get(cx: &Step, via: &K0sHost, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let output = exec(cx, &via.name, k0s(via, ["kubectl", "get", "--raw", path])).await?;
    Ok(output.ok().then_some(output.stdout))
}

/// The same, parsed.
pub async fn get_json(cx: &Step, via: &K0sHost, path: &str) -> Result<Option<Value>, Failure> {
    let Some(bytes) = get(cx, via, path).await? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|_| Failure::new("api-answer-unreadable").with("host", &via.name))
}

/// The same from the first of several controllers that answers; `None` if they can be reached and none answers.
pub async fn ask(cx: &Step, via: &[K0sHost], path: &str) -> Result<Option<(K0sHost, Value)>, Failure> {
    let mut unreached = None;
    for controller in via {
        match get_json(cx, controller, path).await {
            Ok(Some(value)) => return Ok(Some((controller.clone(), value))),
            Ok(None) => {}
            Err(failure) => unreached = Some(failure),
        }
    }
    unreached.map_or(Ok(None), Err)
}

/// etcd's members as a controller sees them, peer URLs by name. Such a list is given with the quorum's consent.
pub async fn etcd_members(cx: &Step, via: &K0sHost) -> Result<BTreeMap<String, String>, Failure> {
    let output = exec(cx, &via.name, k0s(via, ["etcd", "member-list"])).await?;
    let members = crate::k0s::etcd_members(&output.stdout).ok().filter(|_| output.ok());
    members.ok_or_else(|| Failure::new("etcd-not-answering").with("host", &via.name))
}

/// The controllers to ask first: as given, but not the one that is about to be changed.
pub fn others(via: &[K0sHost], name: &str) -> Vec<K0sHost> {
    via.iter().filter(|c| c.name != name).chain(via.iter().filter(|c| c.name == name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::mint_token::MintToken;
    use super::super::node;
    use super::super::testing::{FakeHost, controller, failed, line, marked, said, step};
    use super::{Step, fence};
    use crate::host::{Host, HostError};
    use k0rotate_engine::activity::Activity;
    use std::sync::Arc;

    /// Two controllers that are ready (the first as told), and mint tokens into a file of their own (the first with this status).
    fn minting(ready: bool, mints: bool) -> [Arc<FakeHost>; 2] {
        let hosts = [FakeHost::new("h1"), FakeHost::new("h2")];
        for (at, host) in hosts.iter().enumerate() {
            let (ready, mints) = (ready || at > 0, mints || at > 0);
            host.put("tokens", "");
            host.script(move |command, files| match line(command).as_str() {
                "k0s kubectl get --raw /readyz" if ready => said("ok"),
                "k0s kubectl get --raw /readyz" => failed("connection refused"),
                _ if mints => {
                    files.get_mut("tokens").unwrap().bytes.push(b'x');
                    said("token")
                }
                _ => failed("context deadline exceeded"),
            });
            marked(host);
        }
        hosts
    }

    fn minted(hosts: &[Arc<FakeHost>; 2]) -> [usize; 2] {
        [0, 1].map(|at| hosts[at].files.lock().unwrap()["tokens"].bytes.len())
    }

    async fn mint(cx: &Step) -> Result<(), String> {
        let via = [controller("h1"), controller("h2")];
        node::create_token(cx, &via).await.map(drop).map_err(|failure| failure.code)
    }

    /// Goal: the next controller is asked only where nothing can have begun on the one before.
    #[tokio::test]
    async fn what_may_have_begun_is_not_sent_to_another() {
        let cases = [
            (HostError::Unreachable, Ok(())),
            (HostError::Denied, Ok(())),
            (HostError::HostKey, Ok(())),
            (HostError::Lost, Err("link-lost".to_owned())),
            (HostError::Deadline, Err("host-slow".to_owned())),
            (HostError::Refused("no-space".to_owned()), Err("host-refused".to_owned())),
            (HostError::Fenced(None), Err("host-fenced".to_owned())),
        ];
        for (error, expected) in cases {
            let hosts = minting(true, true);
            *hosts[0].fails.lock().unwrap() = Some(error.clone());
            let ended = mint(&step(&hosts)).await;
            assert_eq!((&ended, minted(&hosts)), (&expected, [0, usize::from(expected.is_ok())]), "{error}");
        }
        let not_ready = minting(false, true);
        assert_eq!((mint(&step(&not_ready)).await, minted(&not_ready)), (Ok(()), [0, 1]));
        let says_no = minting(true, false);
        assert_eq!((mint(&step(&says_no)).await, minted(&says_no)), (Err("change-failed".to_owned()), [0, 0]));
    }

    /// Goal: before it is sent again, to whichever, what was lost on its way can land nowhere any more.
    #[tokio::test]
    async fn what_was_lost_is_fenced_before_it_is_sent_again() {
        let hosts = minting(true, true);
        let lost = step(&hosts);
        let late = fence(&lost);
        let again = Step { attempt: 2, fence: lost.fence + 1, ..step(&hosts) };
        MintToken { via: vec![controller("h1"), controller("h2")] }.fence(&again).await.unwrap();
        let landed = hosts[0].change(&late, Vec::new()).await;
        assert!(matches!(landed, Err(HostError::Fenced(_))), "{landed:?}");
        assert_eq!((mint(&again).await, minted(&hosts)), (Ok(()), [1, 0]));
    }
}
