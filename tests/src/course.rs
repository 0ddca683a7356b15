//! One way of an execution, driven undisturbed and photographed at every commit: hurt cases begin from the photo that is nearest.

use crate::ends::{self, roots};
use crate::enumerate::Way;
use crate::harness::{Bench, Image};
use crate::made::{Usual, parts};
use crate::rejoining::{self, Lost, Then};
use async_trait::async_trait;
use k0rotate_activities::layout::MARK;
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::rehearsal::likeness::{First, Likeness};
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::{ExecutionId, Incarnation, Seq};
use k0rotate_engine::log::{Append, Appended, BlobHash, Cursor, EventLog, Followed, Head, LogError, Owner};
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// A fleet before anything was done, and an execution of a rotation that was started on it.
pub struct Stand {
    /// The first world.
    pub first: First,
    /// How it looked.
    pub likeness: Likeness,
    /// All its files.
    pub files: Files,
    /// Everything as it was when the execution had been started.
    pub image: Image,
    /// Which.
    pub execution: ExecutionId,
    /// A controller that was in for a while has published its own front-proxy CA, which stays its own when it is out again.
    pub publishes: bool,
    /// The first trust is in use: what was put back of it stays on the way back, and the host may be in.
    pub may_stay: bool,
}

/// Paths of all files, by host; with marks of time and chance taken out.
pub type Files = BTreeSet<(String, String)>;

/// A way that was driven undisturbed.
pub struct Course {
    /// Where it began.
    pub way: Way,
    /// What was there before it.
    pub start: Image,
    /// One for each commit.
    pub photos: Vec<Photo>,
    /// Changes before it began.
    pub changes_before: u64,
    /// What each change was, from the first of the execution on.
    pub log: Vec<String>,
    /// The step that made it.
    pub steps: Vec<String>,
    /// How often each step makes each change.
    pub usual: Usual,
    /// What was there at its end.
    pub likeness: Likeness,
    /// The files then.
    pub files: Files,
}

/// Before and after a commit.
pub struct Photo {
    /// Before.
    pub before: Image,
    /// Once it was durable.
    pub after: Image,
    /// Changes so far.
    pub changes: u64,
    /// The commit ends every step that was open: what changes from here on is of steps that it or a later one starts.
    quiet: bool,
    /// What was written.
    pub events: Vec<Event>,
}

impl Stand {
    /// Starts a rotation of all roots, and drives nothing.
    pub fn new(bench: &Bench) -> Self {
        Self::of(bench, &bench.rotate())
    }

    /// Starts this rotation, and drives nothing.
    pub fn of(bench: &Bench, rotate: &Rotate) -> Self {
        let (first, likeness) = bench.fleet.stage(|s| {
            let first = First::of(&s.world);
            let likeness = Likeness::of(&s.world, &first);
            (first, likeness)
        });
        let files = files(bench);
        let execution = bench.start(rotate);
        Self { first, likeness, files, image: bench.image(), execution, publishes: false, may_stay: false }
    }

    /// Starts to let a host in that a rotation went on without, and drives nothing.
    pub fn of_rejoin(plan: FleetPlan, lost: &Lost) -> Self {
        let mut bench = Bench::new(plan);
        let first = bench.fleet.stage(|s| First::of(&s.world));
        let (rotation, name) = rejoining::lose(&bench, lost.one_of, lost.at);
        lost.then.drive(&bench, &rotation, &name);
        rejoining::find(&bench, &name);
        let rejoin = rejoining::of(&bench.history(&rotation), &name);
        bench.original = roots(&bench);
        let likeness = bench.fleet.stage(|s| Likeness::of(&s.world, &first));
        let files = files(&bench);
        let execution = rejoining::start(&bench, &rejoin);
        Self {
            first,
            likeness,
            files,
            image: bench.image(),
            execution,
            publishes: true,
            may_stay: lost.then == Then::WentBack,
        }
    }

    /// How it looks now.
    pub fn look(&self, bench: &Bench) -> Likeness {
        bench.fleet.stage(|s| Likeness::of(&s.world, &self.first))
    }
}

/// Folders that stay: empty, and made again by whoever needs them.
const HARMLESS: [&str; 2] = [".service.d", "/var/lib/k0rotate"];

/// What k0s itself keeps while it runs, and leaves.
const RUN: &str = "/run/k0s";

/// Volumes of pods, which come and go with them.
const PODS: &str = "/kubelet/pods/";

/// Paths of all files of all hosts; of a mark whose it is too.
pub fn files(bench: &Bench) -> Files {
    let of = |host: &PlannedHost| {
        let (name, root) = (host.name.clone(), ["/".to_owned()]);
        let files = bench.fleet.stage(|s| s.world.files(&name, &root));
        let harmless =
            |path: &str| path.contains(PODS) || path.starts_with(RUN) || HARMLESS.iter().any(|end| path.ends_with(end));
        let files = files.into_iter().filter(move |file| !harmless(&file.path));
        let whose = bench.fleet.stage(|s| s.mark(&host.name)).map(|mark| mark.execution).unwrap_or_default();
        let told = move |path: &str| if path == MARK { format!("{path} of {whose}") } else { plain(path) };
        files.map(move |file| (name.clone(), told(&file.path)))
    };
    bench.plan.hosts.iter().flat_map(of).collect()
}

