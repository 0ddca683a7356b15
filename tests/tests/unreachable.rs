//! What becomes of an execution when a host does not answer.

use k0rotate_activities::fleet::Root;
use k0rotate_activities::rehearsal::stage::faults::Link;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::{Event, Record, Zone};
use k0rotate_engine::execution::Side;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::ends::{last_words, roots, state};
use k0rotate_tests::enumerate::Way;
use k0rotate_tests::harness::{Bench, Image, block_on, say};
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeSet;
use std::time::Duration;

/// Cuts the link to the last worker for good.
fn cut(bench: &Bench) -> String {
    let worker = bench.plan.hosts.last().expect("a fleet has hosts").name.clone();
    cut_off(bench, &worker);
    worker
}

fn cut_off(bench: &Bench, host: &str) {
    bench.fleet.stage(|s| s.faults.links.insert(host.to_owned(), Link { back: None }));
}

/// Hosts that somebody holds.
fn marked(bench: &Bench) -> Vec<&str> {
    let held = |host: &&str| bench.fleet.stage(|s| s.mark(host).is_some());
    bench.plan.hosts.iter().map(|host| host.name.as_str()).filter(held).collect()
}

/// Its first step copies keys.
fn copies_keys(event: &Event) -> bool {
    matches!(event, Event::StepStarted { step, .. } if step.as_str().starts_with("copy-keys/"))
}

/// Goal: an execution that has changed nothing ends by itself, at the first trust, although a host never answers.
#[test]
fn at_the_first_look_it_ends() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(bench.fleet.stage(|s| s.faults.changes), 0);
}

/// Goal: without two of three controllers nothing is begun, whoever says that they are left behind: the one that is there is no quorum.
#[test]
fn two_dead_controllers_of_three_are_too_many() {
    let bench = Bench::new(FleetPlan::sized(3, 1));
    let dead = ["h2", "h3"];
    dead.iter().for_each(|host| bench.fleet.stage(|stage| stage.world.power_off(host)));
    bench.fleet.idle(Duration::from_secs(60));
    let mut rotate = bench.rotate();
    rotate.hosts.retain(|member| !dead.contains(&member.name.as_str()));
    rotate.leave_behind = dead.map(str::to_owned).to_vec();
    let id = bench.start(&rotate);
    let rest = bench.drive(&id, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(bench.fleet.stage(|s| s.faults.changes), 0);
}

/// Goal: a host that is held and then lost keeps the way back from beginning until it is left behind; then the others are let go.
#[test]
fn once_held_it_must_be_left_behind() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let photo = forward.first(copies_keys);
    let bench = Bench::of(&photo.after);
    let lost = cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Refused(_)), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::leave_behind(&lost))).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(state(&bench, &stand.execution).expect("a legal history").leg().left, std::slice::from_ref(&lost));
    assert_eq!(marked(&bench), [lost]);
}

/// Goal: one that is lost on a way back from where nothing was down is left behind there too, and the others are let go.
#[test]
fn lost_on_the_way_back_from_free_it_is_left_behind() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let back = Course::drive(&stand, Bench::of(&forward.first(copies_keys).after).image(), Way::Back);
    let bench = Bench::of(&back.first(|e| matches!(e, Event::RollBackStarted { .. })).after);
    let lost = cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    assert_eq!(state(&bench, &stand.execution).expect("a legal history").side(), Side::Back);
    let rest = bench.drive(&stand.execution, Some(say::leave_behind(&lost))).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::resume())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(marked(&bench), [lost]);
}

/// Goal: a roll-back that is the first word of a drive and is refused drives nothing on.
#[test]
fn a_refused_roll_back_does_not_go_forward() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let snapped = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("back-up/"));
    let photo = forward.first(snapped);
    let bench = Bench::of(&photo.before);
    cut(&bench);
    let before = bench.history(&stand.execution).len();
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Refused(_)), "{rest:?}");
    assert_eq!(bench.history(&stand.execution).len(), before);
}

/// Goal: a worker that died while the rotation waits keeps a roll-back from beginning until it is left behind, and the others go back then.
#[test]
fn a_worker_that_died_at_the_wait_is_left_by_word() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let execution = bench.start(&bench.rotate());
    let rest = bench.drive(&execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    let before = bench.history(&execution).len();
    for worker in ["h4", "h5"] {
        let bench = Bench::of(&bench.image());
        bench.fleet.stage(|stage| stage.world.power_off(worker));
        let rest = bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
        assert!(matches!(&rest, Rest::Refused(_)), "{worker}: {rest:?}");
        assert_eq!(bench.history(&execution).len(), before, "{worker}");
        let rest = bench.drive(&execution, Some(say::leave_behind(worker))).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Waiting { .. }), "{worker}: {rest:?}");
        let rest = bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
        assert!(matches!(&rest, Rest::RolledBack { left } if *left == [worker]), "{worker}: {rest:?}");
    }
}

