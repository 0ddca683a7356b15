//! What a cluster's policies say is due: a rotation by the end or the age of a root, a reminder of finalize, its end by itself. Pure.

use crate::calendar::{End, Look};
use crate::config::{Settings, keys};
use crate::confirm::counted;
use crate::drive::duration;
use crate::render::rfc3339;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::ExecutionView;
use std::time::Duration;

/// How events name the daemon where nobody asked: no user of a machine can have this name.
pub const WHO: &str = "(policy)";

const DAY: i64 = 86_400;

/// See the file's sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A rotation is due once less than this is left of a root.
    pub rotate_before: Option<Duration>,
    /// A rotation is due once a root is older than this.
    pub max_age: Option<Duration>,
    /// Whether one that is due is begun by the daemon.
    pub unattended: bool,
    /// Somebody is reminded of a rotation that waits for finalize this often.
    pub remind: Option<Duration>,
    /// One that waited for so long is finalized by the daemon.
    pub finalize_after: Option<Duration>,
}

/// A root for which a rotation is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which, by its very certificate: of each it is told once.
    pub key: String,
    /// Why.
    pub why: String,
}

impl Policy {
    /// As it is configured.
    pub fn of(settings: &Settings, cluster: &str) -> Self {
        let long = |key| {
            let text = settings.duration(cluster, key)?;
            duration(text).ok().map(Duration::from_secs)
        };
        Self {
            rotate_before: long(keys::ROTATE_BEFORE),
            max_age: long(keys::MAX_AGE),
            unattended: settings.flag(cluster, keys::UNATTENDED),
            remind: long(keys::FINALIZE_REMIND),
            finalize_after: long(keys::FINALIZE_AFTER),
        }
    }

    /// The first root, of those that a rotation replaces, for which one is due.
    pub fn due(&self, look: &Look, roots: &[&str], now: Timestamp) -> Option<Due> {
        let ours = look.ends.iter().filter(|end| end.is_root && roots.contains(&end.root.as_str()));
        let ending = ours
            .clone()
            .filter(|end| self.rotate_before.is_some_and(|before| end.not_after - seconds(now) < whole(before)));
        let aged = ours.filter(|end| {
            self.max_age.is_some_and(|most| end.not_before.is_some_and(|from| seconds(now) - from > whole(most)))
        });
        let ends = ending.min_by_key(|end| end.not_after).map(|end| {
            let left = match usize::try_from(end.days_left(now)) {
                Ok(days) => format!("ends in {}", counted(days, "day")),
                Err(_) => "is over".to_owned(),
            };
            due(end, &format!("{left} (policy.rotate_before)"))
        });
        let old = || {
            aged.min_by_key(|end| end.not_before).map(|end| {
                let days = (seconds(now) - end.not_before.unwrap_or_default()).div_euclid(DAY);
                due(end, &format!("is {} old (policy.max_age)", counted(usize::try_from(days).unwrap_or(0), "day")))
            })
        };
        ends.or_else(old)
    }

    /// How many reminders are due of one that waits for finalize.
    pub fn reminders(&self, view: &ExecutionView, now: Timestamp) -> u64 {
        let waited = waits_for_finalize(view).map(|since| now.since(since).as_secs());
        match (self.remind.map(|every| every.as_secs().max(1)), waited) {
            (Some(every), Some(waited)) => waited / every,
            _ => 0,
        }
    }

    /// When one that waits for finalize is finalized by itself.
    pub fn finalizes_at(&self, view: &ExecutionView) -> Option<Timestamp> {
        Some(waits_for_finalize(view)?.plus(self.finalize_after?))
    }

    /// What is shown of one that waits for finalize.
    pub fn shown(&self, view: &ExecutionView, now: Timestamp) -> Vec<String> {
        let Some(since) = waits_for_finalize(view) else { return Vec::new() };
        let days = usize::try_from(now.since(since).as_secs() / DAY.unsigned_abs()).unwrap_or(usize::MAX);
        let waits = self
            .remind
            .map(|_| format!("  waits      for finalize since {} ({})", rfc3339(since), counted(days, "day")));
        let ends = self
            .finalizes_at(view)
            .map(|at| format!("  finalizes  by itself at {} (finalize.after): the way back ends then", rfc3339(at)));
        waits.into_iter().chain(ends).collect()
    }
}

/// Since when it waits for finalize, if it does.
pub fn waits_for_finalize(view: &ExecutionView) -> Option<Timestamp> {
    let waits = matches!(&view.state.status, Status::Waiting { name, until: None } if name == "finalize");
    waits.then_some(view.since)
}

fn due(end: &End, what: &str) -> Due {
    let (root, host) = (&end.root, &end.host);
    Due { key: format!("{root} {host} {}", end.not_after), why: format!("{root} on {host} {what}") }
}

fn seconds(now: Timestamp) -> i64 {
    i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)
}

fn whole(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    //! Shows when a rotation is due.

    use super::{DAY, Policy};
    use crate::calendar::tests::look_with;
    use k0rotate_engine::clock::Timestamp;
    use std::time::Duration;

    /// Goal: the first root to end, or the oldest, that a rotation replaces; to the second; a leaf, a root that stays, and one whose age is not known make nothing due.
    #[test]
    fn what_is_due() {
        let days = |days: u64| Some(Duration::from_hours(24 * days));
        let day = |day: i64| Timestamp(u64::try_from(day * DAY).expect("after 1970") * 1000);
        let look = look_with(&[
            ("c1", "kubernetes-ca", true, Some(0), 1000),
            ("c2", "kubernetes-ca", true, Some(10), 990),
            ("c1", "etcd-ca", true, Some(5), 400),
            ("c1", "kubernetes-ca", false, Some(0), 20),
            ("c1", "front-proxy-ca", true, None, 5000),
        ]);
        let why = |policy: Policy, roots: &[&str], now| policy.due(&look, roots, now).map(|due| due.why);
        let ending = Policy { rotate_before: days(180), ..Policy::default() };
        assert_eq!(why(ending, &["kubernetes-ca"], day(810)), None);
        let one_later = Timestamp(day(810).0 + 1000);
        let said = Some("kubernetes-ca on c2 ends in 179 days (policy.rotate_before)".to_owned());
        assert_eq!(why(ending, &["kubernetes-ca"], one_later), said);
        assert_eq!(why(ending, &["front-proxy-ca"], day(2000)), None);
        let gone = Some("kubernetes-ca on c2 is over (policy.rotate_before)".to_owned());
        assert_eq!(why(ending, &["kubernetes-ca"], day(991)), gone);
        let aging = Policy { max_age: days(365), ..Policy::default() };
        assert_eq!(why(aging, &["kubernetes-ca", "front-proxy-ca"], day(365)), None);
        let old = Some("kubernetes-ca on c1 is 365 days old (policy.max_age)".to_owned());
        assert_eq!(why(aging, &["kubernetes-ca"], Timestamp(day(365).0 + 1000)), old);
        assert_eq!(why(aging, &["front-proxy-ca"], day(3000)), None, "nobody knows how old it is");
        assert_eq!(why(Policy::default(), &["kubernetes-ca"], day(3000)), None);
    }
}
