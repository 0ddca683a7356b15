//! What every event log must do, asked of the one in memory and the one on sled.

#![allow(clippy::unwrap_used, reason = "a test may")]
use k0rotate_engine::clock::{SystemClock, Timestamp};
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::{ExecutionId, Incarnation};
use k0rotate_engine::log::envelope::{self, Chain};
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::log::sled::{Look, Options, Reading, SledLog};
use k0rotate_engine::log::{Append, Appended, BlobHash, EventLog, Followed, LogError, MAX_APPEND, Owner};
use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Opens the same store again, as the next process would.
type Open = Box<dyn Fn() -> Arc<dyn EventLog>>;

fn sled_at(dir: &Path) -> SledLog {
    let options = Options { look: Look::Here, ..Options::default() };
    SledLog::open_with(dir, Arc::new(SystemClock::default()), &options).unwrap().0
}

/// Asks both kinds.
fn of_each(check: impl Fn(&str, Open)) {
    let store = MemoryStore::new();
    check("memory", Box::new(move || Arc::new(store.open())));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    check("sled", Box::new(move || Arc::new(sled_at(&path))));
}

fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text)
}

fn phase(n: u64) -> Event {
    Event::PhaseStarted { slug: format!("p{n}"), title: "a phase".into() }
}

fn append(execution: &str, expected: u64, owner: &Owner, events: Vec<Event>) -> Append {
    Append { execution: id(execution), expected, owner: owner.clone(), time: Timestamp(1000 + expected), events }
}

/// Goal: what was appended is read back, also by the next opening; histories do not mix.
#[test]
fn it_keeps_what_it_acknowledged() {
    of_each(|kind, open| {
        {
            let log = open();
            for x in ["a", "b"] {
                let owner = block_on(log.claim(&id(x))).unwrap();
                let first = block_on(log.append(append(x, 0, &owner, vec![phase(0), phase(1)]))).unwrap();
                assert!(matches!(first, Appended::Appended(records) if records.len() == 2), "{kind}");
                block_on(log.append(append(x, 2, &owner, vec![phase(2)]))).unwrap();
            }
        }
        let log = open();
        let heads = block_on(log.heads()).unwrap();
        assert_eq!(heads.iter().map(|h| (h.execution.as_str(), h.len)).collect::<Vec<_>>(), [("a", 3), ("b", 3)]);
        let read = block_on(log.read(&id("b"), 1)).unwrap();
        let seen: Vec<_> = read.iter().map(|r| (r.seq, r.event.clone())).collect();
        assert_eq!(seen, [(1, phase(1)), (2, phase(2))], "{kind}");
        let none = block_on(log.read(&id("none"), 0));
        assert!(matches!(none, Err(LogError::NotFound(_))), "{kind}: {none:?}");
    });
}

/// Goal: a second writer, a gap and a stale length write nothing; the same records again are a success.
#[test]
fn one_owner_writes_at_the_end() {
    of_each(|kind, open| {
        let log = open();
        let old = block_on(log.claim(&id("x"))).unwrap();
        block_on(log.append(append("x", 0, &old, vec![phase(0)]))).unwrap();
        let again = block_on(log.append(append("x", 0, &old, vec![phase(0)]))).unwrap();
        assert!(matches!(again, Appended::Appended(_)), "{kind}: {again:?}");
        for expected in [0, 2] {
            let other = block_on(log.append(append("x", expected, &old, vec![phase(9)]))).unwrap();
            assert_eq!(other, Appended::Conflict { actual: 1 }, "{kind}");
        }
        let new = block_on(log.claim(&id("x"))).unwrap();
        assert!(new.term > old.term, "{kind}");
        let fenced = block_on(log.append(append("x", 1, &old, vec![phase(1)]))).unwrap();
        assert_eq!(fenced, Appended::Fenced { owner: new.clone() }, "{kind}");
        block_on(log.append(append("x", 1, &new, vec![phase(1)]))).unwrap();
        assert_eq!(block_on(log.read(&id("x"), 0)).unwrap().len(), 2, "{kind}");
    });
}

