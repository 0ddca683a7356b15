//! The binary on real machines, from their k0sctl.yaml: killed in every phase forward and back, then undisturbed to the end.

use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::fleet::Machines;
use k0rotate_tests::lab::tool::{Tool, before_the_wait, hit_all_of};
use k0rotate_tests::tier::{Tier, not_in};
use k0rotate_workflows::phases;
use std::path::Path;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn trust_is_replaced_and_put_back_over_ssh() {
    // Goal: on real machines the tool ends where it says, killed or not, and its way back leads to the first trust.
    const TEST: &str = "trust_is_replaced_and_put_back_over_ssh";
    if not_in(Tier::Normal) {
        return;
    }
    let k0s = Path::new(env!("CARGO_BIN_EXE_k0s-standin"));
    let Some(lab) = Lab::boot(TEST, "3+2", Some(k0s)) else { return };
    let machines = Machines::new(&lab, 3, 2);
    machines.healthy().await;
    let first = machines.roots().await;
    let tool = Tool::new(&lab, Path::new(env!("CARGO_BIN_EXE_k0rotate-in-test")));

    let begun = Instant::now();
    let forward = tool.killed_in_every_phase("rotate").await;
    eprintln!("forward, killed in {:?}: {:?}", forward.hit, begun.elapsed());
    assert_eq!(forward.code, Some(0), "{}", forward.said);
    hit_all_of(&before_the_wait(), &forward.hit);
    assert!(forward.said.contains("waits for finalize"), "{}", forward.said);
    assert!(machines.roots().await.is_disjoint(&first), "every root is new");

    let begun = Instant::now();
    let back = tool.killed_in_every_phase("rollback").await;
    eprintln!("back, killed in {:?}: {:?}", back.hit, begun.elapsed());
    assert!(back.said.contains("rolled back to the first trust"), "{}", back.said);
    hit_all_of(&phases::BACK, &back.hit);
    assert_eq!(machines.roots().await, first, "the first trust is back");

    let begun = Instant::now();
    tool.exits(&["rotate", "--yes", "--reason", "a test"], 0);
    tool.exits(&["rollback", "--yes", "--reason", "a test"], 0);
    eprintln!("there and back, undisturbed: {:?}", begun.elapsed());
    assert_eq!(machines.roots().await, first, "the first trust is back");

    let begun = Instant::now();
    let said = tool.exits(&["rotate", "--yes", "--reason", "a test"], 0);
    eprintln!("undisturbed: {:?}\n{said}", begun.elapsed());
    let last = tool.killed_in_every_phase("finalize").await;
    assert_eq!(last.code, Some(0), "{}", last.said);
    hit_all_of(&[phases::VERIFY_AGAIN, phases::DESTROY], &last.hit);
    tool.exits(&["rollback", "--yes", "--reason", "too late"], 1);
    assert!(machines.roots().await.is_disjoint(&first), "every root is new");
    machines.healthy().await;
}
