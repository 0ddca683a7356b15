//! What a durable step costs on this machine, beside a bare `fdatasync` in the same run; see docs/performance.md.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench may")]
use k0rotate_engine::clock::{SystemClock, Timestamp};
use k0rotate_engine::event::{Event, Json};
use k0rotate_engine::ids::{ExecutionId, StepId};
use k0rotate_engine::log::sled::{Look, Options, SledLog, Syncer, probe_store};
use k0rotate_engine::log::{Append, EventLog, Owner};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STEPS: u64 = 400;
const LARGE: u64 = 100_000;
/// The store that a child process of this bench looks at, as the tool's own child does.
const LOOK: &str = "K0ROTATE_BENCH_LOOK";

/// Counts what is synced in the store's data file.
#[derive(Default)]
struct Counting(AtomicU64);

impl Syncer for Counting {
    fn sync(&self, file: &File) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }
}

/// Leaves it to the kernel: for filling a store whose filling is not what is timed.
struct Unsynced;

impl Syncer for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path, syncer: Arc<dyn Syncer>) -> SledLog {
    let look = |store: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(LOOK, store);
        command
    };
    let look = Look::Child(Arc::new(look), Duration::from_secs(60));
    let options = Options { syncer, look, ..Options::default() };
    SledLog::open_with(dir, Arc::new(SystemClock::default()), &options).unwrap().0
}

fn id(history: u64) -> ExecutionId {
    ExecutionId::new(format!("01JDQ8{history:020}"))
}

/// The result of one step with the intent of the next: one commit.
fn step(n: u64) -> Vec<Event> {
    let step = |n: u64| StepId::of("start", "start-controller", &format!("c{n}"));
    let (input, before) = (Json(format!(r#"{{"host":"c{n}"}}"#)), Json("null".into()));
    let (activity, target) = ("start-controller".into(), format!("c{n}"));
    let started = Event::StepStarted { step: step(n + 1), activity, target, input, before, group: None, undo: false };
    vec![Event::StepSucceeded { step: step(n), output: Json(r#"{"active":true}"#.into()) }, started]
}

async fn append(log: &SledLog, history: u64, owner: &Owner, expected: u64, events: Vec<Event>) {
    let (execution, owner) = (id(history), owner.clone());
    let append = Append { execution, expected, owner, time: Timestamp(1000), events };
    log.append(append).await.unwrap();
}

/// A page written in a file that was written before, and synced.
fn raw(file: &File, n: u64) -> Duration {
    let start = Instant::now();
    file.write_all_at(&[u8::try_from(n % 251).unwrap(); 4096], n * 4096).unwrap();
    file.sync_data().unwrap();
    start.elapsed()
}

fn percentile(times: &mut [Duration], per_cent: usize) -> f64 {
    times.sort();
    times[times.len() * per_cent / 100].as_secs_f64() * 1000.0
}

/// Prints a row of the table; whether the figure keeps to its bar.
fn row(what: &str, told: &str, figure: f64, bar: Option<f64>) -> bool {
    let told_bar = bar.map_or_else(|| "–".to_owned(), |bar| bar.to_string());
    let kept = bar.is_none_or(|bar| figure <= bar);
    println!("| {what} | {told} | {told_bar}{} |", if kept { "" } else { ", NOT KEPT" });
    kept
}

async fn steps(dir: &Path) -> bool {
    let syncer = Arc::new(Counting::default());
    let log = open(&dir.join("steps"), syncer.clone());
    let owner = log.claim(&id(0)).await.unwrap();
    let file = File::create(dir.join("raw")).unwrap();
    file.write_all_at(&vec![1; 4096 * usize::try_from(STEPS).unwrap()], 0).unwrap();
    file.sync_all().unwrap();
    let (mut raws, mut ours) = (Vec::new(), Vec::new());
    let before = syncer.0.load(Ordering::Relaxed);
    for n in 0..STEPS {
        raws.push(raw(&file, n));
        let start = Instant::now();
        append(&log, 0, &owner, 2 * n, step(n)).await;
        ours.push(start.elapsed());
    }
    let syncs = syncer.0.load(Ordering::Relaxed) - before;
    let mut kept = true;
    for per_cent in [10, 50] {
        let (raw, ours) = (percentile(&mut raws, per_cent), percentile(&mut ours, per_cent));
        let told = format!("{ours:.2} ms, raw {raw:.2} ms: {:.2} x", ours / raw);
        kept &= row(&format!("durable step, p{per_cent}, against raw"), &told, ours / raw, Some(2.5));
    }
    let a_step = syncs as f64 / STEPS as f64;
    kept & row(&format!("syncs of db a step, {STEPS} steps"), &format!("{a_step:.3}"), a_step, Some(1.05))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A store whose process was killed, with so many histories of which all but the last have ended. It was opened anew for every
/// ten of them, as a rotation and its reading verbs do more often.
async fn reopen(dir: &Path, histories: u64, bar: Option<f64>) -> bool {
    let (large, killed) = (dir.join(format!("large-{histories}")), dir.join(format!("killed-{histories}")));
    let mut log = open(&large, Arc::new(Unsynced));
    let each = LARGE / histories;
    for history in 0..histories {
        if history > 0 && history % 10 == 0 {
            drop(log);
            log = open(&large, Arc::new(Unsynced));
        }
        let owner = log.claim(&id(history)).await.unwrap();
        for n in 0..each / 2 {
            let last = history + 1 < histories && n + 1 == each / 2;
            let result = || step(n).swap_remove(0);
            let ended = || Event::Completed { output: Json("null".into()), left: vec![] };
            append(&log, history, &owner, 2 * n, if last { vec![result(), ended()] } else { step(n) }).await;
        }
    }
    // What lies on the disk while it is open is what a kill leaves.
    copy(&large, &killed);
    drop(log);
    let (start, busy) = (Instant::now(), processor());
    let log = open(&killed, Arc::new(Counting::default()));
    let opened = start.elapsed().as_secs_f64();
    let open = id(histories - 1);
    let owner = log.claim(&open).await.unwrap();
    assert_eq!(log.read(&open, 0).await.unwrap().len() as u64, each);
    append(&log, histories - 1, &owner, each, step(0)).await;
    let whole = start.elapsed().as_secs_f64();
    let busy = processor() - busy;
    let name = format!("killed store of {LARGE} events in {histories} histories, one open");
    let told = format!("{opened:.2} s; {whole:.2} s, {busy:.2} s of a processor");
    row(&format!("{name}: opened; history read, first append, in seconds"), &told, whole, bar)
}

/// Seconds of a processor that this process and its children took; says more than the wall where others share the machine.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(4).map(|n| n.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn main() {
    if let Some(store) = std::env::var_os(LOOK) {
        return println!("{}", probe_store(Path::new(&store)));
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("| what | here | bar |\n|---|---|---|");
    let mut kept = runtime.block_on(steps(scratch.path()));
    kept &= runtime.block_on(reopen(scratch.path(), 200, Some(0.5)));
    // All in one open history, which no rotation comes near.
    kept &= runtime.block_on(reopen(scratch.path(), 1, None));
    if !kept {
        std::process::exit(1);
    }
}
