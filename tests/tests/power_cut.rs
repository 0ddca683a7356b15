//! Power cuts: whatever a disk keeps of what was not synced, every acknowledged event is there at the next opening.

use k0rotate_engine::clock::{SystemClock, Timestamp};
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::sled::{DataSync, Look, Options, SledLog, Syncer, probe_store};
use k0rotate_engine::log::{Append, Appended, BlobHash, EventLog, Owner};
use k0rotate_tests::disk::{Draw, Left, Recorded, record};
use k0rotate_tests::tier::{Tier, skip, tier};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The directory that a child process of this test fills, how often it was opened before, and whether we sync.
const FILL: &str = "K0ROTATE_TEST_FILL";
const LIFE: &str = "K0ROTATE_TEST_LIFE";
const UNSYNCED: &str = "K0ROTATE_TEST_UNSYNCED";
/// The store that a child process of this test looks at.
const LOOK: &str = "K0ROTATE_TEST_LOOK";
const LIMIT: Duration = Duration::from_secs(60);

/// Openings of the store: all but the first and the last are killed.
const LIVES: u64 = 4;
const HISTORIES: u64 = 4;
/// Steps whose syncs are counted.
const STEPS: u64 = 240;
const SEED: u64 = 20_261_124;

/// Our own sync taken out.
struct Nothing;

impl Syncer for Nothing {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread").block_on(future)
}

fn execution(history: u64) -> ExecutionId {
    ExecutionId::new(format!("01JDQ8{history:020}"))
}

/// What stands at a place of a history: sizes from tens of bytes to the largest that an append takes, many of which stand side by
/// side, so that sled fills and reuses its segments and its nodes grow as large as they can.
fn event(history: u64, seq: u64) -> Event {
    let size = match seq {
        80..120 if history == 0 => 60_000,
        _ => 97 * (seq + history) % 3000,
    };
    match seq % 20 {
        0 => Event::PhaseStarted { slug: format!("p{seq}"), title: "a phase".into() },
        _ => Event::Resumed {
            by: format!("ada {history} {seq}"),
            reason: "x".repeat(usize::try_from(size).unwrap_or(0)),
        },
    }
}

/// Goal: none of its own; the process in which a store is looked at.
#[test]
#[ignore = "a part of the others, in a process of its own"]
fn looks_at_a_store() {
    println!("\n{}", probe_store(Path::new(&std::env::var_os(LOOK).expect("it is told where"))));
}

/// Goal: none of its own; the process whose power is cut.
#[test]
#[ignore = "a part of the others, in a process of its own"]
fn fills_a_store() {
    let dir = std::env::var_os(FILL).expect("it is told where");
    let life: u64 = std::env::var(LIFE).expect("it is told when").parse().expect("a number");
    let syncer: Arc<dyn Syncer> =
        if std::env::var_os(UNSYNCED).is_some() { Arc::new(Nothing) } else { Arc::new(DataSync) };
    let options = Options { look: Look::Here, syncer, ..Options::default() };
    let opened = SledLog::open_with(Path::new(&dir), Arc::new(SystemClock::default()), &options);
    let (log, _) = opened.expect("a killed store opens");
    say(&format!("\nopened {}", log.incarnations().0));
    block_on(fill(&log, life));
    if life != 0 && life + 1 != LIVES {
        std::process::exit(0); // As a kill would: nothing is dropped.
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

/// Appends to all histories side by side, and says what was acknowledged.
async fn fill(log: &SledLog, life: u64) {
    let owners: Vec<Owner> =
        futures_util::future::try_join_all((0..HISTORIES).map(|n| async move { log.claim(&execution(n)).await }))
            .await
            .expect("whoever opened it may write");
    for seq in life * 40..(life + 1) * 40 {
        let appends = owners.iter().zip(0..).map(|(owner, history)| async move {
            let (owner, events) = (owner.clone(), vec![event(history, seq)]);
            let append = Append { execution: execution(history), expected: seq, owner, time: Timestamp(seq), events };
            let appended = log.append(append).await;
            assert!(matches!(appended, Ok(Appended::Appended(_))), "{appended:?}");
            say(&format!("appended {history} {seq}"));
        });
        futures_util::future::join_all(appends).await;
        if seq % 8 == 0 {
            let hash = log.put_blob(format!("blob {seq}").repeat(700).as_bytes()).await.expect("a blob is stored");
            say(&format!("blob {hash}"));
        }
    }
}

/// Goal: none of its own; a process that takes one step after the other.
#[test]
#[ignore = "a part of the others, in a process of its own"]
fn takes_steps() {
    let dir = std::env::var_os(FILL).expect("it is told where");
    let options = Options { look: Look::Here, ..Options::default() };
    let opened = SledLog::open_with(Path::new(&dir), Arc::new(SystemClock::default()), &options);
    let (log, _) = opened.expect("a new store opens");
    block_on(async {
        let owner = log.claim(&execution(0)).await.expect("whoever opened it may write");
        say("\nbegun");
        for seq in 0..STEPS {
            let (owner, events) = (owner.clone(), vec![event(0, seq + 1)]);
            let append = Append { execution: execution(0), expected: seq, owner, time: Timestamp(seq), events };
            log.append(append).await.expect("it is appended");
        }
        say("taken");
    });
}

/// Goal: one sync of the store's file a step, as the kernel counts them.
#[test]
fn a_step_is_one_sync() {
    let scratch = tempfile::tempdir().expect("there is a place for temporary files");
    let mut command = child("takes_steps");
    command.env(FILL, scratch.path().join("log"));
    let Some(recorded) = record(scratch.path(), &mut [command]) else {
        return skip("a_step_is_one_sync", "no process can be traced here");
    };
    let when = |line: &str| recorded.said.iter().find(|(_, said)| said == line).map(|(at, _)| *at);
    let (begun, taken) = (when("begun").expect("it began"), when("taken").expect("it ended"));
    let within = |(started, ended): &&(usize, usize)| *started > begun && *ended < taken;
    let syncs = recorded.syncs("/log/store/db").iter().filter(within).count() as u64;
    assert!((STEPS..=STEPS + STEPS / 20).contains(&syncs), "{syncs} syncs in {STEPS} steps");
}

/// What was acknowledged before a cut.
#[derive(Default)]
struct Acknowledged {
    /// The length of each history.
    lengths: BTreeMap<u64, u64>,
    blobs: Vec<BlobHash>,
    openings: Vec<String>,
}

impl Acknowledged {
    fn before(cut: usize, said: &[(usize, String)]) -> Self {
        let mut acknowledged = Self::default();
        for (_, line) in said.iter().take_while(|(at, _)| *at < cut) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["opened", incarnation] => acknowledged.openings.push(incarnation.to_owned()),
                ["blob", hash] => acknowledged.blobs.push(BlobHash(hash.to_owned())),
                ["appended", history, seq] => {
                    let number = |text: &str| text.parse::<u64>().expect("a number");
                    acknowledged.lengths.insert(number(history), number(seq) + 1);
                }
                _ => {}
            }
        }
        acknowledged
    }

    /// What of it is not in this store, if anything.
    async fn missing(&self, dir: &Path) -> Result<(), String> {
        let look = |store: &Path| {
            let mut command = child("looks_at_a_store");
            command.env(LOOK, store);
            command
        };
        let options = Options { look: Look::Child(Arc::new(look), LIMIT), ..Options::default() };
        let opened = SledLog::open_with(dir, Arc::new(SystemClock::default()), &options);
        let (log, _) = opened.map_err(|e| format!("not opened: {e}"))?;
        for (history, len) in &self.lengths {
            // A read holds the whole history against its chain.
            let records = log.read(&execution(*history), 0).await.map_err(|e| format!("not read: {e}"))?;
            let whole = records.iter().zip(0..).all(|(r, seq)| r.seq == seq && r.event == event(*history, seq));
            if !whole || (records.len() as u64) < *len {
                return Err(format!("history {history}: {} of {len} events", records.len()));
            }
        }
        for blob in &self.blobs {
            log.get_blob(blob).await.map_err(|e| format!("{e}"))?;
        }
        let openings = log.incarnations().1;
        match self.openings.iter().find(|o| openings.iter().all(|known| known.as_str() != o.as_str())) {
            Some(gone) => Err(format!("opening {gone}")),
            None => Ok(()),
        }
    }
}