/// Goal: an append that reaches beyond the end conflicts even if its first events stand there, and a stranger is fenced.
#[test]
fn only_the_owner_writes_and_only_at_the_end() {
    of_each(|kind, open| {
        let log = open();
        let owner = block_on(log.claim(&id("x"))).unwrap();
        block_on(log.append(append("x", 0, &owner, vec![phase(0), phase(1)]))).unwrap();
        let beyond = block_on(log.append(append("x", 1, &owner, vec![phase(1), phase(2)]))).unwrap();
        assert_eq!(beyond, Appended::Conflict { actual: 2 }, "{kind}");
        let stranger = Owner { incarnation: Incarnation::new("f".repeat(32)), term: owner.term };
        let strange = block_on(log.append(append("x", 2, &stranger, vec![phase(2)]))).unwrap();
        assert_eq!(strange, Appended::Fenced { owner }, "{kind}");
        assert_eq!(block_on(log.read(&id("x"), 0)).unwrap().len(), 2, "{kind}");
    });
}

/// Goal: the owner of an earlier opening is fenced, and a later claim has a higher term.
#[test]
fn an_earlier_opening_owns_nothing() {
    of_each(|kind, open| {
        let old = {
            let log = open();
            let old = block_on(log.claim(&id("x"))).unwrap();
            block_on(log.append(append("x", 0, &old, vec![phase(0)]))).unwrap();
            old
        };
        let log = open();
        let new = block_on(log.claim(&id("x"))).unwrap();
        assert!(new.term > old.term && new.incarnation != old.incarnation, "{kind}: {old:?} {new:?}");
        let fenced = block_on(log.append(append("x", 1, &old, vec![phase(1)]))).unwrap();
        assert_eq!(fenced, Appended::Fenced { owner: new.clone() }, "{kind}");
        block_on(log.append(append("x", 1, &new, vec![phase(1)]))).unwrap();
    });
}

/// Goal: many writers at once, each of its own history: none sees another's records, whatever the size of its appends.
#[test]
fn writers_do_not_mix() {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 40;
    let event = |writer: u64, seq: u64| {
        let large = if writer == 0 { 60_000 } else { 1500 * writer };
        Event::PhaseStarted { slug: format!("w{writer}-{seq}"), title: "x".repeat(usize::try_from(large).unwrap()) }
    };
    of_each(|kind, open| {
        let log = &open();
        let write = |writer: u64| async move {
            let name = format!("w{writer}");
            let owner = log.claim(&id(&name)).await.unwrap();
            for seq in 0..APPENDS {
                log.append(append(&name, seq, &owner, vec![event(writer, seq)])).await.unwrap();
            }
        };
        block_on(futures_util::future::join_all((0..WRITERS).map(write)));
        for writer in 0..WRITERS {
            let read = block_on(log.read(&id(&format!("w{writer}")), 0)).unwrap();
            assert!(read.iter().map(|r| r.event.clone()).eq((0..APPENDS).map(|seq| event(writer, seq))), "{kind}");
        }
    });
}

/// Goal: the stored bytes of a history are a chain of its records.
#[test]
fn stored_bytes_are_a_chain() {
    of_each(|kind, open| {
        let log = open();
        let owner = block_on(log.claim(&id("x"))).unwrap();
        block_on(log.append(append("x", 0, &owner, vec![phase(0), phase(1)]))).unwrap();
        block_on(log.append(append("x", 2, &owner, vec![phase(2)]))).unwrap();
        let (records, stored) = (block_on(log.read(&id("x"), 0)).unwrap(), block_on(log.stored(&id("x"))).unwrap());
        let mut chain = Chain::default();
        for (record, bytes) in records.iter().zip(&stored) {
            let opened = envelope::open_after(bytes, chain).unwrap();
            assert_eq!(opened.record, *record, "{kind}");
            chain = opened.chain;
        }
        assert_eq!((records.len(), stored.len()), (3, 3), "{kind}");
    });
}

/// Goal: sled never puts a node in a file of its own: it syncs none, and a look would not copy it.
#[test]
fn no_append_is_too_large_for_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let log = sled_at(dir.path());
    let owner = block_on(log.claim(&id("x"))).unwrap();
    for seq in 0..60 {
        let event = Event::PhaseStarted { slug: format!("p{seq}"), title: "x".repeat(65_000) };
        block_on(log.append(append("x", seq, &owner, vec![event]))).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("store/blobs")).unwrap().count(), 0, "after append {seq}");
    }
}

