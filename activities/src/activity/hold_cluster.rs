//! Holds all hosts of a cluster for one execution: with our mark, and with the lock of k0sctl.

use super::common::{self, Step};
use crate::fleet::Fleet;
use crate::host::{Change, Command, Host, HostError, Mark, OwnerIds};
use crate::identity;
use crate::secret::Secret;
use futures_util::future::{Either, join_all, select};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::workflow::{HoldCx, HoldFailure};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// In place when every host has the mark of this execution and k0sctl's lock is ours. Without a mark no host obeys a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldCluster {
    /// Names of the hosts in the inventory, without those that are left behind.
    pub hosts: Vec<String>,
}

/// Hosts that are asked at the same time.
const AT_ONCE: usize = 30;
/// k0sctl touches its lock every 10 s and takes one over that was not touched for 30 s (facts §5.7).
const K0SCTL_STALE: u64 = 30;
/// Our lock is dated ten years ahead, so that it outlives us and a k0sctl that looks never finds it stale.
const AHEAD: u64 = 10 * 365 * 86_400;
/// A host that nobody counts on is given so long to answer.
const BRIEFLY: Duration = Duration::from_secs(3);
const LOCK_OWNER: OwnerIds = OwnerIds { uid: 0, gid: 0 };

impl Activity for HoldCluster {
    const NAME: &'static str = "hold-cluster";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(120), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let held = self.on_each(cx, is_held).await?;
        Ok(held.into_iter().all(|held| held).then_some(()))
    }

    async fn undo(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        self.on_each(cx, release).await.map(|_| ())
    }

    async fn undone(&self, cx: &Step, (): &()) -> Result<bool, Failure> {
        let marked = self.on_each(cx, |cx, name| async move { Ok(own_mark(cx, name).await?.is_some()) }).await?;
        Ok(!marked.into_iter().any(|marked| marked))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        self.on_each(cx, hold).await.map(|_| ())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        self.on_each(cx, common::fence_host).await.map(|_| ())
    }
}

impl HoldCluster {
    async fn on_each<'a, T, F, R>(&'a self, cx: &'a Step, each: F) -> Result<Vec<T>, Failure>
    where
        F: Fn(&'a Step, &'a str) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let all: Vec<R> = self.hosts.iter().map(|name| each(cx, name)).collect();
        stream::iter(all).buffered(AT_ONCE).try_collect().await
    }
}

async fn is_held(cx: &Step, name: &str) -> Result<bool, Failure> {
    Ok(own_mark(cx, name).await?.is_some() && lock(cx, name).await?.1 == Lock::Ours)
}

/// The mark first: the lock is a change, and a host without a mark obeys none.
async fn hold(cx: &Step, name: &str) -> Result<(), Failure> {
    if own_mark(cx, name).await?.is_none() {
        let mark = Mark {
            execution: cx.execution.to_string(),
            incarnation: cx.incarnation.to_string(),
            fence: cx.fence,
            direction: "forward".to_owned(),
            phase: cx.phase.clone(),
            by: cx.env.by.clone(),
        };
        common::host(cx, name)?.mark_replace(None, Some(&mark)).await.map_err(common::of(name))?;
    }
    let (path, lock) = lock(cx, name).await?;
    match lock {
        Lock::Ours => Ok(()),
        Lock::Others => Err(Failure::refused("k0sctl-runs").with("host", name)),
        Lock::Free => {
            let beside = format!("{path}.k0rotate");
            let bytes = Secret::new(lock_text(cx).into_bytes());
            let date = format!("@{}", cx.clock.now().0 / 1000 + AHEAD);
            // Dated before it is in place: a lock with the time of now would be stale in half a minute.
            let changes = vec![
                Change::Write { path: beside.clone(), bytes, mode: 0o644, owner: LOCK_OWNER },
                Change::Run(Command::new("touch", ["-m", "-d", &date, &beside])),
                Change::Rename { from: beside, to: path },
            ];
            common::change(cx, name, changes).await.map(|_| ())
        }
    }
}

/// The lock first, for the same reason.
pub async fn release(cx: &Step, name: &str) -> Result<(), Failure> {
    let Some(mark) = own_mark(cx, name).await? else { return Ok(()) };
    let (path, lock) = lock(cx, name).await?;
    if lock == Lock::Ours {
        common::change(cx, name, vec![Change::Remove { path }]).await?;
    }
    common::replace_ours(cx, name, mark, None).await
}

/// Our mark; another's is a failure that no try can mend.
async fn own_mark(cx: &Step, name: &str) -> Result<Option<Mark>, Failure> {
    let mark = common::host(cx, name)?.mark().await.map_err(common::of(name))?;
    match mark {
        Some(mark) if mark.execution != cx.execution.as_str() || mark.incarnation != cx.incarnation.as_str() => {
            Err(foreign(name, &mark))
        }
        mark => Ok(mark),
    }
}

fn foreign(name: &str, mark: &Mark) -> Failure {
    Failure::refused("host-held").with("host", name).with("by", &mark.by).with("execution", &mark.execution)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Free,
    Ours,
    Others,
}

