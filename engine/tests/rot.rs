//! Bits that flip and files that are cut: a store says so, or it gives back every event; it never falls silent.

#![allow(clippy::unwrap_used, reason = "a test may")]
use k0rotate_engine::clock::{SystemClock, Timestamp};
use k0rotate_engine::event::{Event, Json};
use k0rotate_engine::export::export;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::sled::{Look, Options, SledLog, probe_store};
use k0rotate_engine::log::{Append, EventLog};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The store that a child process of this test looks at or reads.
const LOOK: &str = "K0ROTATE_TEST_LOOK";
const READ: &str = "K0ROTATE_TEST_READ";
/// Far more than either takes; a store that hangs is found by it.
const LIMIT: Duration = Duration::from_secs(60);

const HISTORIES: u64 = 6;
const APPENDS: u64 = 40;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// This test binary, running one of its ignored tests.
fn child(test: &str, key: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(key, dir);
    command
}

fn open(dir: &Path) -> Result<SledLog, k0rotate_engine::log::LogError> {
    let look = Look::Child(Arc::new(|store: &Path| child("looks_at_a_store", LOOK, store)), LIMIT);
    let options = Options { look, ..Options::default() };
    SledLog::open_with(dir, Arc::new(SystemClock::default()), &options).map(|(log, _)| log)
}

/// Goal: none of its own; the process in which a store is looked at.
#[test]
#[ignore = "a part of the others, in a process of its own"]
fn looks_at_a_store() {
    println!("\n{}", probe_store(Path::new(&std::env::var_os(LOOK).unwrap())));
}

/// Goal: none of its own; the process in which a store is opened and read.
#[test]
#[ignore = "a part of the others, in a process of its own"]
fn reads_a_store() {
    let answer = match open(Path::new(&std::env::var_os(READ).unwrap())).map(|log| block_on(read(&log))) {
        Ok(Ok(text)) => format!("read {}", serde_json::to_string(&text).unwrap()),
        Ok(Err(why)) | Err(why) => format!("refused {why}"),
    };
    println!("\n{answer}");
}

/// Every history of a store as it is exported.
async fn read(log: &SledLog) -> Result<String, k0rotate_engine::log::LogError> {
    let mut text = String::new();
    for head in log.heads().await? {
        text += &export(&log.stored(&head.execution).await?).unwrap();
    }
    Ok(text)
}

/// What a process of its own says of the store in this directory.
fn answer(dir: &Path) -> Result<String, String> {
    let (send, receive) = mpsc::channel();
    let mut command = child("reads_a_store", READ, dir);
    std::thread::spawn(move || send.send(command.output()));
    let output = receive.recv_timeout(LIMIT * 3).expect("the store was read within the limit").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|l| {
        let read = l.strip_prefix("read ").map(|l| Ok(serde_json::from_str(l).unwrap()));
        read.or_else(|| l.strip_prefix("refused ").map(|why| Err(why.to_owned())))
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    found.unwrap_or_else(|| panic!("neither read nor refused, {}: {text}{errors}", output.status))
}

/// Writes histories, every other one to its end, and returns all they hold.
async fn fill(log: &SledLog) -> String {
    for n in 0..HISTORIES {
        let execution = ExecutionId::new(format!("01JDQ8{n:020}"));
        let owner = log.claim(&execution).await.unwrap();
        for seq in 0..APPENDS {
            let event = match seq {
                0 => Event::PhaseStarted { slug: "check".into(), title: "Check the hosts".into() },
                _ if seq + 1 == APPENDS && n % 2 == 0 => Event::Completed { output: Json("null".into()), left: vec![] },
                _ => Event::Resumed {
                    by: format!("ada {seq}"),
                    // One in ten is so large that it takes several keys.
                    reason: "x".repeat(usize::try_from(if seq % 10 == 5 { 15_000 } else { 97 * seq % 1500 }).unwrap()),
                },
            };
            let (execution, owner) = (execution.clone(), owner.clone());
            let append = Append { execution, expected: seq, owner, time: Timestamp(1000 + seq), events: vec![event] };
            log.append(append).await.unwrap();
        }
    }
    read(log).await.unwrap()
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

/// One way to harm one file.
#[derive(Debug)]
enum Harm {
    Flip { at: u64, bit: u8 },
    Cut { to: u64 },
    Zeros { at: u64 },
}

/// Numbers that are the same in each run (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// A file of the store that holds something, the data more often than the rest, and what happens to it.
    fn harm(&mut self, dir: &Path) -> (PathBuf, Harm) {
        let mut files: Vec<PathBuf> = fs::read_dir(dir.join("store")).unwrap().map(|e| e.unwrap().path()).collect();
        files.extend([dir.join("anchor"), dir.join("store/db"), dir.join("store/db"), dir.join("store/db")]);
        files.retain(|f| f.is_file() && written(f) > 0);
        files.sort();
        let file = files.swap_remove(usize::try_from(self.below(files.len() as u64)).unwrap());
        let at = self.below(written(&file));
        let harm = match self.below(6) {
            0 => Harm::Cut { to: at },
            1 => Harm::Zeros { at: at / 4096 * 4096 },
            _ => Harm::Flip { at, bit: 1 << self.below(8) },
        };
        (file, harm)
    }
}

/// Bytes up to the last that is not zero: sled makes its file far larger than what it holds.
fn written(file: &Path) -> u64 {
    fs::read(file).unwrap().iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1)
}

