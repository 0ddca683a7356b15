//! Whether an execution is driven on its own machines and in its own cluster, and what becomes of it where a host has lost its mark.

use k0rotate_activities::host::{Change, OwnerIds};
use k0rotate_activities::layout;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Link;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::secret::Secret;
use k0rotate_engine::drive::{Rest, Start};
use k0rotate_engine::event::{Event, StuckCause};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::enumerate::Way;
use k0rotate_tests::harness::{Bench, block_on, say};
use k0rotate_tests::rejoining;
use k0rotate_workflows::rejoin::Rejoin;

const MACHINE_ID: &str = "/etc/machine-id";

fn waiting() -> (Bench, ExecutionId) {
    let bench = Bench::new(FleetPlan::sized(1, 1));
    let id = bench.start(&bench.rotate());
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");
    (bench, id)
}

fn write(stage: &mut Stage, host: &str, path: &str, text: &str) {
    let (path, bytes, owner) = (path.to_owned(), Secret::new(text.as_bytes().to_vec()), OwnerIds { uid: 0, gid: 0 });
    stage.world.apply(host, &Change::Write { path, bytes, mode: 0o444, owner }).expect("it has room");
}

fn lose_mark(bench: &Bench, host: &str) {
    let lost = Change::Remove { path: layout::MARK.to_owned() };
    bench.fleet.stage(|s| s.world.apply(host, &lost)).expect("it is there");
}

fn missing(rest: &Rest, host: &str) -> bool {
    let named = |f: &k0rotate_engine::failure::Failure| f.code == "mark-missing" && f.fields["host"] == host;
    matches!(rest, Rest::Stuck { cause: StuckCause::Hold(failure), .. } if named(failure))
}

/// Goal: where a host that answers is another machine, no word is taken and nothing is recorded; one that does not answer is not judged.
#[test]
fn another_machine_ends_the_drive_before_its_first_event() {
    let (bench, id) = waiting();
    let before = bench.history(&id);
    bench.fleet.stage(|s| write(s, "h2", MACHINE_ID, "0123456789abcdef0123456789abcdef\n"));
    for word in [say::finalize(), say::roll_back()] {
        let rest = bench.drive(&id, Some(word)).expect("nothing crashes it");
        assert!(
            matches!(&rest, Rest::Elsewhere(f) if f.code == "machine-differs" && f.fields["host"] == "h2"),
            "{rest:?}"
        );
    }
    assert_eq!(bench.history(&id), before);
    bench.fleet.stage(|s| s.faults.links.insert("h2".into(), Link { back: None }));
    let rest = bench.drive(&id, Some(say::finalize())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
}

/// Goal: machines made from one image share their ids; the UID of the cluster tells them apart, for a rotation and for a host that is let in.
#[test]
fn clones_of_the_machines_are_another_cluster() {
    let (own, id) = waiting();
    let mut other = Bench::new(FleetPlan { seed: own.plan.seed + 1, ..FleetPlan::sized(1, 1) });
    for host in ["h1", "h2"] {
        let machine = own.fleet.stage(|s| s.world.read(host, MACHINE_ID)).expect("it has one");
        other.fleet.stage(|s| write(s, host, MACHINE_ID, &String::from_utf8_lossy(&machine)));
    }
    (other.store, other.identity) = (own.store.clone(), own.identity.clone());
    let before = own.history(&id);
    let rest = other.drive(&id, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(&rest, Rest::Elsewhere(f) if f.code == "cluster-differs"), "{rest:?}");
    assert_eq!(own.history(&id), before);

    let own = Bench::new(FleetPlan::sized(1, 1));
    let (id, lost) = rejoining::rotate_without(&own, &["h2"], "systemctl stop");
    let rejoin = rejoining::of(&own.history(&id), &lost);
    let another = || "another".to_owned();
    for (rejoin, code) in [
        (Rejoin { uid: Some(another()), ..rejoin.clone() }, "cluster-differs"),
        (Rejoin { machines: [("h1".to_owned(), another())].into(), ..rejoin }, "machine-differs"),
    ] {
        let start = Start { subject: "rehearsal".into(), by: "test".into(), reason: "it is back".into() };
        let id = block_on(own.life().engine.start(&rejoin, start)).expect("an empty history takes its first event");
        let rest = own.drive(&id, None).expect("nothing crashes it");
        assert!(matches!(&rest, Rest::Elsewhere(f) if f.code == code), "{rest:?}");
        assert_eq!(own.history(&id).len(), 1);
    }
}

/// Goal: a host that has lost its mark is told once, and gets it back by `resume` if it is the machine that it was.
#[test]
fn a_missing_mark_is_told_and_put_back() {
    let (bench, id) = waiting();
    lose_mark(&bench, "h2");
    let rest = bench.drive(&id, Some(say::finalize())).expect("nothing crashes it");
    assert!(missing(&rest, "h2"), "{rest:?}");
    let rest = bench.drive(&id, Some(say::resume())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Completed { .. }), "{rest:?}");
}

/// Goal: a machine that cannot be told to be the one that had the mark does not get it again.
#[test]
fn a_mark_is_not_put_on_a_machine_without_an_id() {
    let (bench, id) = waiting();
    lose_mark(&bench, "h2");
    bench.fleet.stage(|s| s.world.apply("h2", &Change::Remove { path: MACHINE_ID.to_owned() })).expect("it is there");
    for word in [say::finalize(), say::resume(), say::resume()] {
        let rest = bench.drive(&id, Some(word)).expect("nothing crashes it");
        assert!(missing(&rest, "h2"), "{rest:?}");
    }
    assert!(bench.fleet.stage(|s| s.mark("h2")).is_none());
}

/// Goal: with the control plane down nobody is waited for: the drive that goes on puts the mark back at once.
#[test]
fn in_down_a_missing_mark_is_put_back_at_once() {
    let bench = Bench::new(FleetPlan::sized(1, 1));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let swaps = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("swap/"));
    let photo = forward.first(swaps);
    let bench = Bench::of(&photo.after);
    lose_mark(&bench, "h1");
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
}

/// Goal: at rest each mark says in which phase it rests, on both ways.
#[test]
fn marks_say_where_it_rests() {
    let (bench, _) = waiting();
    let said =
        |host: &str| bench.fleet.stage(|s| s.mark(host)).map(|mark| format!("{} {}", mark.direction, mark.phase));
    for host in ["h1", "h2"] {
        assert_eq!(said(host).as_deref(), Some("forward prove"), "{host}");
    }
    let stand = Stand::new(&Bench::new(FleetPlan::sized(1, 1)));
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let waits = Bench::of(&forward.first(|e| matches!(e, Event::WaitStarted { .. })).after).image();
    let back = Course::drive(&stand, waits, Way::Back);
    let bench = Bench::of(&back.first(|e| matches!(e, Event::RollBackStarted { .. })).after);
    bench.fleet.stage(|s| s.faults.links.insert("h2".into(), Link { back: None }));
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let said = |host: &str| bench.fleet.stage(|s| s.mark(host)).map(|mark| mark.direction);
    assert_eq!(said("h1").as_deref(), Some("back"));
}
