//! Hosts with settings. Commands land after a while, also if whoever sent them is gone, unless the fence was raised meanwhile.

use super::clock::TestClock;
use k0rotate_engine::clock::Clock;
use k0rotate_engine::failure::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

pub type Settings = BTreeMap<(String, String), String>;

/// How long a command takes to land.
pub const LATENCY: Duration = Duration::from_millis(100);

struct Command {
    lands_at: Duration,
    fence: u64,
    host: String,
    item: String,
    value: Option<String>,
}

/// What goes wrong with a change of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldFault {
    /// The process that sends it ends before it is sent.
    CrashBefore,
    /// The process ends while it is on its way; it lands late.
    CrashLate,
    /// The process ends once it has landed.
    CrashAfter,
    /// It never lands and says so.
    Refuse,
    /// It never lands and says that it did.
    Lie,
    /// It lands, and the link is lost before the reply, for one look.
    LoseReply,
    /// The link is lost, for one look, and it lands long after.
    Late,
    /// It lands and says that it failed, and lands once more long after.
    Again,
    /// The activity's code panics after sending it.
    Panic,
    /// It never answers, and never lands.
    Hang,
}

#[derive(Default)]
struct Kept {
    settings: Settings,
    on_the_way: Vec<Command>,
    marks: BTreeMap<String, u64>,
    changes: Vec<String>,
    sent: u64,
    fault: Option<(u64, WorldFault)>,
    /// Hosts that cannot be reached, until a time.
    dark: BTreeMap<String, Duration>,
    /// Items that can never be set.
    stubborn: BTreeSet<(String, String)>,
    broken_rules: Vec<String>,
    /// A host whose link is lost a moment after an item of it was set, and for how long.
    dark_after: Option<(String, String, Duration)>,
    dark_later: Option<(Duration, String, Duration)>,
    guard: BTreeMap<String, Failure>,
}

pub struct World {
    clock: Arc<TestClock>,
    kept: Mutex<Kept>,
    crash: watch::Sender<bool>,
    pub holds: Mutex<Vec<String>>,
    pub hold_answer: Mutex<Option<HoldAnswer>>,
    /// Why it is not the world in which an execution began.
    pub elsewhere: Mutex<Option<Failure>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAnswer {
    Foreign,
    Lapsed,
}

impl World {
    pub fn new(clock: Arc<TestClock>) -> Self {
        let crash = watch::Sender::new(false);
        let (kept, holds, hold_answer, elsewhere) = Default::default();
        Self { clock, kept, crash, holds, hold_answer, elsewhere }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap();
        let now = self.clock.monotonic();
        let due: Vec<usize> = (0..kept.on_the_way.len()).filter(|i| kept.on_the_way[*i].lands_at <= now).collect();
        for index in due.into_iter().rev() {
            let command = kept.on_the_way.remove(index);
            let key = (command.host.clone(), command.item.clone());
            kept.land(command);
            // Long enough for the probe that follows, not for the next step.
            if let Some((host, _, during)) = kept.dark_after.take_if(|(h, i, _)| *h == key.0 && *i == key.1) {
                kept.dark_later = Some((now + Duration::from_millis(25), host, during));
            }
        }
        if let Some((_, host, during)) = kept.dark_later.take_if(|(at, _, _)| *at <= now) {
            kept.dark.insert(host, now + during);
        }
        kept.dark.retain(|_, until| *until > now);
        kept
    }

    pub fn settings(&self) -> Settings {
        self.kept().settings.clone()
    }

    pub fn set(&self, host: &str, item: &str, value: &str) {
        self.kept().settings.insert((host.into(), item.into()), value.into());
    }

    pub fn changes(&self) -> Vec<String> {
        self.kept().changes.clone()
    }

    pub fn broken_rules(&self) -> Vec<String> {
        self.kept().broken_rules.clone()
    }

    /// The fault comes at the change of this number, from 1 from now on.
    pub fn fail_at(&self, number: u64, fault: WorldFault) {
        let mut kept = self.kept();
        kept.sent = 0;
        kept.fault = Some((number, fault));
    }

    /// Whether the fault never came, there being fewer changes; it is forgotten.
    pub fn mended(&self) -> bool {
        let mut kept = self.kept();
        let sent = kept.sent;
        kept.fault.take().is_some_and(|(number, _)| sent < number)
    }

    pub fn darken(&self, host: &str, until: Duration) {
        self.kept().dark.insert(host.into(), until);
    }

    /// The link to a host is lost a moment after this item of it was set.
    pub fn darken_after(&self, host: &str, item: &str, during: Duration) {
        self.kept().dark_after = Some((host.into(), item.into(), during));
    }

    pub fn make_stubborn(&self, host: &str, item: &str) {
        self.kept().stubborn.insert((host.into(), item.into()));
    }

