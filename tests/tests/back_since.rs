//! Shows what a roll-back does when hosts have come or gone since the new trust was verified.

use k0rotate_activities::activity::look_again::{LookAgain, Since};
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::fleet::Role;
use k0rotate_activities::pki;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::drive::{Refused, Rest};
use k0rotate_engine::event::Record;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::ends::roots;
use k0rotate_tests::harness::{Bench, block_on, say};
use k0rotate_tests::rejoining;
use k0rotate_workflows::rejoin::{Rejoin, Trust};
use std::time::Duration;

/// How a host of such a fleet is found, looked at in a fleet of its own.
fn host(plan: &FleetPlan, name: &str) -> K0sHost {
    let other = Bench::new(plan.clone());
    let id = other.start(&other.rotate());
    other.drive(&id, None).expect("nothing crashes it");
    rejoining::found(&other.history(&id), name)
}

/// A rotation that waits for finalize and was begun without one host, which was away at the time and has been let in since.
fn rotated_before_it_came(plan: FleetPlan, name: &str) -> (Bench, ExecutionId) {
    let newcomer = host(&plan, name);
    let bench = Bench::new(plan);
    bench.fleet.stage(|stage| stage.world.power_off(name));
    bench.fleet.idle(Duration::from_secs(60));
    let mut rotate = bench.rotate();
    rotate.hosts.retain(|member| member.name != name);
    rotate.leave_behind = vec![name.to_owned()];
    let id = bench.start(&rotate);
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");

    rejoining::find(&bench, name);
    rejoining::let_in(&bench, &joins(&bench.history(&id), newcomer));
    (bench, id)
}

/// A worker comes in by a rejoin. A controller would be joined anew, by k0s, and gets here what it would get there.
fn joins(history: &[Record], newcomer: K0sHost) -> Rejoin {
    let name = newcomer.name.clone();
    let rejoin = rejoining::of_newcomer(history, &name, Some(K0sHost { role: Role::Worker, ..newcomer.clone() }));
    if !newcomer.role.is_controller() {
        return rejoin;
    }
    let new: NewTrust = rejoining::output::<MakeTrust>(history, "make-trust", "cluster");
    let pairs = new.of(&name).into_iter().map(|(root, pair)| (root, pair.clone())).collect();
    Rejoin { host: newcomer, trust: Trust::New(pairs), ..rejoin }
}

fn since(bench: &Bench, id: &ExecutionId) -> Since {
    rejoining::output::<LookAgain>(&bench.history(id), "back-look", "cluster")
}

/// Goal: a worker that joined since is in the cluster after the roll-back, with a certificate of the first CA.
#[test]
fn a_worker_that_came_since_is_brought_back_too() {
    let (bench, id) = rotated_before_it_came(FleetPlan::sized(3, 3), "h6");
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{rest:?}");
    assert_eq!(since(&bench, &id).joined.iter().map(|f| f.host.name.as_str()).collect::<Vec<_>>(), ["h6"]);
    assert_eq!(roots(&bench), bench.original);
    let read = |host: &str, path: &str| bench.fleet.stage(|s| s.world.read(host, path)).expect("the file is there");
    let ca = pki::read_one(&read("h1", "/var/lib/k0s/pki/ca.crt")).expect("a certificate");
    let own = read("h6", "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem");
    let own = pki::read_certificates(&own).expect("certificates").remove(0);
    assert!(pki::signed_by(&own, &ca), "h6 has a certificate of the first CA");
    let mark = block_on(bench.fleet.paced(async { bench.fleet.host("h6").mark().await }));
    assert!(matches!(mark, Ok(Ok(None))), "{mark:?}");
}

/// Goal: so is a controller that joined since: it gets the first trust from the others in the same stop.
#[test]
fn a_controller_that_came_since_gets_the_first_trust() {
    let (bench, id) = rotated_before_it_came(FleetPlan::sized(3, 2), "h3");
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{rest:?}");
    assert_eq!(since(&bench, &id).joined.iter().map(|f| f.host.role).collect::<Vec<_>>(), [Role::Controller]);
    let own = |place: &&(String, String)| place.1.contains("front-proxy") && place.0 == "h3";
    let (now, first) = (roots(&bench), bench.original.clone());
    for place in first.keys().filter(|place| !own(place)) {
        assert_eq!(now.get(place), first.get(place), "{place:?}");
    }
}

