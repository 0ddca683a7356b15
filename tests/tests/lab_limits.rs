//! The binary on real machines with full disks, wrong clocks, other people's locks, and machines that stay away.

use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::stand::Stand;
use k0rotate_tests::tier::{Tier, not_in};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::time::Instant;

/// The controller whose disk is small.
const SMALL: &str = "2";

/// What machines lack or refuse, one after the other.
struct Limits<'a>(Stand<'a>);

impl<'a> Deref for Limits<'a> {
    type Target = Stand<'a>;

    fn deref(&self) -> &Stand<'a> {
        &self.0
    }
}

impl Limits<'_> {
    /// A command on a machine, as root.
    fn on(&self, n: &str, command: &str) -> String {
        self.lab.ask(&["ssh", n, command])
    }

    /// Leafs are dated by hosts' clocks: one that is hours off is refused while nothing is down.
    async fn a_clock_two_hours_off(&self) {
        const WRONG: &str = r#"#!/bin/sh
for last; do :; done
exec /bin/date.right -d "+2 hours" "$last""#;
        self.on("4", &format!("mv /bin/date /bin/date.right; printf '%s' '{WRONG}' >/bin/date; chmod 755 /bin/date"));
        let said = self.tool.exits(&["rotate", "--yes"], 4);
        refused(&said, "clock-skew");
        self.on("4", "mv /bin/date.right /bin/date");
        self.as_at_first("a clock two hours off").await;
    }

    /// k0sctl is not to meet a cluster that is half-rotated, nor we one that it works on.
    async fn k0sctl_at_work(&self) {
        self.on("1", "echo somebody-else >/run/lock/k0sctl; touch -d '+1 hour' /run/lock/k0sctl");
        let said = self.tool.exits(&["rotate", "--yes"], 4);
        refused(&said, "k0sctl-runs");
        assert_eq!(self.on("1", "cat /run/lock/k0sctl"), "somebody-else");
        self.on("1", "rm /run/lock/k0sctl");
        self.as_at_first("k0sctl at work").await;
    }

    /// There and back on hosts whose /tmp takes nothing.
    async fn tmp_read_only(&self) {
        (1..=5).for_each(|n| drop(self.on(&n.to_string(), "mount -t tmpfs -o ro none /tmp")));
        self.tool.exits(&["rotate", "--yes"], 0);
        self.tool.exits(&["rollback", "--yes"], 0);
        (1..=5).for_each(|n| drop(self.on(&n.to_string(), "umount /tmp")));
        self.as_at_first("/tmp read-only").await;
    }

    /// The disk is full from the beginning of a phase on: nothing is lost, and the first trust is kept or comes back.
    async fn a_full_disk(&self, phase: &str) {
        let mut full = false;
        let ends = self.tool.troubled_in_every_phase(&["rotate"], BTreeSet::new(), async |begun, _| {
            if begun == phase && !full {
                self.lab.ask(&["fill", SMALL]);
                full = true;
            }
            true
        });
        let ends = ends.await;
        assert!(full, "{phase} never began");
        eprintln!("disk full at {phase}: exit {:?}, {} resumed", ends.code, ends.resumed);
        match ends.code {
            // As long as there is a quorum, one controller may be left; on the way back it is there again.
            Some(0 | 7) => {
                self.lab.ask(&["free", SMALL]);
                self.tool.exits(&["rollback", "--yes"], 0);
            }
            Some(4) => drop(self.lab.ask(&["free", SMALL])),
            other => panic!("{other:?}: {}", ends.said),
        }
        self.as_at_first(&format!("disk full at {phase}")).await;
    }

    /// Held units stay down whoever starts them.
    async fn started_by_hand(&self) {
        let start = "systemctl start k0scontroller k0sworker 2>/dev/null; true";
        let by_hand = async |phase: &str, _: &mut tokio::process::Child| {
            if ["stop", "swap", "start", "back-stop", "back-swap"].contains(&phase) {
                (1..=3).for_each(|n| drop(self.on(&n.to_string(), start)));
            }
            true
        };
        let ends = self.tool.troubled_in_every_phase(&["rotate"], BTreeSet::new(), by_hand).await;
        assert!(matches!(ends.code, Some(0 | 4)), "{:?}: {}", ends.code, ends.said);
        eprintln!("started by hand: exit {:?}", ends.code);
        if ends.code == Some(0) {
            self.machines.healthy().await;
            self.tool.exits(&["rollback", "--yes"], 0);
        }
        self.as_at_first("started by hand").await;
    }
}

fn refused(said: &str, wanted: &str) {
    assert!(said.contains(wanted), "not {wanted}:\n{said}");
}

/// Goal: what machines lack or refuse ends as the runbook says, the first trust kept or back with every file as it was.
#[tokio::test(flavor = "multi_thread")]
async fn machines_that_refuse() {
    const TEST: &str = "machines_that_refuse";
    if not_in(Tier::Full) {
        return;
    }
    let k0s = Path::new(env!("CARGO_BIN_EXE_k0s-standin"));
    let Some(lab) = Lab::boot_with(TEST, "3+2", Some(k0s), &[("K0ROTATE_LAB_SMALL_DISK", SMALL)]) else { return };
    let stand = Limits(Stand::new(&lab, Path::new(env!("CARGO_BIN_EXE_k0rotate-in-test"))).await);
    let begun = Instant::now();
    stand.a_clock_two_hours_off().await;
    stand.k0sctl_at_work().await;
    stand.tmp_read_only().await;
    for phase in ["back-up", "copy-keys", "stop"] {
        stand.a_full_disk(phase).await;
    }
    stand.started_by_hand().await;
    eprintln!("{:?}", begun.elapsed());
}