    pub fn mend(&self) {
        let mut kept = self.kept();
        kept.stubborn.clear();
        kept.dark.clear();
        kept.guard.clear();
        kept.fault = None;
    }

    pub fn say_no(&self, guard: &str, failure: Failure) {
        self.kept().guard.insert(guard.into(), failure);
    }

    pub fn ask_guard(&self, guard: &str) -> Result<(), Failure> {
        self.kept().guard.get(guard).map_or(Ok(()), |failure| Err(failure.clone()))
    }

    pub async fn crashed(&self) {
        let mut crash = self.crash.subscribe();
        let _ = crash.wait_for(|now| *now).await;
    }

    pub fn forget_crash(&self) {
        self.crash.send_replace(false);
    }

    async fn crash<T>(&self) -> T {
        self.crash.send_replace(true);
        std::future::pending().await
    }

    /// A look takes a moment.
    pub async fn look(&self, host: &str, item: &str) -> Result<Option<String>, Failure> {
        self.clock.sleep(Duration::from_millis(10)).await;
        let kept = self.kept();
        if kept.dark.contains_key(host) {
            return Err(Failure::new("host-unreachable").with("host", host));
        }
        Ok(kept.settings.get(&(host.to_owned(), item.to_owned())).cloned())
    }

    /// Raises the mark: what is on its way with a lower number does not land.
    pub async fn raise(&self, host: &str, fence: u64) -> Result<(), Failure> {
        self.look(host, "").await?;
        let mut kept = self.kept();
        let mark = kept.marks.get(host).copied().unwrap_or(0);
        if fence < mark {
            kept.broken_rules.push(format!("{host}: fence {fence} below the mark {mark}"));
        }
        kept.marks.insert(host.to_owned(), fence.max(mark));
        Ok(())
    }

    /// Sends a command and waits for its reply.
    pub async fn change(&self, host: &str, item: &str, value: Option<&str>, fence: u64) -> Result<(), Failure> {
        let fault = {
            let mut kept = self.kept();
            if kept.dark.contains_key(host) {
                return Err(Failure::new("host-unreachable").with("host", host));
            }
            kept.sent += 1;
            let sent = kept.sent;
            kept.fault.filter(|(number, _)| *number == sent).map(|(_, fault)| fault)
        };
        let now = self.clock.monotonic();
        let send = |lands_after: Duration| {
            let (host, item, value) = (host.to_owned(), item.to_owned(), value.map(str::to_owned));
            self.kept().on_the_way.push(Command { lands_at: now + lands_after, fence, host, item, value });
        };
        match fault {
            Some(WorldFault::CrashBefore) => return self.crash().await,
            Some(WorldFault::Refuse) => return Err(Failure::new("refused")),
            Some(WorldFault::Lie) => return Ok(()),
            Some(WorldFault::Hang) => return std::future::pending().await,
            Some(WorldFault::Panic) => {
                send(LATENCY);
                panic!("injected")
            }
            Some(WorldFault::CrashLate) => {
                send(Duration::from_secs(20));
                return self.crash().await;
            }
            Some(WorldFault::Late) => {
                send(Duration::from_secs(2));
                self.darken(host, now + Duration::from_millis(500));
                return Err(Failure::new("link-lost"));
            }
            Some(WorldFault::Again) => {
                send(LATENCY);
                send(Duration::from_secs(2));
            }
            _ => send(LATENCY),
        }
        self.clock.sleep(LATENCY).await;
        match fault {
            Some(WorldFault::CrashAfter) => {
                drop(self.kept());
                self.crash().await
            }
            Some(WorldFault::LoseReply) => {
                let now = self.clock.monotonic();
                self.darken(host, now + Duration::from_millis(500));
                Err(Failure::new("link-lost"))
            }
            Some(WorldFault::Again) => Err(Failure::new("refused")),
            _ => self.answer(host, item),
        }
    }

    fn answer(&self, host: &str, item: &str) -> Result<(), Failure> {
        let stubborn = self.kept().stubborn.contains(&(host.to_owned(), item.to_owned()));
        if stubborn { Err(Failure::new("stubborn").with("host", host)) } else { Ok(()) }
    }
}

impl Kept {
    fn land(&mut self, command: Command) {
        let key = (command.host.clone(), command.item.clone());
        let fenced = self.marks.get(&command.host).is_some_and(|mark| command.fence < *mark);
        if fenced || self.stubborn.contains(&key) {
            return;
        }
        let there = self.settings.get(&key);
        let said = format!("{}/{}={}", key.0, key.1, command.value.as_deref().unwrap_or("-"));
        if there == command.value.as_ref() && command.value.is_some() {
            self.broken_rules.push(format!("made twice: {said}"));
        }
        self.changes.push(said);
        match command.value {
            Some(value) => self.settings.insert(key, value),
            None => self.settings.remove(&key),
        };
    }
}