/// Goal: a host that is gone from the cluster and from the inventory is in nobody's way.
#[test]
fn a_worker_that_left_is_skipped() {
    let mut bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
    bench.fleet.stage(|stage| {
        stage.world.power_off("h5");
        stage.world.delete_object("/api/v1/nodes/h5");
    });
    bench.plan.hosts.retain(|host| host.name != "h5");
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{rest:?}");
    assert_eq!(since(&bench, &id).gone, ["h5"]);
}

/// Goal: a controller that died for good at the wait refuses the roll-back until it has left the cluster as docs/failures.md says; then the others
/// go back without it.
#[test]
fn a_dead_controller_has_to_leave_first() {
    let mut bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
    let before = bench.history(&id).len();
    bench.fleet.stage(|stage| stage.world.power_off("h3"));
    let refused = |bench: &Bench, code: &str| {
        let rest = bench.drive(&id, Some(say::roll_back()));
        let fits = |failure: &Failure| failure.code == code && failure.fields["host"] == "h3";
        assert!(matches!(&rest, Ok(Rest::Refused(Refused::Looked(failure))) if fits(failure)), "{code}: {rest:?}");
        assert_eq!(bench.history(&id).len(), before, "{code}");
    };
    refused(&bench, "controller-away");
    bench.fleet.stage(|stage| {
        stage.world.remove_member("h3");
        stage.world.delete_object("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/k0s-ctrl-h3");
    });
    refused(&bench, "controller-away");
    bench.fleet.stage(|stage| stage.world.delete_object("/apis/autopilot.k0sproject.io/v1beta2/controlnodes/h3"));
    refused(&bench, "gone-host-in-inventory");
    bench.plan.hosts.retain(|host| host.name != "h3");
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { .. })), "{rest:?}");
    assert_eq!(since(&bench, &id).gone, ["h3"]);
    let first = |place: &(String, String)| place.0 != "h3";
    let (now, before) = (roots(&bench), bench.original.clone());
    assert!(before.keys().filter(|place| first(place)).all(|place| now.get(place) == before.get(place)));
}

/// Goal: a host whose Node is missing, and whose k0s runs, has not left: the roll-back is refused rather than leave it the new trust.
#[test]
fn a_worker_without_its_node_is_not_skipped() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
    let before = bench.history(&id).len();
    bench.fleet.stage(|stage| stage.world.delete_object("/api/v1/nodes/h5"));
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(
        matches!(&rest, Ok(Rest::Refused(Refused::Looked(failure))) if failure.code == "host-not-in-cluster"),
        "{rest:?}"
    );
    assert_eq!(bench.history(&id).len(), before);
    // Its kubelet makes the Node again.
    bench.fleet.idle(Duration::from_secs(60));
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{rest:?}");
    assert!(since(&bench, &id).gone.is_empty());
    assert_eq!(roots(&bench), bench.original);
}

/// Goal: a Node that the inventory does not know refuses the roll-back; nothing is recorded.
#[test]
fn a_stranger_refuses_the_roll_back() {
    let (mut bench, id) = rotated_before_it_came(FleetPlan::sized(3, 3), "h6");
    bench.plan.hosts.retain(|host| host.name != "h6");
    let before = bench.history(&id).len();
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(
        matches!(&rest, Ok(Rest::Refused(Refused::Looked(failure))) if failure.code == "node-not-in-inventory"),
        "{rest:?}"
    );
    assert_eq!(bench.history(&id).len(), before);
}

/// Goal: a host that was dead from the start, and still is, is in nobody's way either; nor while its Node is called ready still.
#[test]
fn who_was_left_behind_and_stays_away_is_skipped() {
    for dead_for in [0, 60] {
        left_behind_dead_for(Duration::from_secs(dead_for));
    }
}

fn left_behind_dead_for(long: Duration) {
    let bench = Bench::new(FleetPlan::sized(3, 3));
    bench.fleet.stage(|stage| stage.world.power_off("h6"));
    bench.fleet.idle(long);
    let mut rotate = bench.rotate();
    rotate.hosts.retain(|member| member.name != "h6");
    rotate.leave_behind = vec!["h6".to_owned()];
    let id = bench.start(&rotate);
    assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{rest:?}");
    assert!(since(&bench, &id).joined.is_empty());
}