/// Goal: an append that is too large is refused whole, and the log goes on.
#[test]
fn large_appends_are_refused() {
    of_each(|kind, open| {
        let log = open();
        let owner = block_on(log.claim(&id("x"))).unwrap();
        let large = Event::PhaseStarted { slug: "p".into(), title: "x".repeat(MAX_APPEND) };
        let refused = block_on(log.append(append("x", 0, &owner, vec![phase(0), large])));
        assert!(matches!(refused, Err(LogError::TooLarge(size)) if size > MAX_APPEND), "{kind}");
        let nothing = block_on(log.read(&id("x"), 0));
        assert!(matches!(nothing, Err(LogError::NotFound(_))), "{kind}: {nothing:?}");
        block_on(log.append(append("x", 0, &owner, vec![phase(0)]))).unwrap();
    });
}

/// Goal: time within a history never goes back.
#[test]
fn time_does_not_go_back() {
    of_each(|kind, open| {
        let log = open();
        let owner = block_on(log.claim(&id("x"))).unwrap();
        let mut late = append("x", 0, &owner, vec![phase(0)]);
        late.time = Timestamp(5000);
        block_on(log.append(late)).unwrap();
        block_on(log.append(append("x", 1, &owner, vec![phase(1)]))).unwrap();
        let times: Vec<_> = block_on(log.read(&id("x"), 0)).unwrap().iter().map(|r| r.time.0).collect();
        assert_eq!(times, [5000, 5000], "{kind}");
    });
}

/// Goal: each opening has an incarnation of its own and knows those before it.
#[test]
fn openings_know_their_predecessors() {
    of_each(|kind, open| {
        let first = open().incarnations().0;
        let second = open().incarnations();
        let third = open().incarnations();
        assert_eq!(second.1, vec![first.clone()], "{kind}");
        assert_eq!(third.1, vec![second.0.clone(), first], "{kind}");
        assert_ne!(third.0, second.0, "{kind}");
    });
}

/// Goal: who follows sees each record once and in order, also those that come while it waits.
#[test]
fn followers_see_every_record() {
    of_each(|kind, open| {
        let log = open();
        let owner = block_on(log.claim(&id("x"))).unwrap();
        block_on(log.append(append("x", 0, &owner, vec![phase(0)]))).unwrap();
        let Followed::Records(first, cursor) = block_on(log.follow(None)).unwrap() else { panic!("{kind}: too old") };
        assert_eq!(first.len(), 1, "{kind}");
        let later = async {
            let waits = log.follow(Some(&cursor));
            let writes = log.append(append("x", 1, &owner, vec![phase(1), phase(2)]));
            futures_util::join!(waits, writes).0
        };
        let Followed::Records(rest, _) = block_on(later).unwrap() else { panic!("{kind}: too old") };
        assert_eq!(rest.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2], "{kind}");
    });
}

/// Goal: a blob is read back by its hash, and a hash that was never given is not found.
#[test]
fn blobs_are_known_by_their_hash() {
    of_each(|kind, open| {
        let hash = block_on(open().put_blob(b"some bytes")).unwrap();
        let log = open();
        assert_eq!(block_on(log.get_blob(&hash)).unwrap(), b"some bytes", "{kind}");
        assert_eq!(block_on(log.put_blob(b"some bytes")).unwrap(), hash, "{kind}");
        for strange in ["0".repeat(64), "../../etc/passwd".into()] {
            assert!(matches!(block_on(log.get_blob(&BlobHash(strange))), Err(LogError::NotFound(_))), "{kind}");
        }
    });
}