fn lock_text(cx: &Step) -> String {
    format!("k0rotate-{}\n", cx.execution)
}

/// Where k0sctl keeps its lock on this host, and whose it is.
async fn lock(cx: &Step, name: &str) -> Result<(String, Lock), Failure> {
    let dir = common::host(cx, name)?.files(&["/run/lock".to_owned()]).await.map_err(common::of(name))?;
    let path = if dir.is_empty() { "/tmp/k0sctl.lock" } else { "/run/lock/k0sctl" };
    let lock = match common::read_text(cx, name, path).await? {
        None => Lock::Free,
        Some(text) if text == lock_text(cx) => Lock::Ours,
        Some(_) if is_stale(cx, name, path).await? => Lock::Free,
        Some(_) => Lock::Others,
    };
    Ok((path.to_owned(), lock))
}

/// Who keeps k0sctl away from a host, or is k0sctl itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockedBy {
    /// An execution of k0rotate.
    Execution(String),
    /// k0sctl, or somebody who writes its lock.
    K0sctl,
}

/// Looks at k0sctl's lock, for people; a stale one is none.
pub async fn locked_by(cx: &Step, name: &str) -> Result<Option<LockedBy>, Failure> {
    let (path, found) = lock(cx, name).await?;
    if found == Lock::Free {
        return Ok(None);
    }
    let text = common::read_text(cx, name, &path).await?.unwrap_or_default();
    let execution = text.trim().strip_prefix("k0rotate-").map(str::to_owned);
    Ok(Some(execution.map_or(LockedBy::K0sctl, LockedBy::Execution)))
}

/// Takes the lock of an execution that is over off a host that was away when it ended. Our mark must be there: it is a change.
pub async fn remove_lock_of(cx: &Step, name: &str, execution: &str) -> Result<(), Failure> {
    if locked_by(cx, name).await? != Some(LockedBy::Execution(execution.to_owned())) {
        return Ok(());
    }
    let (path, _) = lock(cx, name).await?;
    common::change(cx, name, vec![Change::Remove { path }]).await.map(drop)
}

async fn is_stale(cx: &Step, name: &str, path: &str) -> Result<bool, Failure> {
    let output = common::exec(cx, name, Command::new("stat", ["-c", "%Y", path])).await?;
    let Ok(touched) = output.text().trim().parse::<u64>() else { return Ok(false) };
    let now = common::host(cx, name)?.clock().await.map_err(common::of(name))? / 1000;
    Ok(touched + K0SCTL_STALE < now)
}

/// For [`k0rotate_engine::workflow::Workflow::hold`]: makes the marks of this execution those of this opening, where an earlier one that
/// is known as a predecessor set them, and those of the phase in which it is now. A host without a mark obeys nothing: where one is due it
/// is missed, else passed over.
pub async fn renew(fleet: &Fleet, hosts: &[String], by: &HoldCx) -> Result<(), HoldFailure> {
    let due = if by.course.taken.is_empty() { &[] } else { hosts };
    renew_beside(fleet, &Marks { hosts, due, resting: &[] }, by).await
}

/// Which marks a hold is about.
pub struct Marks<'a> {
    /// All hosts on which a mark may lie.
    pub hosts: &'a [String],
    /// Those on which one was set, and is missed unless they are let go.
    pub due: &'a [String],
    /// Executions that rest or have ended, whose marks may lie there until they are borrowed.
    pub resting: &'a [&'a str],
}

/// The same of other hosts that have the mark of this execution: those that were left and answer again and, on the way back, those that it took
/// in. Who does not answer at once is not waited for: a step that needs it will say so.
pub async fn renew_others(fleet: &Fleet, hosts: &[String], by: &HoldCx) -> Result<(), HoldFailure> {
    let left = |name: &String| by.course.left.contains(name);
    let others = fleet.hosts.keys().filter(|name| left(name) || by.back && !hosts.contains(name));
    let all: Vec<_> = others.map(|name| Box::pin(renew_other(fleet, name, by))).collect();
    let briefly = all.into_iter().map(|one| select(one, fleet.clock.sleep(BRIEFLY)));
    for end in join_all(briefly).await {
        if let Either::Left((Err(foreign @ HoldFailure::Foreign(_)), _)) = end {
            return Err(foreign);
        }
    }
    Ok(())
}

async fn renew_other(fleet: &Fleet, name: &str, by: &HoldCx) -> Result<(), HoldFailure> {
    let Some(host) = fleet.hosts.get(name) else { return Ok(()) };
    let mark = host.mark().await.ok().flatten();
    let ours = mark.is_some_and(|mark| mark.execution == by.execution.as_str());
    let none = Marks { hosts: &[], due: &[], resting: &[] };
    if ours { renew_one(fleet, name, &none, by).await } else { Ok(()) }
}

