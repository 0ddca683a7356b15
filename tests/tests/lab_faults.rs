//! The binary on real machines that lose power, links and sshd in every phase, forward and back.

use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::stand::Stand;
use k0rotate_tests::lab::tool::{Lives, before_the_wait, hit_all_of};
use k0rotate_tests::lab::trouble::Trouble;
use k0rotate_tests::tier::{Tier, not_in, tier};
use k0rotate_workflows::phases;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::process::Child;

const MACHINES: usize = 5;
/// A way that was taken back by itself, as it may be before and while the control plane is down, is begun again so often.
const MOST_ROTATIONS: usize = 8;

/// What one machine after the other suffers in the usual tier, another in each phase; in the full one each of them in every phase.
const USUAL: [Trouble; 4] = [Trouble::PowerCut, Trouble::Link(Duration::from_secs(5)), Trouble::Sshd, Trouble::Reboot];

/// Set to the beginning of a kind of trouble, runs that alone.
const ONLY: &str = "K0ROTATE_TROUBLE";

/// Both ways of a rotation, in trouble.
struct Ways<'a>(Stand<'a>);

impl<'a> Deref for Ways<'a> {
    type Target = Stand<'a>;

    fn deref(&self) -> &Stand<'a> {
        &self.0
    }
}

impl Ways<'_> {
    /// Trouble of one kind after the other on one machine after the other, in each phase of this way.
    async fn way(&self, verb: &str, but: &BTreeSet<String>, kinds: &[Trouble]) -> Lives {
        let mut n = but.len();
        let befall = async |phase: &str, _: &mut Child| {
            n += 1;
            let trouble = kinds[n % kinds.len()];
            eprintln!("  {trouble:?} on h{} in {phase}", n % MACHINES + 1);
            trouble.befall(self.lab, n % MACHINES + 1).await;
            true
        };
        self.tool.troubled_in_every_phase(&[verb], but.clone(), befall).await
    }

    /// A host that was away for longer than a node is waited for is let in again.
    fn let_in_who_was_left(&self) {
        let show = self.tool.verb(&["show", "-o", "json"]);
        let show: serde_json::Value = serde_json::from_slice(&show.stdout).expect("it is JSON");
        let left = show["left"].as_array().expect("a list").iter();
        for host in left.filter_map(serde_json::Value::as_str) {
            eprintln!("  {host} was left");
            self.tool.exits(&["rejoin", host, "--yes", "--reason", "a test"], 0);
        }
    }

    /// Forward until it waits, whatever is taken back by itself on the way; then back to the first trust.
    async fn there_and_back(&self, trouble: &[Trouble]) {
        let begun = Instant::now();
        let (mut hit, mut rotations, mut resumed) = (BTreeSet::new(), 0, 0);
        loop {
            rotations += 1;
            assert!(rotations <= MOST_ROTATIONS, "{trouble:?}: no end after {rotations} rotations, {hit:?}");
            let forward = self.way("rotate", &hit, trouble).await;
            resumed += forward.resumed;
            hit.extend(forward.hit);
            match forward.code {
                Some(0) => break,
                Some(7) => break self.let_in_who_was_left(),
                Some(4) => self.as_at_first(&format!("{trouble:?}, taken back by itself")).await,
                other => panic!("{trouble:?}: {other:?}\n{}", forward.said),
            }
        }
        eprintln!("{trouble:?} forward in {hit:?}: {rotations} rotations, {resumed} resumed, {:?}", begun.elapsed());
        hit_all_of(&before_the_wait(), &hit);
        self.machines.healthy().await;
        let begun = Instant::now();
        let back = self.way("rollback", &BTreeSet::new(), trouble).await;
        assert_eq!(back.code, Some(0), "{trouble:?}: {}", back.said);
        eprintln!("{trouble:?} back in {:?}: {} resumed, {:?}", back.hit, back.resumed, begun.elapsed());
        hit_all_of(&phases::BACK, &back.hit);
        self.as_at_first(&format!("{trouble:?}, rolled back")).await;
    }
}

/// Goal: whatever befalls one machine after the other, the way forward ends verified or taken back, the way back ends with every file as it
/// was, and k0s answers through every controller.
#[tokio::test(flavor = "multi_thread")]
async fn machines_in_trouble() {
    const TEST: &str = "machines_in_trouble";
    if std::env::var_os(ONLY).is_none() && not_in(Tier::Normal) {
        return;
    }
    let k0s = Path::new(env!("CARGO_BIN_EXE_k0s-standin"));
    let Some(lab) = Lab::boot(TEST, "3+2", Some(k0s)) else { return };
    let stand = Ways(Stand::new(&lab, Path::new(env!("CARGO_BIN_EXE_k0rotate-in-test"))).await);
    let only = std::env::var(ONLY).unwrap_or_default();
    if only.is_empty() && tier() != Tier::Full {
        return stand.there_and_back(&USUAL).await;
    }
    let long = Trouble::Link(Duration::from_secs(120));
    for kind in USUAL.into_iter().chain([long]).filter(|kind| format!("{kind:?}").starts_with(&only)) {
        stand.there_and_back(&[kind]).await;
    }
}