/// Goal: a blob that was taken away is not found by who opens the log next, others are, and it may be taken away twice.
#[test]
fn blobs_can_be_taken_away() {
    of_each(|kind, open| {
        let (log, mut both) = (open(), Vec::new());
        for bytes in [b"an old key", b"a new key "] {
            both.push(block_on(log.put_blob(bytes)).unwrap());
        }
        let listed = |log: &dyn EventLog| block_on(log.blobs()).unwrap().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(listed(log.as_ref()), both.iter().cloned().collect(), "{kind}");
        block_on(log.remove_blob(&both[0])).unwrap();
        drop(log);
        let log = open();
        assert!(matches!(block_on(log.get_blob(&both[0])), Err(LogError::NotFound(_))), "{kind}");
        assert_eq!(listed(log.as_ref()), BTreeSet::from([both[1].clone()]), "{kind}");
        block_on(log.remove_blob(&both[0])).unwrap();
        block_on(log.remove_blob(&BlobHash("../anchor".into()))).unwrap();
        drop(log);
        drop(open()); // The anchor is still there.
    });
}

/// Goal: a second opener is told that the store is held.
#[test]
fn a_store_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let _log = sled_at(dir.path());
    let second = SledLog::open(dir.path(), Arc::new(SystemClock::default()));
    assert!(matches!(second, Err(LogError::Held(_))), "{:?}", second.err());
}

/// A folder of a reader, and what it read.
fn reading(dir: &Path) -> Result<Reading, LogError> {
    let scratch = tempfile::tempdir().unwrap();
    Reading::take(dir, scratch.path(), &Look::Here)
}

/// Every file below a folder, with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

/// Goal: a look gives what was written and changes no byte of the store, so that any number of looks use up no opening.
#[test]
fn a_look_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(reading(dir.path()).unwrap().executions(), [], "nobody ever opened it");
    assert_eq!(files(dir.path()), [], "and nobody did now");
    let execution = ExecutionId::new("looked-at");
    let (written, stored) = block_on(async {
        let log = sled_at(dir.path());
        let owner = log.claim(&execution).await.unwrap();
        let events = vec![Event::PhaseStarted { slug: "check".into(), title: "Check".into() }];
        let append = Append { execution: execution.clone(), expected: 0, owner, time: Timestamp(1), events };
        assert!(matches!(log.append(append).await.unwrap(), Appended::Appended(_)));
        assert!(matches!(reading(dir.path()), Err(LogError::Held(_))), "whoever opened it is to be asked");
        (log.read(&execution, 0).await.unwrap(), log.stored(&execution).await.unwrap())
    });
    let before = files(dir.path());
    for _ in 0..3 {
        let look = reading(dir.path()).unwrap();
        assert_eq!(look.executions(), std::slice::from_ref(&execution));
        assert_eq!(look.history(&execution).unwrap(), written);
        assert_eq!(look.stored(&execution).unwrap(), stored);
    }
    assert!(files(dir.path()) == before, "no byte is another");
    assert_eq!(sled_at(dir.path()).incarnations().1.len(), 1, "only who opened it counts");
}

/// Goal: a store that falls short of its anchor is refused by a look as by an opening, and stays as it is.
#[test]
fn a_look_believes_no_less_than_its_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let execution = ExecutionId::new("lost");
    block_on(async {
        let log = sled_at(dir.path());
        let owner = log.claim(&execution).await.unwrap();
        let events = vec![Event::PhaseStarted { slug: "check".into(), title: "Check".into() }];
        let append = Append { execution, expected: 0, owner, time: Timestamp(1), events };
        assert!(matches!(log.append(append).await.unwrap(), Appended::Appended(_)));
    });
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let refused = reading(dir.path()).err().expect("it is refused").to_string();
    assert!(refused.contains("all of its 1 events are missing"), "{refused}");
}

/// Goal: whoever opens the store waits for a reader to end, and not for another one that opened it.
#[test]
fn readers_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(sled_at(dir.path()));
    let reader = std::fs::File::open(dir.path().join("lock")).unwrap();
    reader.lock_shared().unwrap();
    let path = dir.path().to_owned();
    let (ready, go) = std::sync::mpsc::channel();
    let opener = std::thread::spawn(move || {
        ready.send(()).unwrap();
        SledLog::open(&path, Arc::new(SystemClock::default())).map(drop)
    });
    go.recv().unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(50) {
        assert!(!opener.is_finished(), "it waits");
        std::thread::yield_now();
    }
    reader.unlock().unwrap();
    assert!(opener.join().unwrap().is_ok());
}