/// The record of a store that lived several times.
fn recorded(test: &str, unsynced: bool) -> Option<Recorded> {
    let scratch = tempfile::tempdir().expect("there is a place for temporary files");
    let mut lives: Vec<Command> = (0..LIVES)
        .map(|life| {
            let mut command = child("fills_a_store");
            command.env(FILL, scratch.path().join("log")).env(LIFE, life.to_string());
            if unsynced {
                command.env(UNSYNCED, "yes");
            }
            command
        })
        .collect();
    let recorded = record(scratch.path(), &mut lives);
    match &recorded {
        None => skip(test, "no process can be traced here"),
        Some(recorded) => {
            let all = Acknowledged::before(recorded.end, &recorded.said);
            assert_eq!(all.lengths, (0..HISTORIES).map(|n| (n, LIVES * 40)).collect());
        }
    }
    recorded
}

/// Cuts the power at moments drawn from the seed; what was lost, with the image it was lost in.
fn cut(recorded: &Recorded, images: u64) -> Vec<String> {
    let first = recorded.said.iter().find(|(_, line)| line.starts_with("opened ")).expect("it was opened").0;
    let mut draw = Draw(SEED);
    let mut lost = Vec::new();
    for n in 0..images {
        // One in ten in the first opening, which is short and has nothing to fall back on.
        let end = if n % 10 == 0 { first } else { recorded.end };
        let (cut, left) = (draw.below(end + 1), Left::nth(n / 10 + n));
        let scratch = tempfile::tempdir().expect("there is a place for temporary files");
        recorded.disk.image(cut, left, &mut draw, scratch.path());
        let acknowledged = Acknowledged::before(cut, &recorded.said);
        if let Err(why) = block_on(acknowledged.missing(&scratch.path().join("log"))) {
            lost.push(format!("image {n}, cut at {cut} of {}, left {left:?}: {why}", recorded.end));
        }
    }
    lost
}

fn images() -> u64 {
    if tier() == Tier::Fast { 60 } else { 500 }
}

/// Goal: no cut loses an event, a blob or an opening that was acknowledged.
#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let Some(recorded) = recorded("a_power_cut_loses_nothing_acknowledged", false) else { return };
    let lost = cut(&recorded, images());
    assert!(lost.is_empty(), "{} of {} images lost something:\n{}", lost.len(), images(), lost.join("\n"));
}

/// Goal: the images can lose something: without our own sync they do.
#[test]
fn without_our_sync_a_power_cut_loses_events() {
    let Some(recorded) = recorded("without_our_sync_a_power_cut_loses_events", true) else { return };
    let lost = cut(&recorded, images() / 5);
    assert!(!lost.is_empty(), "a store that nobody syncs lost nothing");
}