/// A rotation after which a controller with the abandoned trust could still use the datastore.
fn without_etcd_ca(bench: &Bench) -> Rotate {
    Rotate { roots: vec![Root::KubernetesCa, Root::ServiceAccount], ..bench.rotate() }
}

/// Whether an API server runs there.
fn serves(bench: &Bench, host: &str) -> bool {
    let processes = bench.fleet.stage(|s| s.processes(host)).expect("its link is back");
    processes.iter().any(|process| process.exe.ends_with("kube-apiserver"))
}

fn starts(step: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepStarted { step: started, .. } if started.as_str() == step)
}

/// Goal: where the etcd CA stays, a controller that was left before it was started is asked to stop apart from those that may run; if it is
/// silent it is left then, too: two of three are a quorum, whoever is asked first.
#[test]
fn one_that_was_left_in_down_is_left_on_the_way_back() {
    let bench = Bench::new(FleetPlan::sized(3, 1));
    let stand = Stand::of(&bench, &without_etcd_ca(&bench));
    let whole = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let bench = Bench::of(&whole.first(starts("swap/wipe@h3")).after);
    cut_off(&bench, "h3");
    let without = Course::drive(&stand, bench.image(), Way::Forward);
    let bench = Bench::of(&without.first(starts("start/start-controller@h1")).after);
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("it ends in time");
    assert!(matches!(&rest, Rest::RolledBack { left } if left == &["h3"]), "{rest:?}");
    assert!(bench.history(&stand.execution).iter().any(|r| starts("back-stop/stop@h1")(&r.event)), "they were started");
}

/// Drives the way back, and cuts the link to a host for so long once a phase has begun.
fn back_cutting(bench: &Bench, execution: &ExecutionId, phase: &str, host: &str, long: Duration) -> Rest {
    let (life, clock) = (bench.life(), bench.fleet.clock());
    let cut = async {
        let begun = |r: &Record| matches!(&r.event, Event::PhaseStarted { slug, .. } if slug == phase);
        while !life.engine.history(execution).await.expect("a store in memory answers").iter().any(begun) {
            clock.sleep(Duration::from_millis(20)).await;
        }
        let link = Link { back: Some(clock.now().plus(long)) };
        bench.fleet.stage(|s| s.faults.links.insert(host.to_owned(), link));
        std::future::pending::<()>().await;
    };
    bench.limit_drive();
    let both = async {
        let (drive, cut) = (std::pin::pin!(life.driving(execution, Some(say::roll_back()))), std::pin::pin!(cut));
        match futures_util::future::select(drive, cut).await {
            futures_util::future::Either::Left((rest, _)) => rest,
            futures_util::future::Either::Right(_) => unreachable!("it is pending for ever"),
        }
    };
    block_on(bench.fleet.paced(both)).unwrap_or_else(|_| panic!("{phase} {host}: {}", last_words(bench, execution)))
}

/// Goal: a link that is away for seconds in a phase of the way back leaves no two trusts: all go back, or it rests with the API up and goes back
/// once it is resumed; a controller that may run is never passed over where the etcd CA stays.
#[test]
fn a_short_cut_on_the_way_back_splits_nothing() {
    let bench = Bench::new(FleetPlan::sized(3, 1));
    let stand = Stand::of(&bench, &without_etcd_ca(&bench));
    let waiting = waiting(&stand);
    let back = Course::drive(&stand, Bench::of(&waiting).image(), Way::Back);
    let phases = back.photos.iter().flat_map(|photo| &photo.events).filter_map(|event| match event {
        Event::PhaseStarted { slug, .. } => Some(slug.clone()),
        _ => None,
    });
    let phases: Vec<String> = phases.collect();
    assert!(phases.len() > 10, "{phases:?}");
    for phase in phases {
        for host in ["h1", "h2", "h3"] {
            for seconds in [4, 8] {
                let bench = Bench::of(&waiting);
                let told = format!("{phase} {host}, {seconds} s");
                let mut rest = back_cutting(&bench, &stand.execution, &phase, host, Duration::from_secs(seconds));
                bench.fleet.idle(Duration::from_secs(60));
                if matches!(rest, Rest::Stuck { .. }) {
                    rest =
                        bench.drive(&stand.execution, Some(say::resume())).unwrap_or_else(|_| panic!("no end: {told}"));
                }
                assert!(
                    matches!(rest, Rest::RolledBack { .. }),
                    "{told}: {rest:?} {}",
                    last_words(&bench, &stand.execution)
                );
                let differs = roots(&bench).into_iter().filter(|(place, hash)| bench.original.get(place) != Some(hash));
                let differs: BTreeSet<String> = differs.map(|((host, _), _)| host).collect();
                assert!(differs.iter().all(|host| !serves(&bench, host)), "{told}: two trusts are served: {differs:?}");
            }
        }
    }
}

