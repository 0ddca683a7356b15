//! The binary on real machines, from their k0sctl.yaml: killed in every phase forward and back, then undisturbed to the end.

use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::fleet::Machines;
use k0rotate_tests::lab::tool::{Lives, Tool};
use k0rotate_tests::tier::{Tier, not_in};
use k0rotate_workflows::phases::{self, Phase};
use std::path::Path;
use std::time::Instant;

/// Phases before the wait for finalize.
fn before_the_wait() -> Vec<Phase> {
    phases::FORWARD.into_iter().take_while(|phase| *phase != phases::VERIFY_AGAIN).collect()
}

/// A kill came in each of these phases.
fn killed_in_all_of(lives: &Lives, phases: &[Phase]) {
    let missed: Vec<&str> = phases.iter().map(|(slug, _)| *slug).filter(|slug| !lives.hit.contains(*slug)).collect();
    assert!(missed.is_empty(), "not killed in {missed:?}, but in {:?}", lives.hit);
}

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
    killed_in_all_of(&forward, &before_the_wait());
    assert!(forward.said.contains("waits for finalize"), "{}", forward.said);
    assert!(machines.roots().await.is_disjoint(&first), "every root is new");

    let begun = Instant::now();
    let back = tool.killed_in_every_phase("rollback").await;
    eprintln!("back, killed in {:?}: {:?}", back.hit, begun.elapsed());
    assert!(back.said.contains("rolled back to the first trust"), "{}", back.said);
    killed_in_all_of(&back, &phases::BACK);
    assert_eq!(machines.roots().await, first, "the first trust is back");

    let begun = Instant::now();
    tool.exits(&["rotate", "--yes", "--reason", "a test"], 0);
    tool.exits(&["rollback", "--yes", "--reason", "a test"], 0);
    eprintln!("there and back, undisturbed: {:?}", begun.elapsed());
    assert_eq!(machines.roots().await, first, "the first trust is back");

    let begun = Instant::now();
    let said = tool.exits(&["rotate", "--yes", "--reason", "a test"], 0);
    eprintln!("undisturbed: {:?}\n{said}", begun.elapsed());
    tool.exits(&["finalize", "--yes", "--reason", "a test"], 0);
    tool.exits(&["rollback", "--yes", "--reason", "too late"], 1);
    assert!(machines.roots().await.is_disjoint(&first), "every root is new");
    machines.healthy().await;
}