/// A name without what time and chance put into it: words of six letters or more with a figure in them, and long ones; the second in
/// which a kubelet got a certificate.
pub fn plain(name: &str) -> String {
    let dated = name.contains("/kubelet-client-") || name.contains("/kubelet-server-");
    let figure = |word: &str| word.len() >= 6 && !word.starts_with("k0") && word.chars().any(|c| c.is_ascii_digit());
    let chance = |word: &str| figure(word) || word.len() >= 24;
    let mut plain = String::new();
    for word in name.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let date = dated && bare.chars().all(|c| c.is_ascii_digit());
        plain.push_str(if date || chance(bare) { "#" } else { bare });
        plain.push_str(&word[bare.len()..]);
    }
    plain
}

impl Course {
    /// Drives it from here to its end.
    pub fn drive(stand: &Stand, start: Image, way: Way) -> Self {
        let bench = Bench::of(&start);
        let mut camera = None;
        let life = bench.life_on(|log| {
            let made = Arc::new(Camera { inner: log, photos: Mutex::default(), bench: bench.beside() });
            camera = Some(made.clone());
            made as Arc<dyn EventLog>
        });
        let camera = camera.expect("the life was made on it");
        let (changes_before, open) = (changes(&bench.fleet), open_steps(&bench.history(&stand.execution)));
        bench.limit_drive();
        let rest = life.drive(&bench.fleet, &stand.execution, way.word()).expect("nothing crashes it");
        let fits = match way {
            Way::Forward => matches!(rest, Rest::Waiting { .. } | Rest::Completed { .. }),
            Way::Back => matches!(rest, Rest::RolledBack { .. }),
            Way::End => matches!(rest, Rest::Completed { .. }),
        };
        assert!(fits, "undisturbed it ends with {rest:?}");
        let usual = Usual::of(&bench, &stand.execution);
        let log = bench.fleet.stage(|s| s.faults.log.clone());
        let steps = bench.fleet.stage(|s| s.faults.by.iter().map(|by| parts(&by.attempt).0).collect());
        let mut photos = std::mem::take(&mut *camera.photos.lock().expect("nothing panics with it"));
        mark_quiet(&mut photos, open);
        bench.fleet.idle(ends::A_WHILE);
        let (likeness, files) = (stand.look(&bench), files(&bench));
        Self { way, start, photos, changes_before, log, steps, usual, likeness, files }
    }

    /// The first commit with such an event.
    pub fn first(&self, is: impl Fn(&Event) -> bool) -> &Photo {
        self.photos.iter().find(|photo| photo.events.iter().any(&is)).expect("it comes to that")
    }

    /// Changes that this way makes.
    pub fn changes(&self) -> u64 {
        self.log.len() as u64 - self.changes_before
    }

    /// The number, over the execution, of the n-th change of this way.
    pub fn number(&self, n: u64) -> u64 {
        self.changes_before + n
    }

    /// From where one comes to a change of this way soonest, as the undisturbed way came to it.
    pub fn nearest(&self, number: u64) -> &Image {
        let quiet = self.photos.iter().rev().find(|photo| photo.quiet && photo.changes < number);
        quiet.map_or(&self.start, |photo| &photo.before)
    }
}

fn changes(fleet: &Rehearsal) -> u64 {
    fleet.stage(|s| s.faults.changes)
}

fn open_steps(history: &[Record]) -> i64 {
    let events: Vec<Event> = history.iter().map(|r| r.event.clone()).collect();
    events.iter().map(opens).sum()
}

fn opens(event: &Event) -> i64 {
    match event {
        Event::StepStarted { .. } => 1,
        Event::StepSucceeded { .. } | Event::StepFailed { .. } | Event::StepLeft { .. } => -1,
        _ => 0,
    }
}

fn mark_quiet(photos: &mut [Photo], mut open: i64) {
    for photo in photos {
        let ended: i64 = photo.events.iter().map(opens).filter(|n| *n < 0).sum();
        photo.quiet = open + ended <= 0;
        open += photo.events.iter().map(opens).sum::<i64>();
    }
}

/// Photographs before and after each append.
struct Camera {
    inner: Arc<dyn EventLog>,
    photos: Mutex<Vec<Photo>>,
    bench: Bench,
}

#[async_trait]
impl EventLog for Camera {
    fn incarnations(&self) -> (Incarnation, Vec<Incarnation>) {
        self.inner.incarnations()
    }

    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let (before, changes, events) = (self.bench.image(), changes(&self.bench.fleet), append.events.clone());
        let appended = self.inner.append(append).await?;
        let after = self.bench.image();
        let photo = Photo { before, after, changes, quiet: false, events };
        self.photos.lock().expect("nothing panics with it").push(photo);
        Ok(appended)
    }

    async fn read(&self, execution: &ExecutionId, from: Seq) -> Result<Vec<Record>, LogError> {
        self.inner.read(execution, from).await
    }

    async fn heads(&self) -> Result<Vec<Head>, LogError> {
        self.inner.heads().await
    }

    async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError> {
        self.inner.follow(after).await
    }

    async fn claim(&self, execution: &ExecutionId) -> Result<Owner, LogError> {
        self.inner.claim(execution).await
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError> {
        self.inner.put_blob(bytes).await
    }

    async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
        self.inner.get_blob(hash).await
    }

    async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError> {
        self.inner.remove_blob(hash).await
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, LogError> {
        self.inner.blobs().await
    }
}