/// Goal: a worker that dies after the word, before the way back has stopped anything, can be left behind there, and the others go back.
#[test]
fn one_that_dies_before_the_way_back_stops_anything() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    let back = Course::drive(&stand, bench.image(), Way::Back);
    let phases = ["back-look", "back-remember"];
    for phase in phases {
        let bench = Bench::of(&back.first(|e| matches!(e, Event::PhaseStarted { slug, .. } if slug == phase)).after);
        let lost = cut(&bench);
        let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Stuck { side: Side::Back, .. }), "{phase}: {rest:?}");
        let rest = bench.drive(&stand.execution, Some(say::leave_behind(&lost))).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Stuck { .. }), "{phase}: {rest:?}");
        let rest = bench.drive(&stand.execution, Some(say::resume())).expect("nothing crashes it");
        assert!(matches!(&rest, Rest::RolledBack { left } if *left == [lost.as_str()]), "{phase}: {rest:?}");
        assert_eq!(marked(&bench), [lost]);
    }
}

/// Goal: a controller that died during the wait keeps `finalize` before the point of no return: the execution ends once it is back, and can be
/// rolled back as from the wait until then.
#[test]
fn a_controller_that_died_at_the_wait_does_not_close_the_way_back() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    bench.fleet.stage(|stage| stage.world.power_off("h3"));
    let rest = bench.drive(&stand.execution, Some(say::finalize())).expect("it ends in time");
    assert!(matches!(rest, Rest::Stuck { side: Side::Forward, .. }), "{rest:?}");
    assert_eq!(state(&bench, &stand.execution).expect("a legal history").zone(), Zone::Held);
    bench.fleet.stage(|stage| stage.world.power_on("h3"));
    bench.fleet.idle(Duration::from_secs(120));
    for (word, ends) in [(say::resume(), true), (say::roll_back(), false)] {
        let bench = Bench::of(&bench.image());
        let rest = bench.drive(&stand.execution, Some(word)).expect("it ends in time");
        let fits = if ends { matches!(rest, Rest::Completed { .. }) } else { matches!(rest, Rest::RolledBack { .. }) };
        assert!(fits, "{rest:?}");
        assert_eq!(roots(&bench) == bench.original, !ends);
        assert_eq!(marked(&bench), Vec::<&str>::new());
    }
}

/// Goal: a controller that dies for good once the control plane was verified keeps the rotation until an operator leaves it behind; then it ends
/// without it, wherever it died.
#[test]
fn a_controller_that_dies_in_held_is_left_by_word() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let end = Course::drive(&stand, waiting(&stand), Way::End);
    let held = ["rejoin", "refresh", "check-nodes", "clean-up", "prove"].map(|phase| (&forward, phase));
    for (course, phase) in held.into_iter().chain(["verify-again", "destroy"].map(|phase| (&end, phase))) {
        let begins = |e: &Event| matches!(e, Event::PhaseStarted { slug, .. } if slug == phase);
        let bench = Bench::of(&course.first(begins).after);
        bench.fleet.stage(|stage| stage.world.power_off("h3"));
        let mut rest = bench.drive(&stand.execution, None).expect("it ends in time");
        assert!(matches!(rest, Rest::Stuck { side: Side::Forward, .. }), "{phase}: {rest:?}");
        let word = say::leave_behind("h3");
        rest = bench.drive(&stand.execution, Some(word)).expect("it ends in time");
        assert!(matches!(rest, Rest::Stuck { .. }), "{phase}: {rest:?}");
        rest = bench.drive(&stand.execution, Some(say::resume())).expect("it ends in time");
        if matches!(rest, Rest::Waiting { .. }) {
            rest = bench.drive(&stand.execution, Some(say::finalize())).expect("it ends in time");
        }
        assert!(
            matches!(&rest, Rest::Completed { left, .. } if left == &["h3"]),
            "{phase}: {rest:?} {}",
            last_words(&bench, &stand.execution)
        );
        assert_eq!(marked(&bench), ["h3"], "{phase}");
    }
}

/// Goal: so is one that dies during the wait, before the word finalize is said; if it is back by then it is looked at like the others.
#[test]
fn a_controller_that_died_at_the_wait_is_left_by_word() {
    let stand = Stand::new(&Bench::new(FleetPlan::sized(3, 2)));
    for returns in [false, true] {
        let bench = Bench::of(&waiting(&stand));
        bench.fleet.stage(|stage| stage.world.power_off("h3"));
        let rest = bench.drive(&stand.execution, Some(say::leave_behind("h3"))).expect("it ends in time");
        assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
        if returns {
            bench.fleet.stage(|stage| stage.world.power_on("h3"));
            bench.fleet.idle(Duration::from_secs(120));
        }
        let rest = bench.drive(&stand.execution, Some(say::finalize())).expect("it ends in time");
        assert!(matches!(&rest, Rest::Completed { left, .. } if left.is_empty() == returns), "{returns}: {rest:?}");
    }
}

/// The world at the wait for finalize.
fn waiting(stand: &Stand) -> Image {
    let bench = Bench::of(&stand.image);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    bench.image()
}
