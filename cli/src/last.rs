//! The last moment for a roll-back: a day before the first of the old roots ends, which would be in use again.

use crate::render::rfc3339;
use crate::report::forward_outputs;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::{HostFacts, TrustFile};
use k0rotate_activities::fleet::Root;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::fmt;

/// A way back takes minutes; the rest of the day is for those who notice late.
const DAY_SECONDS: i64 = 86_400;

/// See the file's sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastMoment {
    /// When.
    pub at: Timestamp,
    /// The root that ends first.
    pub root: Root,
}

impl LastMoment {
    /// Of a rotation of these roots on hosts as they were found; none where no root has an end.
    pub fn of(facts: &[HostFacts], roots: &[Root]) -> Option<Self> {
        first(facts.iter().flat_map(|facts| &facts.trust), roots)
    }

    /// Of an execution that can still be rolled back, as it found its hosts.
    pub fn of_view(view: &ExecutionView) -> Option<Self> {
        let rotate: Rotate = view.input.decode().ok().filter(|_| view.workflow == "rotate")?;
        let found = forward_outputs::<CheckHost, HostFacts>(view).into_iter().map(|(_, facts)| facts);
        Self::of(&found.collect::<Vec<_>>(), &rotate.roots)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now > self.at
    }
}

fn first<'a>(all: impl Iterator<Item = &'a TrustFile>, roots: &[Root]) -> Option<LastMoment> {
    let ends = all.filter(|file| file.is_root && roots.contains(&file.root));
    let (end, root) = ends.filter_map(|file| Some((file.not_after?, file.root))).min()?;
    let at = u64::try_from(end.saturating_sub(DAY_SECONDS)).unwrap_or(0);
    Some(LastMoment { at: Timestamp(at.saturating_mul(1000)), root })
}

impl fmt::Display for LastMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (a day before the old {} ends)", rfc3339(self.at), self.root.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the first end of the roots that were replaced counts, wherever it lies; leafs and other roots do not.
    #[test]
    fn a_day_before_the_first_end() {
        let file = |root, not_after, is_root| TrustFile {
            path: String::new(),
            root,
            is_root,
            fingerprint: String::new(),
            common_name: String::new(),
            not_after,
            not_before: None,
        };
        let ends = [
            file(Root::KubernetesCa, Some(200_000), true),
            file(Root::KubernetesCa, Some(90_000), false),
            file(Root::EtcdCa, Some(95_000), true),
            file(Root::FrontProxyCa, Some(100_000), true),
            file(Root::ServiceAccount, None, true),
        ];
        let last = |roots: &[Root]| first(ends.iter(), roots);
        let both = last(&[Root::KubernetesCa, Root::FrontProxyCa]).expect("both end");
        assert_eq!((both.at, both.root), (Timestamp(13_600_000), Root::FrontProxyCa));
        assert!(both.is_over(Timestamp(13_600_001)) && !both.is_over(Timestamp(13_600_000)));
        assert_eq!(last(&[Root::ServiceAccount]), None);
    }
}
