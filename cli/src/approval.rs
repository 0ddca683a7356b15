//! Somebody else's approval: which rotation waits for it, who may give it, and whether what they approve is still so.

use crate::ahead::{Ahead, Seen};
use crate::args::Global;
use crate::break_glass;
use crate::config::{Settings, keys};
use crate::error::Error;
use crate::plan::agreed::{beginning, insist};
use crate::plan::digest::{self, SHOWN};
use crate::plan::forecast::Forecast;
use crate::plan::look::{self, Eyes};
use crate::render::rfc3339;
use crate::report::{self, forward_outputs};
use crate::wish::{Act, Ready, Say, Wish};
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::{APPROVAL, Rotate};
use std::collections::BTreeMap;
use std::time::Duration;

/// Whether it waits for one.
pub fn is_waited_for(view: &ExecutionView) -> bool {
    matches!(&view.state.status, Status::Waiting { name, .. } if name == APPROVAL)
}

/// Whether this is a word of those who approve.
pub fn is_said(wish: &Wish) -> bool {
    matches!(wish, Wish::Word { say: Say::Approve | Say::Decline, .. })
}

/// The digest of the plan that it goes by: of what it found when it began.
pub fn plan_of(view: &ExecutionView) -> Option<String> {
    let rotate: Rotate = view.input.decode().ok()?;
    let mut first: BTreeMap<String, HostFacts> = BTreeMap::new();
    for (host, facts) in forward_outputs::<CheckHost, HostFacts>(view) {
        first.entry(host).or_insert(facts);
    }
    let facts: Vec<HostFacts> = first.into_values().collect();
    let (_, cluster) = forward_outputs::<CheckCluster, ClusterFacts>(view).into_iter().next()?;
    Some(digest::digest(&facts, &cluster, &rotate))
}

/// Its plan as people are told it.
fn shown(view: &ExecutionView) -> String {
    plan_of(view).map_or_else(|| "?".to_owned(), |digest| digest.chars().take(SHOWN).collect())
}

/// Where it is, in a sentence.
pub fn state(view: &ExecutionView) -> String {
    format!(
        "waits for somebody else than {} to approve plan {}; nothing was stopped, and the first trust is in use",
        view.by,
        shown(view)
    )
}

/// What an approval says of it.
pub fn approved(view: &ExecutionView) -> String {
    let from = view.input.decode::<Rotate>().ok().and_then(|rotate| rotate.not_before);
    let from =
        from.map_or_else(String::new, |from| format!("; the controllers are not stopped before {}", rfc3339(from)));
    format!("{} is approved, by plan {}{from}", view.execution, shown(view))
}

/// Why a rotation was taken back that was declined.
pub fn declined(reason: &str) -> String {
    if reason.is_empty() { "declined".to_owned() } else { format!("declined: {reason}") }
}

/// That somebody else will have to approve a rotation, and who may; or that nobody is waited for, and why.
pub fn ahead(settings: &Settings, cluster: &str, rotate: &Rotate) -> Option<String> {
    if let Some(skipped) = rotate.break_glass {
        return Some(break_glass::ahead(skipped));
    }
    let by = settings.texts(Some(cluster), keys::WHO_APPROVE).join(" ");
    let by = if by.is_empty() { "nobody, for who.approve names none".to_owned() } else { format!("one of {by}") };
    rotate.approval.then(|| {
        format!("wanted once all is prepared, before the controllers are stopped, by {by}: somebody else than who asks for it, and not root")
    })
}

/// Where no daemon knows who asks, two persons may be one.
pub fn only_with_a_daemon(global: &Global, inventory: &Inventory, wish: &Wish) -> Result<(), Error> {
    let wanted = matches!(wish, Wish::Rotate { options, .. } if !options.compromised)
        && global.settings.wants_approval(&inventory.name);
    if wanted || is_said(wish) {
        let name = &inventory.name;
        return Err(Error::NoRight(format!(
            "an approval is given through the daemon, which knows who asks: not here for {name}"
        )));
    }
    Ok(())
}

/// Refuses whoever asked for it.
pub fn not_the_asker(view: &ExecutionView, by: &str) -> Result<(), Error> {
    if view.by == by {
        return Err(Error::NoRight(format!("{by} asked for {}: somebody else must approve it", view.execution)));
    }
    Ok(())
}

/// An approval is for one that waits for it, and one that waits for it is not yet to be finalized.
pub fn allows(view: &ExecutionView, say: Say) -> Result<(), Error> {
    let refused = || Err(Error::Word(format!("{} is {}", view.execution, report::state(view))));
    match (say, is_waited_for(view)) {
        (Say::Approve | Say::Decline, false) | (Say::Finalize, true) => refused(),
        _ => Ok(()),
    }
}

/// Looks whether all is still as it was planned, and in time.
pub async fn ready(eyes: &Eyes<'_>, view: ExecutionView, plan: Option<&str>) -> Result<Ready, Error> {
    let unread = || Error::Log(format!("what {} found cannot be read", view.execution));
    let rotate: Rotate = view.input.decode().map_err(|_| unread())?;
    let was = plan_of(&view).ok_or_else(unread)?;
    if let Some(asked) = plan {
        insist(&beginning(asked)?, &was)?;
    }
    in_time(&rotate, eyes.now())?;
    let survey = eyes.look(&rotate).await?;
    let whole = look::whole(eyes.inventory, &survey, rotate.hosts.len());
    let unseen =
        || Error::Host("not all of the cluster can be looked at: whether the plan still fits is not known".into());
    let (facts, cluster) = whole.ok_or_else(unseen)?;
    insist(&was, &digest::digest(&facts, &cluster, &rotate))?;
    let forecast = Some(Forecast::of(&facts, &cluster, &rotate).await);
    let why = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
    let plan = Some(format!("{}, asked for by {}{why}", shown(&view), view.by));
    let ahead = Ahead { plan, ..Ahead::of_rotation(&rotate, Some(&Seen { survey, digest: None, forecast })) };
    Ok(Ready::new(Some(ahead), Act::Approve(Box::new(view))))
}

/// An approval that comes too late for its window lapses: the rotation would only go back.
fn in_time(rotate: &Rotate, now: Timestamp) -> Result<(), Error> {
    let room = Duration::from_secs(rotate.room_seconds);
    match rotate.not_after.filter(|until| now.plus(room) > *until) {
        Some(until) => Err(Error::Window(format!(
            "the window that it was for, until {}, has passed: roll it back, and ask for it again",
            rfc3339(until)
        ))),
        None => Ok(()),
    }
}