/// The same where another execution rests beside.
pub async fn renew_beside(fleet: &Fleet, of: &Marks<'_>, by: &HoldCx) -> Result<(), HoldFailure> {
    let held = of.hosts.iter().filter(|name| !by.course.left.contains(name));
    let all: Vec<_> = held.map(|name| renew_one(fleet, name, of, by)).collect();
    let results: Vec<Result<(), HoldFailure>> = stream::iter(all).buffered(AT_ONCE).collect().await;
    let mut lapsed = None;
    for result in results {
        match result {
            Err(HoldFailure::Lapsed(failure)) => lapsed = Some(failure),
            other => other?, // A foreign mark weighs more than a host that did not answer.
        }
    }
    lapsed.map_or(Ok(()), |failure| Err(HoldFailure::Lapsed(failure)))
}

async fn renew_one(fleet: &Fleet, name: &str, of: &Marks<'_>, by: &HoldCx) -> Result<(), HoldFailure> {
    let Some(host): Option<Arc<dyn Host>> = fleet.hosts.get(name).cloned() else {
        return Err(HoldFailure::Lapsed(Failure::refused("host-not-in-inventory").with("host", name)));
    };
    let lapsed = |error: HostError| HoldFailure::Lapsed(common::of(name)(error));
    let mark = match host.mark().await {
        // What lies on its disk does not lapse, and it obeys nobody meanwhile.
        Err(HostError::Unreachable | HostError::Lost | HostError::Deadline) if by.course.may_be_silent => return Ok(()),
        looked => looked.map_err(lapsed)?,
    };
    let Some(mark) = mark else {
        let among = |names: &[String]| names.iter().any(|one| one == name);
        let due = among(of.due) && !among(&by.course.let_go);
        return if due { put_back(fleet, &*host, by).await } else { Ok(()) };
    };
    if of.resting.contains(&mark.execution.as_str()) {
        return Ok(());
    }
    let of_ours = mark.execution == by.execution.as_str();
    if of_ours && mark.incarnation == by.incarnation.as_str() {
        note(&*host, &mark, by).await;
        return Ok(());
    }
    if !of_ours || !by.predecessors.iter().any(|known| known.as_str() == mark.incarnation) {
        return Err(HoldFailure::Foreign(foreign(name, &mark)));
    }
    let (incarnation, fence) = (by.incarnation.to_string(), mark.fence.max(by.fence));
    let renewed = Mark { incarnation, fence, by: fleet.by.clone(), ..noted(&mark, by) };
    match host.mark_replace(Some(&mark), Some(&renewed)).await {
        Err(HostError::Fenced(Some(found))) => Err(HoldFailure::Foreign(foreign(name, &found))),
        other => other.map_err(lapsed),
    }
}

/// A mark that is missing is put back where an operator was told of it, and only on the machine that had it: what was restored from a
/// backup, or took its name, must not obey us unlooked.
async fn put_back(fleet: &Fleet, host: &dyn Host, by: &HoldCx) -> Result<(), HoldFailure> {
    let name = host.name();
    let lapsed = |error: HostError| HoldFailure::Lapsed(common::of(name)(error));
    let known = by.put_back.get(name);
    if known.is_none() || identity::machine_id(host).await.map_err(lapsed)?.as_ref() != known {
        return Err(HoldFailure::Lapsed(Failure::new("mark-missing").with("host", name)));
    }
    let mark = Mark {
        execution: by.execution.to_string(),
        incarnation: by.incarnation.to_string(),
        fence: by.fence,
        direction: String::new(),
        phase: String::new(),
        by: fleet.by.clone(),
    };
    host.mark_replace(None, Some(&noted(&mark, by))).await.map_err(lapsed)
}

/// The mark as it reads in the phase that the drive is in.
fn noted(mark: &Mark, by: &HoldCx) -> Mark {
    let direction = if by.back { "back" } else { "forward" }.to_owned();
    let phase = by.course.phase.clone().unwrap_or_else(|| mark.phase.clone());
    Mark { direction, phase, ..mark.clone() }
}

/// Writes the phase into our mark if it is another; for people alone, so one that cannot be written is no failure.
async fn note(host: &dyn Host, mark: &Mark, by: &HoldCx) {
    let noted = noted(mark, by);
    if noted != *mark {
        let _ = host.mark_replace(Some(mark), Some(&noted)).await;
    }
}

/// At rest the marks say where. Who does not answer at once is not waited for.
pub async fn note_at_rest(fleet: &Fleet, hosts: &[String], by: &HoldCx) {
    let one = async |host: Arc<dyn Host>| {
        if let Ok(Some(mark)) = host.mark().await
            && (mark.execution.as_str(), mark.incarnation.as_str()) == (by.execution.as_str(), by.incarnation.as_str())
        {
            note(&*host, &mark, by).await;
        }
    };
    let held = hosts.iter().filter(|name| !by.course.left.contains(name) && !by.course.let_go.contains(name));
    let all: Vec<_> = held.filter_map(|name| fleet.hosts.get(name)).map(|host| Box::pin(one(host.clone()))).collect();
    join_all(all.into_iter().map(|one| select(one, fleet.clock.sleep(BRIEFLY)))).await;
}
