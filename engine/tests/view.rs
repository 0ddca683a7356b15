//! What the projection of a history says to those who look on.

mod common;

use common::clock::block_on;
use common::toy::{MAX_OUTAGE, Toy, first_world};
use common::{Bench, resume, roll_back};
use k0rotate_engine::clock::Clock;
use k0rotate_engine::event::{Event, RollBackCause, StuckCause};
use k0rotate_engine::execution::{Side, Status, StepStatus};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;

fn begin(toy: &Toy) -> (Bench, ExecutionId) {
    let bench = Bench::default();
    first_world(&bench.world, toy);
    let id = bench.start(toy);
    (bench, id)
}

fn view(bench: &Bench, id: &ExecutionId) -> ExecutionView {
    block_on(&bench.clock, bench.engine().view(id)).expect("a legal history").expect("a history")
}

/// Goal: at the wait it names phases and steps, and one outage that is over.
#[test]
fn at_the_wait() {
    let (bench, id) = begin(&Toy::of(3, 2));
    bench.drive(&id, None);
    let view = view(&bench, &id);
    let slugs: Vec<&str> = view.phases.iter().map(|p| p.slug.as_str()).collect();
    assert_eq!(slugs, ["prepare", "stop", "swap", "start", "check", "join", "clean"]);
    assert_eq!(view.phases[0].steps.len(), 5);
    assert!(view.steps().all(|s| s.status == StepStatus::Done && s.ended.is_some() && s.failure.is_none()));
    assert!(view.rests() && matches!(&view.state.status, Status::Waiting { name, .. } if name == "finalize"));
    assert_eq!((view.outages.len(), view.down_since()), (1, None));
    let down = view.down_for(bench.clock.now());
    assert!(!down.is_zero() && down < MAX_OUTAGE, "{down:?}");
    assert_eq!((view.subject.as_str(), view.workflow.as_str(), view.version), ("toy", "toy", 1));
    assert_eq!(view.events, bench.history(&id).len() as u64);
}

/// Goal: stuck on a failure, with the step and why; opened again by resume; then the way back with its own phases and outage.
#[test]
fn stuck_and_back() {
    let (bench, id) = begin(&Toy { most_left: 0, ..Toy::of(3, 2) });
    bench.world.make_stubborn("w1", "trust");
    bench.drive(&id, None);
    let stuck = view(&bench, &id);
    assert!(matches!(&stuck.stuck[..], [(StuckCause::Failure(step), _)] if step.as_str() == "join/put@w1"));
    let failed: Vec<_> = stuck.steps_in(|s| matches!(s, StepStatus::Failed(_))).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].attempt, failed[0].failure.as_ref().map(|f| f.code.as_str())), (3, Some("stubborn")));
    bench.drive(&id, Some(resume()));
    assert_eq!(view(&bench, &id).stuck.len(), 2);
    bench.world.mend();
    bench.drive(&id, Some(roll_back()));
    let back = view(&bench, &id);
    assert_eq!(back.state.status, Status::RolledBack);
    assert!(matches!(back.roll_back, Some((RollBackCause::Asked { .. }, _))));
    assert_eq!((back.outages.len(), back.down_since()), (2, None));
    assert!(back.phases.iter().any(|p| p.side == Side::Back && p.slug == "back-stop"));
}

/// Goal: undos that no phase heads are shown under one of their own; every prefix of a history has a view.
#[test]
fn undone_in_free() {
    let (bench, id) = begin(&Toy::of(3, 2));
    bench.world.make_stubborn("w2", "staged");
    bench.drive(&id, None);
    let history = bench.history(&id);
    let view = view(&bench, &id);
    let last = view.current_phase().expect("a phase");
    assert_eq!((last.side, last.slug.as_str()), (Side::Back, "undo"));
    assert!(last.steps.iter().all(|s| s.undo && s.status == StepStatus::Done));
    for len in 1..=history.len() {
        let prefix = ExecutionView::of(&history[..len]).expect("legal").expect("not empty");
        let open = prefix.steps_in(|s| s == StepStatus::Open).count();
        assert_eq!(open, prefix.state.leg().open, "after {}", history[len - 1].event.name());
    }
    assert!(history.iter().any(|r| matches!(r.event, Event::RolledBack { .. })));
}
