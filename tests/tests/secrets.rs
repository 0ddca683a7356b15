//! Secrets: no private key and no token of a rotation, forward or back, lies open anywhere but on the hosts that need it.

use flate2::read::GzDecoder;
use k0rotate::audit::entries::entries;
use k0rotate::report;
use k0rotate::telemetry::collector::data;
use k0rotate::telemetry::spans::spans;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::vault::open_sealed;
use k0rotate_engine::drive::{Rest, Start, Word};
use k0rotate_engine::export::export;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::sled::{Look, Options, SledLog};
use k0rotate_engine::log::{BlobHash, EventLog};
use k0rotate_engine::view::ExecutionView;
use k0rotate_engine::workflow::Workflow;
use k0rotate_tests::harness::{Bench, Life, block_on, say};
use k0rotate_tests::rejoining;
use k0rotate_tests::secrets::{Marked, Seen, Watched};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// All that is logged in this process.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything at every level, of every crate but the store's own: `--debug` shows less.
fn logged() -> &'static Logged {
    static LOGGED: OnceLock<Logged> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let logged = Logged::default();
        let writer = logged.clone();
        tracing_subscriber::fmt().with_env_filter("trace,sled=info").with_writer(move || writer.clone()).init();
        logged
    })
}

/// A fleet whose hosts are watched, on a store of the kind that ships.
struct Scene {
    bench: Bench,
    seen: Seen,
    dir: tempfile::TempDir,
    log: Arc<SledLog>,
    /// The keys of the roots as the fleet was made.
    first: Marked,
}

impl Scene {
    fn new() -> Self {
        logged();
        let bench = Bench::new(FleetPlan::sized(3, 2));
        let dir = tempfile::tempdir().expect("there is a place for temporary files");
        let options = Options { look: Look::Here, ..Options::default() };
        let opened = SledLog::open_with(&dir.path().join("log"), bench.fleet.clock(), &options);
        let seen = Seen::default();
        seen.notes().marked.learn(bench.identity.0.expose());
        let first = roots(&bench);
        let scene =
            Self { bench, seen, dir, log: Arc::new(opened.expect("an empty directory takes a store").0), first };
        scene.learn_files();
        scene
    }

    fn life(&self) -> Life {
        let seen = self.seen.clone();
        self.bench.life_through(self.log.clone(), move |host| Arc::new(Watched(host, seen.clone())))
    }

    fn start<W: Workflow<Env = k0rotate_activities::fleet::Fleet>>(&self, workflow: &W) -> ExecutionId {
        let start = Start { subject: "rehearsal".into(), by: "test".into(), reason: "to see".into() };
        block_on(self.life().engine.start(workflow, start)).expect("an empty history takes its first event")
    }

    fn drive(&self, id: &ExecutionId, word: Option<Word>) -> Rest {
        let rest = self.life().drive(&self.bench.fleet, id, word).expect("nothing crashes it");
        self.learn_files();
        rest
    }

    /// Whatever secret lies on a host now.
    fn learn_files(&self) {
        each_file(&self.bench, |_, bytes| self.seen.notes().marked.learn(bytes));
    }

    /// Where a secret lies open that must not.
    fn leaks(&self, id: &ExecutionId) -> Vec<String> {
        let notes = self.seen.notes();
        let mut leaks = Vec::new();
        let mut look = |place: &str, bytes: &[u8]| {
            leaks.extend(notes.marked.found_in(bytes).iter().map(|what| format!("{place}: {what}")));
        };
        let history = block_on(self.log.read(id, 0)).expect("a history was written");
        let view = ExecutionView::of(&history).expect("it is legal").expect("it is not empty");
        let stored = block_on(self.log.stored(id)).expect("it is stored");
        look("history", &serde_json::to_vec(&history).expect("records are plain data"));
        look("steps of show", &serde_json::to_vec(&view.steps().collect::<Vec<_>>()).expect("steps are plain data"));
        look("Debug of the history", format!("{history:?}").as_bytes());
        look("report", report::markdown(&view, &[]).as_bytes());
        let spans: Vec<_> = spans(&history).iter().map(|span| data(span, &[])).collect();
        look("spans", format!("{spans:?}").as_bytes());
        look("audit", serde_json::to_string(&entries(&stored).expect("it is whole")).expect("plain data").as_bytes());
        look("export", export(&stored).expect("it is exported").as_bytes());
        look("argv", notes.argv.as_bytes());
        look("Debug and errors", notes.debug.as_bytes());
        look("log lines", &logged().0.lock().unwrap_or_else(PoisonError::into_inner));
        each_own_file(self.dir.path(), &mut |path, bytes| look(&path.display().to_string(), bytes));
        leaks
    }

