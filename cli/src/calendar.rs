//! When the certificates of a cluster end: what a look saw, kept beside its store, and which thresholds were crossed since the look before.

use crate::survey::Survey;
use crate::telemetry::sent::replace;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Its name in the folder of the store.
const FILE: &str = "certificates.json";
/// The only format so far.
const FORMAT: u32 = 1;
/// Somebody is told when no more than so many days are left of a root: replacing one wants to be planned.
pub const OF_ROOTS: [i64; 8] = [0, 1, 3, 7, 14, 30, 90, 180];
/// The same of what a root signed.
pub const OF_LEAFS: [i64; 6] = [0, 1, 3, 7, 14, 30];

const DAY: i64 = 86_400;

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    format: u32,
    /// When.
    pub at: Timestamp,
    /// Of each root on each host the certificate that ends first, and of what it signed.
    pub ends: Vec<End>,
    /// Hosts that could not be looked at. What was seen of them before stays.
    pub unseen: Vec<String>,
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Where.
    pub host: String,
    /// The root that it is or was signed by.
    pub root: String,
    /// Whether it is the root itself.
    pub is_root: bool,
    /// Its path there.
    pub path: String,
    /// Seconds since 1970.
    pub not_after: i64,
    /// From when it is valid; none if the look that saw it did not see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
}

/// A certificate of which less is left than at the look before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crossed {
    /// Which.
    pub end: End,
    /// Whole days; negative if it is over.
    pub days_left: i64,
    /// The threshold, in days.
    pub threshold: i64,
}

impl End {
    /// As metrics name it.
    pub fn kind(&self) -> &'static str {
        if self.is_root { "root" } else { "leaf" }
    }

    fn place(&self) -> (&str, &str, bool) {
        (&self.host, &self.root, self.is_root)
    }

    /// Whole days; what ended a minute ago has -1.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after - i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)).div_euclid(DAY)
    }

    /// The tightest threshold that it is within.
    fn within(&self, now: Timestamp) -> Option<i64> {
        let all: &[i64] = if self.is_root { &OF_ROOTS } else { &OF_LEAFS };
        let left = self.days_left(now);
        all.iter().copied().find(|threshold| left <= *threshold)
    }
}

impl Look {
    /// What a survey saw; what the look before saw of hosts that are silent now stays.
    pub fn of(inventory: &Inventory, survey: &Survey, before: Option<&Self>) -> Self {
        let unseen: Vec<String> =
            survey.hosts.iter().filter(|(_, seen)| seen.is_err()).map(|(host, _)| host.clone()).collect();
        let mut ends: Vec<End> = survey.seen(inventory).flat_map(of_host).collect();
        let known = before.iter().flat_map(|before| &before.ends).filter(|end| unseen.contains(&end.host));
        ends.extend(known.cloned());
        Self { format: FORMAT, at: survey.at, ends, unseen }
    }

    /// The one that lies in this folder. One that is not ours is none.
    pub fn read(dir: &Path) -> Option<Self> {
        let look: Self = serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok()?;
        Some(look).filter(|look| look.format == FORMAT)
    }

    /// Keeps it there, durably.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        replace(&dir.join(FILE), &bytes).map_err(|e| format!("{FILE}: {e}"))
    }

    /// What came within a tighter threshold since the look before; all that is within one, if there was none.
    pub fn crossed(&self, before: Option<&Self>) -> Vec<Crossed> {
        let known: BTreeMap<_, Option<i64>> = before
            .iter()
            .flat_map(|before| before.ends.iter().map(|end| (end.place(), end.within(before.at))))
            .collect();
        let crossed = |end: &End| {
            let threshold = end.within(self.at)?;
            let was = known.get(&end.place()).copied().flatten();
            let is_new = was.is_none_or(|was| threshold < was);
            is_new.then(|| Crossed { end: end.clone(), days_left: end.days_left(self.at), threshold })
        };
        self.ends.iter().filter_map(crossed).collect()
    }
}

fn of_host(facts: &HostFacts) -> Vec<End> {
    let mut first: BTreeMap<(String, bool), End> = BTreeMap::new();
    for file in &facts.trust {
        let Some(not_after) = file.not_after else { continue };
        let (host, root, is_root) = (facts.host.name.clone(), file.root.name().to_owned(), file.is_root);
        let (path, not_before) = (file.path.clone(), file.not_before);
        let end = End { host, root: root.clone(), is_root, path, not_after, not_before };
        let known = first.entry((root, is_root)).or_insert_with(|| end.clone());
        if not_after < known.not_after {
            *known = end;
        }
    }
    first.into_values().collect()
}

#[cfg(test)]
pub mod tests {
    //! Shows when somebody is told, and that it is kept.

    use super::{DAY, End, FORMAT, Look};
    use k0rotate_engine::clock::Timestamp;

    /// Roots and leafs by host, from and until a day.
    pub fn look_with(ends: &[(&str, &str, bool, Option<i64>, i64)]) -> Look {
        let end = |(host, root, is_root, from, until): &(&str, &str, bool, Option<i64>, i64)| End {
            host: (*host).to_owned(),
            root: (*root).to_owned(),
            is_root: *is_root,
            path: "p".into(),
            not_after: until * DAY,
            not_before: from.map(|from| from * DAY),
        };
        Look { format: FORMAT, at: Timestamp(0), ends: ends.iter().map(end).collect(), unseen: Vec::new() }
    }

    fn look(day: i64, ends: &[(&str, bool, i64)]) -> Look {
        let end = |(host, is_root, left): &(&str, bool, i64)| End {
            host: (*host).to_owned(),
            root: "kubernetes-ca".into(),
            is_root: *is_root,
            path: "p".into(),
            not_after: (day + left) * DAY,
            not_before: None,
        };
        let at = Timestamp(u64::try_from(day * DAY).expect("after 1970") * 1000);
        Look { format: FORMAT, at, ends: ends.iter().map(end).collect(), unseen: Vec::new() }
    }

    /// Goal: each threshold is told once, on the day on which it is crossed; the first look tells what is within one; what was renewed is told no
    /// more; leafs are told later than roots.
    #[test]
    fn each_threshold_is_told_once() {
        let told = |before: Option<&Look>, now: &Look| -> Vec<(i64, i64)> {
            now.crossed(before).iter().map(|crossed| (crossed.days_left, crossed.threshold)).collect()
        };
        let all = [("c1", true, 200), ("c1", false, 200), ("c2", true, 8)];
        let first = look(1000, &all);
        assert_eq!(told(None, &first), [(8, 14)]);
        assert_eq!(told(Some(&first), &first), []);
        let next = look(1001, &[("c1", true, 180), ("c1", false, 180), ("c2", true, 7)]);
        assert_eq!(told(Some(&first), &next), [(180, 180), (7, 7)]);
        let renewed = look(1002, &[("c1", true, 179), ("c1", false, 30), ("c2", true, 3650)]);
        assert_eq!(told(Some(&next), &renewed), [(30, 30)]);
        let over = look(1040, &[("c1", true, 141), ("c1", false, -8)]);
        assert_eq!(told(Some(&renewed), &over), [(-8, 0)], "days in which nobody looked are made up for");
    }

    /// Goal: a look is there again for another process, and what is no look is none.
    #[test]
    fn a_look_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Look::read(dir.path()), None);
        let seen = look(1000, &[("c1", true, 200)]);
        seen.write(dir.path()).expect("there is room");
        assert_eq!(Look::read(dir.path()), Some(seen));
        std::fs::write(dir.path().join(super::FILE), "{}").expect("it is ours");
        assert_eq!(Look::read(dir.path()), None);
    }
}
