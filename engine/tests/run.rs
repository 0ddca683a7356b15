//! One execution undisturbed: what it records, how often it syncs, and what it leaves in the world.

mod common;

use common::toy::{Toy, first_world};
use common::{Bench, end_wait, roll_back};
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;

fn bench(toy: &Toy) -> Bench {
    let bench = Bench::default();
    first_world(&bench.world, toy);
    bench
}

/// Goal: it goes to the wait, and from there to the end, with one sync a step.
#[test]
fn it_runs_to_its_end_with_one_sync_a_step() {
    for at_once in [1, 2, 50] {
        let toy = Toy { at_once, ..Toy::of(3, 12) };
        let bench = bench(&toy);
        let id = bench.start(&toy);
        let rest = bench.drive(&id, None);
        assert!(matches!(&rest, Rest::Waiting { name, until: None } if name == "finalize"), "{rest:?}");
        let rest = bench.drive(&id, Some(end_wait()));
        assert!(matches!(&rest, Rest::Completed { left, .. } if left.is_empty()), "{rest:?} {:#?}", bench.events(&id));
        let steps = bench.history(&id).iter().filter(|r| matches!(r.event, Event::StepStarted { .. })).count() as u64;
        let syncs = bench.store.appends();
        assert!(syncs <= steps + 2 + 2, "{syncs} syncs for {steps} steps, {at_once} at once");
        assert_eq!(bench.world.broken_rules(), Vec::<String>::new());
    }
}

/// Goal: from the wait it goes back to the first world.
#[test]
fn it_rolls_back_from_the_wait() {
    let toy = Toy::of(3, 2);
    let bench = bench(&toy);
    let first = bench.world.settings();
    let id = bench.start(&toy);
    bench.drive(&id, None);
    let rest = bench.drive(&id, Some(roll_back()));
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
    let mut world = bench.world.settings();
    world.retain(|(_, item), _| !item.starts_with("clean"));
    assert_eq!(world, first);
}
