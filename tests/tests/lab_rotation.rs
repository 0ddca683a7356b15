//! A whole rotation over SSH on real machines with the stand-in: forward, killed in every phase, and back.

use k0rotate_engine::drive::{Rest, Word};
use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::rotation::Rotation;
use k0rotate_tests::tier::{Tier, not_in};
use std::path::Path;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn trust_is_replaced_and_put_back_over_ssh() {
    // Goal: on real machines the runbook ends where it says, killed or not, and its way back leads to the first trust.
    const TEST: &str = "trust_is_replaced_and_put_back_over_ssh";
    if not_in(Tier::Normal) {
        return;
    }
    let k0s = Path::new(env!("CARGO_BIN_EXE_k0s-standin"));
    let Some(lab) = Lab::boot(TEST, "3+2", Some(k0s)) else { return };
    let rotation = Rotation::new(&lab, 3, 2);
    rotation.healthy().await;
    let first = rotation.roots().await;

    let begun = Instant::now();
    let run = rotation.start().await;
    let (rest, killed) = rotation.drive_killed(&run, None).await;
    eprintln!("forward, killed {killed} times: {:?}", begun.elapsed());
    let told = rotation.told(&run).await;
    assert!(matches!(&rest, Rest::Waiting { name, .. } if name == "finalize"), "{rest:?}\n{told}");
    assert!(killed >= 10, "killed {killed} times");
    assert!(rotation.roots().await.is_disjoint(&first), "every root is new");

    let begun = Instant::now();
    let back = Word::RollBack { by: "tests@here".into(), reason: "a test".into() };
    let (rest, killed) = rotation.drive_killed(&run, Some(back)).await;
    eprintln!("back, killed {killed} times: {:?}", begun.elapsed());
    let told = rotation.told(&run).await;
    assert!(matches!(&rest, Rest::RolledBack { left } if left.is_empty()), "{rest:?}\n{told}");
    assert_eq!(rotation.roots().await, first, "the first trust is back");

    let begun = Instant::now();
    let run = rotation.start().await;
    let rest = rotation.drive(&run, None).await;
    eprintln!("forward: {:?}", begun.elapsed());
    let told = rotation.told(&run).await;
    assert!(matches!(&rest, Rest::Waiting { .. }), "{rest:?}\n{told}");
    let finalize = Word::EndWait { name: "finalize".into(), by: "tests@here".into(), reason: "a test".into() };
    let rest = rotation.drive(&run, Some(finalize)).await;
    let told = rotation.told(&run).await;
    assert!(matches!(&rest, Rest::Completed { left, .. } if left.is_empty()), "{rest:?}\n{told}");
    assert!(rotation.roots().await.is_disjoint(&first), "every root is new");
}