fn inflict(path: &Path, harm: &Harm) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    match *harm {
        Harm::Cut { to } => file.set_len(to).unwrap(),
        Harm::Zeros { at } => {
            let len = usize::try_from((file.metadata().unwrap().len() - at).min(4096)).unwrap();
            file.write_all_at(&vec![0; len], at).unwrap();
        }
        Harm::Flip { at, bit } => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ bit], at).unwrap();
        }
    }
}

/// Opens harmed copies of a store; returns how many were read in full and how many were refused.
fn harm_each(whole: &Path, held: &str, seed: u64) -> (usize, usize) {
    let (mut read, mut refused) = (0, 0);
    let mut draw = Draw(seed);
    for n in 0..harms() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        copy(whole, &dir);
        let (file, harm) = draw.harm(&dir);
        inflict(&file, &harm);
        let what = format!("harm {n} of seed {seed}, {harm:?} of {}", file.file_name().unwrap().display());
        let harmed = fs::read(dir.join("store/db")).unwrap();
        match answer(&dir) {
            Ok(text) => {
                assert!(text == held, "events were lost in silence: {what}");
                read += 1;
            }
            Err(why) => {
                refused += 1;
                // Refusing must not destroy the evidence, or the next opening believes what is left.
                let again = answer(&dir);
                assert!(
                    again.as_ref().is_err() || again.as_deref() == Ok(held),
                    "the second opening lost events: {what}: {why}"
                );
                let kept = again.is_ok() || fs::read(dir.join("store/db")).unwrap() == harmed || opened_first(&why);
                assert!(kept, "what was refused was changed: {what}: {why}");
            }
        }
    }
    (read, refused)
}

/// Whether the store was opened, and one history that had ended was refused when it was read.
fn opened_first(why: &str) -> bool {
    why.contains("event ") || why.contains("does not end as it was written") || why.contains("checksum")
}

/// Harms of each kind of store.
fn harms() -> u64 {
    match std::env::var("K0ROTATE_TIER").as_deref() {
        Ok("full") => 150,
        Ok("fast") => 10,
        _ => 30,
    }
}

fn store(dir: &Path) -> (SledLog, String) {
    let log = open(dir).unwrap();
    let held = block_on(fill(&log));
    (log, held)
}

/// Goal: a store that was closed and then harmed gives all events or a typed error; both occur.
#[test]
fn a_closed_store_never_falls_silent() {
    let dir = tempfile::tempdir().unwrap();
    let (log, held) = store(dir.path());
    drop(log);
    let (read, refused) = harm_each(dir.path(), &held, 1);
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

/// Goal: so does one whose process was killed: what lies on the disk while it is open.
#[test]
fn a_killed_store_never_falls_silent() {
    let dir = tempfile::tempdir().unwrap();
    let (log, held) = store(dir.path());
    let killed = dir.path().with_extension("killed");
    copy(dir.path(), &killed);
    drop(log);
    let (read, refused) = harm_each(&killed, &held, 2);
    fs::remove_dir_all(&killed).unwrap();
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}
