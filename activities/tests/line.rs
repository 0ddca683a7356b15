//! A fleet behind a socket is the same fleet, and outlives its clients.

#![allow(clippy::unwrap_used, clippy::similar_names, reason = "a test may end by a panic")]

use k0rotate_activities::host::contract::{self, Ground};
use k0rotate_activities::host::{Change, Fence, Mark, OwnerIds};
use k0rotate_activities::rehearsal::fleet::{Crashed, Rehearsal};
use k0rotate_activities::rehearsal::line::{self, Line, SharedStage};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::ask::Ask;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::secret::Secret;
use k0rotate_engine::clock::Clock;
use std::future::Future;
use std::num::NonZeroU32;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ROOT: OwnerIds = OwnerIds { uid: 0, gid: 0 };

struct Served {
    stage: SharedStage,
    crashes: Arc<AtomicUsize>,
    dir: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let stage: SharedStage = Arc::new(Mutex::new(Stage::new(&FleetPlan::sized(1, 1))));
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("world")).unwrap();
        let (crashes, shared) = (Arc::new(AtomicUsize::new(0)), stage.clone());
        let counted = crashes.clone();
        let crashed = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::spawn(move || line::serve(&listener, &shared, &crashed));
        Self { stage, crashes, dir }
    }

    fn client(&self) -> Rehearsal {
        Rehearsal::behind_socket(&self.dir.path().join("world")).unwrap()
    }
}

fn run<T>(fleet: &Rehearsal, future: impl Future<Output = T>) -> Result<T, Crashed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(fleet.paced(future))
}

/// Goal: over the socket a simulated host keeps the contract of hosts.
#[test]
fn it_keeps_the_contract() {
    let served = Served::new();
    let fleet = served.client();
    let host = fleet.host("h2");
    let ground = Ground { host: host.as_ref(), dir: "/var/lib/ground".into(), owner: ROOT };
    run(&fleet, contract::all(&ground)).unwrap();
}

/// Goal: a client that ends in the middle of a list loses nothing of the world; time stands until another client drives it, and then the rest lands.
#[test]
fn the_world_outlives_its_client() {
    let served = Served::new();
    served.stage.lock().unwrap().faults.plan.insert(1, Fault::CrashAfter);
    let fleet = served.client();
    let host = fleet.host("h2");
    let (execution, incarnation) = ("x".to_owned(), "i".to_owned());
    let mark = Mark {
        execution: execution.clone(),
        incarnation: incarnation.clone(),
        fence: 5,
        direction: "forward".into(),
        phase: "stop".into(),
        by: "me@here".into(),
    };
    let fence = Fence { execution, incarnation, number: 5, attempt: "a".into() };
    let write = |path: &str| Change::Write {
        path: path.to_owned(),
        bytes: Secret::new(b"1".to_vec()),
        mode: 0o600,
        owner: ROOT,
    };
    let end = run(&fleet, async {
        host.mark_replace(None, Some(&mark)).await.unwrap();
        host.change(&fence, vec![write("/a"), write("/b")]).await
    });
    assert_eq!(end.unwrap_err(), Crashed);
    assert_eq!(served.crashes.load(Ordering::SeqCst), 1);
    let seen = |path: &str| served.stage.lock().unwrap().read("h2", path).unwrap().is_some();
    assert!(seen("/a") && !seen("/b"));
    let next = served.client();
    let host = next.host("h2");
    run(&next, async {
        assert_eq!(host.mark().await.unwrap(), Some(mark));
        next.sleep(Duration::from_secs(1)).await;
    })
    .unwrap();
    assert!(seen("/b"));
}

/// Goal: a stage that keeps a pace lets time pass in short steps, so that whoever waits for an hour of it is not deaf to others meanwhile.
#[test]
fn paced_time_passes_in_short_steps() {
    let served = Served::new();
    served.stage.lock().unwrap().pace = NonZeroU32::new(1000);
    let mut line = Line::to(&served.dir.path().join("world")).unwrap();
    let began = line.ask(&Ask::Time).unwrap().now;
    let later = line.ask(&Ask::Advance(Some(began.plus(Duration::from_secs(3600))))).unwrap().now;
    assert_eq!(later.since(began), Duration::from_secs(200), "0.2 s of ours");
}

/// Goal: while a client waits at the pace, others of its threads get at the clock at once, and not only once the wait is over.
#[test]
fn a_bystander_is_not_kept_waiting() {
    const LOOKS: u32 = 10;
    const WAIT: Duration = Duration::from_millis(200);
    let served = Served::new();
    served.stage.lock().unwrap().pace = NonZeroU32::new(1000);
    let fleet = served.client();
    let (enough, ended) = tokio::sync::oneshot::channel::<()>();
    let driven = fleet.clone();
    let driver = std::thread::spawn(move || {
        let long = driven.sleep(Duration::from_secs(1_000_000));
        run(&driven, async {
            tokio::select! { () = long => {} _ = ended => {} }
        })
    });
    let now = || served.stage.lock().unwrap().now();
    let looks = (0..LOOKS).map(|_| {
        let before = now();
        // A wait has just begun when time has moved.
        while now() == before {
            std::thread::yield_now();
        }
        let asked = Instant::now();
        drop(fleet.busy());
        asked.elapsed()
    });
    let fastest = looks.min().unwrap();
    enough.send(()).unwrap();
    driver.join().unwrap().unwrap();
    assert!(fastest < WAIT / 2, "the fastest of {LOOKS} looks took {fastest:?}");
}
