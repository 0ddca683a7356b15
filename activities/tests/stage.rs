//! A simulated host keeps the contract of hosts, and its faults do what their names say.

use k0rotate_activities::host::contract::{self, Ground};
use k0rotate_activities::host::{Change, Fence, Host, HostError, Mark, OwnerIds};
use k0rotate_activities::rehearsal::fleet::{Crashed, Rehearsal};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::secret::Secret;
use k0rotate_engine::clock::Clock;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const ROOT: OwnerIds = OwnerIds { uid: 0, gid: 0 };

fn fleet() -> (Rehearsal, Arc<dyn Host>) {
    let fleet = Rehearsal::new(Stage::new(&FleetPlan::sized(1, 1)));
    let host = fleet.host("h2");
    (fleet, host)
}

fn run<T>(fleet: &Rehearsal, future: impl Future<Output = T>) -> Result<T, Crashed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread");
    runtime.block_on(fleet.paced(future))
}

fn mark(fence: u64) -> Mark {
    let text = |t: &str| t.to_owned();
    let (execution, incarnation) = (text("x"), text("i"));
    Mark { execution, incarnation, fence, direction: text("forward"), phase: text("stop"), by: text("me@here") }
}

fn fence(number: u64) -> Fence {
    Fence { execution: "x".into(), incarnation: "i".into(), number, attempt: format!("a{number}") }
}

fn write(path: &str, text: &str) -> Change {
    let bytes = Secret::new(text.as_bytes().to_vec());
    Change::Write { path: path.into(), bytes, mode: 0o600, owner: ROOT }
}

/// Goal: what SSH must do, the model does.
#[test]
fn it_keeps_the_contract() {
    let (fleet, host) = fleet();
    let ground = Ground { host: host.as_ref(), dir: "/var/lib/ground".into(), owner: ROOT };
    run(&fleet, contract::all(&ground)).unwrap();
}

/// Goal: to sleep for ten minutes takes no time, and two sleepers wake in order.
#[test]
fn time_jumps() {
    let (fleet, _) = fleet();
    let begun = fleet.now();
    let clock = fleet.clock();
    let (one, two) = run(&fleet, async {
        let at = async |d: u64| {
            clock.sleep(Duration::from_secs(d)).await;
            clock.now().since(begun)
        };
        futures_util::join!(at(600), at(60))
    })
    .unwrap();
    assert_eq!((one, two), (Duration::from_secs(600), Duration::from_secs(60)));
}

/// Goal: a change that is late meets a raised mark and is refused; one that is not does land though the reply was lost.
#[test]
fn a_late_change_is_fenced() {
    for (raised, lands) in [(false, true), (true, false)] {
        let (fleet, host) = fleet();
        fleet.stage(|s| s.faults.plan.insert(1, Fault::Delay(Duration::from_secs(20))));
        run(&fleet, async {
            host.mark_replace(None, Some(&mark(5))).await.unwrap();
            let lost = host.change(&fence(5), vec![write("/late", "x")]).await;
            assert_eq!(lost.unwrap_err(), HostError::Lost);
            assert!(host.read("/late").await.unwrap().is_none());
            if raised {
                host.mark_replace(Some(&mark(5)), Some(&mark(6))).await.unwrap();
                assert_eq!(host.units_below(&fence(6)).await.unwrap(), Vec::<String>::new());
            }
            fleet.sleep(Duration::from_secs(30)).await;
            assert_eq!(host.read("/late").await.unwrap().is_some(), lands, "raised: {raised}");
        })
        .unwrap();
    }
}

/// Goal: a client that ends in the middle of a list leaves the rest to land.
#[test]
fn what_was_begun_goes_on_without_its_client() {
    let (fleet, host) = fleet();
    fleet.stage(|s| s.faults.plan.insert(1, Fault::CrashAfter));
    let end = run(&fleet, async {
        host.mark_replace(None, Some(&mark(5))).await.unwrap();
        host.change(&fence(5), vec![write("/a", "1"), write("/b", "2")]).await
    });
    assert_eq!(end.unwrap_err(), Crashed);
    assert!(fleet.stage(|s| s.read("h2", "/a")).unwrap().is_some());
    assert!(fleet.stage(|s| s.read("h2", "/b")).unwrap().is_none());
    fleet.idle(Duration::from_secs(1));
    assert!(fleet.stage(|s| s.read("h2", "/b")).unwrap().is_some());
}

/// Goal: each other fault leaves what it should, and says what it should.
#[test]
fn faults_do_what_they_say() {
    let lost = Some(HostError::Lost);
    let cases = [
        (Fault::Refuse, None, false, false),
        (Fault::Tear, lost.clone(), false, false),
        (Fault::LoseReply, lost.clone(), true, true),
        (Fault::Cut(Duration::from_secs(5)), lost.clone(), true, true),
        (Fault::PowerCut(Some(Duration::from_secs(5))), lost, false, false),
    ];
    for (fault, error, first, second) in cases {
        let (fleet, host) = fleet();
        fleet.stage(|s| s.faults.plan.insert(1, fault));
        run(&fleet, async {
            host.mark_replace(None, Some(&mark(5))).await.unwrap();
            let end = host.change(&fence(5), vec![write("/a", "12"), write("/b", "34")]).await;
            assert_eq!(end.as_ref().err(), error.as_ref(), "{fault:?}");
            assert!(end.map_or(true, |output| output.status != 0), "{fault:?}");
            fleet.sleep(Duration::from_secs(60)).await;
            let there = [host.read("/a").await.unwrap().is_some(), host.read("/b").await.unwrap().is_some()];
            assert_eq!(there, [first, second], "{fault:?}");
            let torn = host.read("/.a.k0rotate").await.unwrap().is_some();
            assert_eq!(torn, fault == Fault::Tear);
        })
        .unwrap();
    }
}