    /// Files of hosts on which one of these still lies.
    fn lying(&self, secrets: &Marked) -> Vec<String> {
        let mut found = Vec::new();
        each_file(&self.bench, |path, bytes| {
            if !secrets.found_in(bytes).is_empty() {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// Sealed copies that hold one of these.
    fn sealed(&self, secrets: &Marked) -> usize {
        let blobs = block_on(self.log.blobs()).expect("they can be listed");
        let holds = |blob: &&BlobHash| {
            let bytes = block_on(self.log.get_blob(blob)).expect("it is listed");
            let opened = open_sealed(&self.bench.identity.0, &bytes).expect("it is sealed to us");
            !secrets.found_in(&unzipped(opened.expose())).is_empty()
        };
        blobs.iter().filter(holds).count()
    }
}

/// A backup is zipped.
fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match GzDecoder::new(bytes).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => bytes.to_vec(),
    }
}

/// The private keys of the roots as they lie on the controllers now.
fn roots(bench: &Bench) -> Marked {
    let mut marked = Marked::default();
    let keys = ["/pki/ca.key", "/pki/etcd/ca.key", "/pki/front-proxy-ca.key", "/pki/sa.key"];
    each_file(bench, |path, bytes| {
        if keys.iter().any(|key| path.ends_with(&format!("/var/lib/k0s{key}"))) {
            marked.learn(bytes);
        }
    });
    marked
}

fn each_file(bench: &Bench, mut look: impl FnMut(&str, &[u8])) {
    for host in &bench.plan.hosts {
        let world = bench.fleet.stage(|stage| stage.world.clone());
        for file in world.files(&host.name, &["/".to_owned()]) {
            if let Some(bytes) = world.read(&host.name, &file.path) {
                look(&format!("{}:{}", host.name, file.path), &bytes);
            }
        }
    }
}

fn each_own_file(dir: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).expect("the directory is ours") {
        let path = entry.expect("the directory is ours").path();
        if path.is_dir() {
            each_own_file(&path, look);
        } else {
            look(&path, &fs::read(&path).expect("the file is ours"));
        }
    }
}

/// Goal: forward and to the end nothing leaks, and no host keeps an old root's key; a planted leak of each kind is found.
#[test]
fn a_rotation_leaks_nothing() {
    let scene = Scene::new();
    let id = scene.start(&scene.bench.rotate());
    assert!(matches!(scene.drive(&id, None), Rest::Waiting { .. }));
    assert_eq!(scene.leaks(&id), Vec::<String>::new());
    assert_ne!(scene.lying(&scene.first), Vec::<String>::new(), "the old keys are kept until the end");
    // The first backup, and a snapshot of each controller.
    assert_eq!(scene.sealed(&scene.first), 4, "and lie here, sealed");
    let new = roots(&scene.bench);
    assert!(matches!(scene.drive(&id, Some(say::finalize())), Rest::Completed { .. }));
    assert_eq!(scene.leaks(&id), Vec::<String>::new());
    assert_eq!(scene.lying(&scene.first), Vec::<String>::new(), "old keys are destroyed");
    assert_eq!(scene.sealed(&scene.first), 0, "here too");
    assert_ne!(scene.sealed(&new), 0, "the backups of the new trust stay");
    let kinds = ["bootstrap token", "identity", "join token", "key", "line of a key", "service-account token"];
    assert_eq!(scene.seen.notes().marked.kinds(), kinds, "all that a rotation meets was marked");
    tracing::info!("heard");
    assert!(String::from_utf8_lossy(&logged().0.lock().expect("no test panicked")).contains("heard"));
    let key = scene.bench.fleet.stage(|stage| stage.world.read("h1", "/var/lib/k0s/pki/ca.key")).expect("a key");
    fs::write(scene.dir.path().join("left"), key).expect("the directory is ours");
    assert_ne!(scene.leaks(&id), Vec::<String>::new(), "a key that was left in a file is found");
}

/// Goal: neither does the way back, after which no host keeps an abandoned root's key.
#[test]
fn a_roll_back_leaks_nothing() {
    let scene = Scene::new();
    let id = scene.start(&scene.bench.rotate());
    assert!(matches!(scene.drive(&id, None), Rest::Waiting { .. }));
    let abandoned = roots(&scene.bench);
    assert_ne!(scene.sealed(&abandoned), 0, "its keys lie here, sealed");
    assert!(matches!(scene.drive(&id, Some(say::roll_back())), Rest::RolledBack { .. }));
    assert_eq!(scene.leaks(&id), Vec::<String>::new());
    assert_eq!(scene.lying(&abandoned), Vec::<String>::new(), "abandoned keys are removed");
    assert_eq!(scene.sealed(&abandoned), 0, "here too");
    assert_eq!(scene.sealed(&scene.first), 4, "backup and snapshots of the trust that is in use stay");
}

/// Goal: neither does a rotation that lost a worker on the way and whose replies were lost: failures name no secret.
#[test]
fn failures_leak_nothing() {
    let scene = Scene::new();
    let id = scene.start(&scene.bench.rotate());
    scene.bench.fleet.stage(|stage| {
        let plan = &mut stage.faults.plan;
        plan.extend(
            (0..12).map(|n| {
                (5 + 9 * n, [Fault::LoseReply, Fault::Tear, Fault::Refuse][usize::try_from(n % 3).unwrap_or(0)])
            }),
        );
    });
    let mut rest = scene.drive(&id, None);
    for _ in 0..12 {
        if matches!(rest, Rest::Stuck { .. }) {
            scene.bench.fleet.idle(Duration::from_secs(30));
            rest = scene.drive(&id, Some(say::resume()));
        }
    }
    assert!(matches!(rest, Rest::Waiting { .. } | Rest::RolledBack { .. } | Rest::Stuck { .. }), "{rest:?}");
    assert_eq!(scene.leaks(&id), Vec::<String>::new());
}

/// Goal: neither does a worker that died on the way and is let in beside the resting rotation.
#[test]
fn a_rejoin_leaks_nothing() {
    let scene = Scene::new();
    let dies = rejoining::change_of(&scene.bench.plan, &["h4", "h5"], "systemctl stop");
    let id = scene.start(&scene.bench.rotate());
    scene.bench.fleet.stage(|stage| stage.faults.plan.insert(dies, Fault::PowerCut(None)));
    let mut rest = scene.drive(&id, None);
    for _ in 0..3 {
        if matches!(rest, Rest::Stuck { .. }) {
            rest = scene.drive(&id, Some(say::resume()));
        }
    }
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    let history = block_on(scene.log.read(&id, 0)).expect("a history was written");
    let left = rejoining::left(&history);
    assert_eq!(left.len(), 1, "{left:?}");
    rejoining::find(&scene.bench, &left[0]);
    let rejoin = scene.start(&rejoining::of(&history, &left[0]));
    let rest = scene.drive(&rejoin, None);
    assert!(matches!(rest, Rest::Completed { .. }), "{rest:?}");
    assert_eq!([scene.leaks(&id), scene.leaks(&rejoin)].concat(), Vec::<String>::new());
}
