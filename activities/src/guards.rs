//! Conditions that a runbook asks right before it goes on, and never remembers.

use crate::activity::common;
use crate::activity::look_again::{self, Today};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Command, Host, HostError};
use crate::kubeconfig::Kubeconfig;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::workflow::Guard;
use std::time::Duration;

/// Whether the window leaves room for the way forward and, should it fail, the way back.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its end, if there is one.
    pub not_after: Option<Timestamp>,
    /// What both ways are expected to take.
    pub room: Duration,
}

impl Guard<Fleet> for Window {
    const NAME: &'static str = "window";
    const ROLLS_BACK: bool = true;

    async fn check(&self, env: &Fleet) -> Result<(), Failure> {
        match self.not_after {
            Some(end) if env.clock.now().plus(self.room) > end => Err(Failure::refused("window-passed")
                .with("not-after", end.0)
                .with("room-seconds", self.room.as_secs())),
            _ => Ok(()),
        }
    }
}

/// Whether what somebody approved is still so: it lapses where the world is another one.
#[derive(Clone, Debug)]
pub struct AsApproved {
    /// The first host that is another one than when it was approved, or `cluster`; none if all is as it was.
    pub differs: Option<String>,
}

impl Guard<Fleet> for AsApproved {
    const NAME: &'static str = "as-approved";

    async fn check(&self, _: &Fleet) -> Result<(), Failure> {
        match &self.differs {
            Some(host) => Err(Failure::refused("approval-lapsed").with("host", host)),
            None => Ok(()),
        }
    }
}

/// Whether each host that was left has been let in again since: the old keys must not go while one still rests on them.
#[derive(Clone, Debug)]
pub struct AllAreIn {
    /// Hosts that were left, but for those that an operator left behind.
    pub left: Vec<K0sHost>,
    /// The Kubernetes CA in use, PEM.
    pub ca: String,
}

impl Guard<Fleet> for AllAreIn {
    const NAME: &'static str = "all-are-in";

    async fn check(&self, env: &Fleet) -> Result<(), Failure> {
        for left in &self.left {
            if !is_in(env, left, &self.ca).await? {
                return Err(Failure::refused("host-still-left").with("host", &left.name));
            }
        }
        Ok(())
    }
}

async fn is_in(env: &Fleet, left: &K0sHost, ca: &str) -> Result<bool, Failure> {
    let Some(host) = env.hosts.get(&left.name) else { return Ok(false) };
    let file = if left.role.is_controller() { "pki/ca.crt" } else { "kubelet.conf" };
    let path = format!("{}/{file}", left.data_dir);
    let Some(bytes) = host.read(&path).await.map_err(common::of(&left.name))? else { return Ok(false) };
    let found = match Kubeconfig::read(&bytes) {
        Ok(conf) => conf.ca,
        Err(_) => String::from_utf8_lossy(bytes.expose()).into_owned(),
    };
    Ok(found.trim() == ca.trim() && runs(&**host, left).await?)
}

/// Whether k0s runs there, and on a controller an API server that calls itself ready: the new files alone came before both.
async fn runs(host: &dyn Host, left: &K0sHost) -> Result<bool, Failure> {
    let ask = async |args: &[&str]| {
        host.exec(Command::new(&left.k0s, args.iter().copied())).await.map_err(common::of(&left.name))
    };
    if !ask(&["status", "-o", "json"]).await?.ok() {
        return Ok(false);
    }
    Ok(!left.role.is_controller() || ask(&["kubectl", "get", "--raw", "/readyz"]).await?.ok())
}

/// Whether each host that is held answers: one that does not could not be let go, unless it is left behind first.
pub async fn all_answer(env: &Fleet, held: &[String]) -> Result<(), Failure> {
    for name in held {
        let host = env.hosts.get(name).ok_or_else(|| Failure::refused("host-not-in-inventory").with("host", name))?;
        host.mark().await.map_err(common::of(name))?;
    }
    Ok(())
}

/// Whether a roll-back with the control plane up can be carried through: the inventory knows who came since, and each controller that is
/// still one answers, and runs the k0s that it ran; so does every other host that was not left: those that are `away` were, here or by word.
pub async fn may_roll_back(
    env: &Fleet,
    stopped: &[K0sHost],
    known: &[K0sHost],
    left_behind: &[String],
    away: &[String],
) -> Result<(), Failure> {
    if stopped.is_empty() {
        return Ok(());
    }
    let today = Today::of(env, known).await?;
    let gone = today.gone(known);
    look_again::none_runs_outside(env, known, &gone).await?;
    strangers(env, &today, known, left_behind).await?;
    for controller in stopped.iter().filter(|controller| !gone.contains(&controller.name)) {
        let name = &controller.name;
        let host = env.hosts.get(name).ok_or_else(|| Failure::refused("host-not-in-inventory").with("host", name))?;
        let output = host.exec(Command::new(&controller.k0s, ["version"])).await.map_err(away_from(name))?;
        let version = output.text().trim().to_owned();
        if version != controller.version {
            return Err(Failure::refused("k0s-version-changed").with("host", name).with("was", &controller.version));
        }
    }
    let held = known.iter().map(|host| host.name.clone()).filter(|name| !away.contains(name));
    let (gone, here): (Vec<String>, Vec<String>) = held.partition(|name| gone.contains(name));
    all_answer(env, &here).await?;
    out_of_inventory(env, &gone).await
}

/// Who left the cluster is held as long as it is in the inventory, so it must answer till then.
async fn out_of_inventory(env: &Fleet, gone: &[String]) -> Result<(), Failure> {
    for name in gone.iter().filter(|name| env.hosts.contains_key(*name)) {
        let answers = all_answer(env, std::slice::from_ref(name)).await;
        answers.map_err(|_| Failure::refused("gone-host-in-inventory").with("host", name))?;
    }
    Ok(())
}

/// Its etcd member has to go before its absence can be passed over.
fn away_from(name: &str) -> impl Fn(HostError) -> Failure + '_ {
    move |error| Failure::refused("controller-away").with("host", name).with("why", common::of(name)(error).code)
}

/// Each newcomer must answer, but those that were left behind from the start. A Node may be called otherwise than its host, so only so
/// many strangers as there are newcomers can be theirs; look-again finds out which.
async fn strangers(env: &Fleet, today: &Today, known: &[K0sHost], left_behind: &[String]) -> Result<(), Failure> {
    let mut newcomers = 0;
    for member in look_again::newcomers(env, known) {
        newcomers += 1;
        let name = &member.name;
        if left_behind.contains(name) {
            continue;
        }
        let host = env.hosts.get(name).ok_or_else(|| Failure::refused("host-not-in-inventory").with("host", name))?;
        host.boot_id().await.map_err(common::of(name))?;
    }
    let strangers = today.strangers(env, &known.iter().collect::<Vec<_>>(), left_behind);
    if strangers.len() > newcomers { strangers.into_iter().next().map_or(Ok(()), Err) } else { Ok(()) }
}
