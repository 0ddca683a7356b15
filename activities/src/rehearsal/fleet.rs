//! Hosts and a clock over a stage: time jumps when everything that is driven waits for it.

mod host;

use super::line::{Line, Reply};
use super::stage::ask::{Answer, Ask, Question};
use super::stage::{FlightId, Stage};
use crate::host::{Host, HostError, Output};
use futures_util::future::BoxFuture;
use futures_util::task::{ArcWake, waker};
use host::SimHost;
use k0rotate_engine::clock::{Busy, Clock, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A rehearsal fleet as its clients see it; clones share it.
#[derive(Clone)]
pub struct Rehearsal {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    stage: Behind,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    waiting: HashMap<FlightId, Waker>,
    next: u64,
    busy: usize,
    /// Who waits until nobody is busy.
    pacer: Option<Waker>,
    start: Timestamp,
}

/// Where the stage is.
enum Behind {
    Here(Box<Stage>),
    There(There),
}

/// A stage in another process, and how late it was there at the last answer.
struct There {
    line: Line,
    now: Timestamp,
    next_due: Option<Timestamp>,
    /// How long to wait, so that it keeps its pace.
    wait: Duration,
    gone: bool,
}

impl There {
    fn ask(&mut self, ask: &Ask) -> Answer {
        if let Ok(Reply { now, next_due, answer, wait }) = self.line.ask(ask) {
            (self.now, self.next_due) = (now, next_due);
            self.wait += wait;
            answer
        } else {
            self.gone = true;
            Answer::Refused(HostError::Unreachable)
        }
    }
}

impl Behind {
    fn ask(&mut self, ask: Ask) -> Answer {
        match self {
            Self::Here(stage) => stage.answer(ask),
            Self::There(there) => there.ask(&ask),
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Here(stage) => stage.now(),
            Self::There(there) => there.now,
        }
    }

    fn next_due(&mut self) -> Option<Timestamp> {
        match self {
            Self::Here(stage) => stage.next_due(),
            Self::There(there) => {
                // Something begun since may be due earlier than the last answer knew.
                there.ask(&Ask::Time);
                there.next_due
            }
        }
    }

    fn take_wait(&mut self) -> Duration {
        match self {
            Self::Here(_) => Duration::ZERO,
            Self::There(there) => std::mem::take(&mut there.wait),
        }
    }

    fn crashed(&self) -> bool {
        match self {
            Self::Here(stage) => stage.faults.crashed,
            Self::There(there) => there.gone,
        }
    }
}

/// The planned end of the client: what it did must be dropped, as a kill would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

impl Rehearsal {
    /// Over this stage.
    pub fn new(stage: Stage) -> Self {
        Self::behind(Behind::Here(Box::new(stage)))
    }

    /// Over a stage that another process serves on this socket.
    pub fn behind_socket(path: &Path) -> io::Result<Self> {
        let mut line = Line::to(path)?;
        let Reply { now, next_due, .. } = line.ask(&Ask::Time)?;
        Ok(Self::behind(Behind::There(There { line, now, next_due, wait: Duration::ZERO, gone: false })))
    }

    fn behind(stage: Behind) -> Self {
        let start = stage.now();
        let (sleepers, waiting) = (BTreeMap::new(), HashMap::new());
        Self { shared: Arc::new(Mutex::new(Shared { stage, sleepers, waiting, next: 0, busy: 0, pacer: None, start })) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code panics while it holds this lock")
    }

    /// Looks at the stage, or changes it, outside of any client. Only where it lives in this process.
    pub fn stage<T>(&self, look: impl FnOnce(&mut Stage) -> T) -> T {
        match &mut self.shared().stage {
            Behind::Here(stage) => look(stage),
            Behind::There(_) => panic!("a stage in another process can only be asked"),
        }
    }

    /// Whoever asks a world that is gone never hears an answer: none may be recorded as a failure of a host.
    async fn ask(&self, host: &str, question: Question) -> Result<Answer, HostError> {
        let answer = self.shared().stage.ask(Ask::Of(host.to_owned(), Box::new(question)));
        if self.gone() {
            std::future::pending::<()>().await;
        }
        match answer {
            Answer::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Whether the stage was in another process that has ended, or that ended us.
    fn gone(&self) -> bool {
        matches!(&self.shared().stage, Behind::There(there) if there.gone)
    }

    /// A host of the fleet.
    pub fn host(&self, name: &str) -> Arc<dyn Host> {
        Arc::new(SimHost::new(self.clone(), name))
    }

    /// The clock of the fleet.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    /// Ends the client where it is: [`Rehearsal::paced`] answers [`Crashed`].
    pub fn crash(&self) {
        self.stage(|stage| stage.faults.crashed = true);
    }

    /// Drives a future; whenever nothing in it can go on but by time, time jumps. Everything that waits for this fleet must be in it.
    pub async fn paced<F: Future>(&self, future: F) -> Result<F::Output, Crashed> {
        self.forget_the_last_client();
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let woken = Arc::new(Woken { flag: AtomicBool::new(true), outer: cx.waker().clone() });
            let inner = waker(woken.clone());
            while woken.flag.swap(false, Ordering::SeqCst) {
                let polled = future.as_mut().poll(&mut Context::from_waker(&inner));
                if self.gone() {
                    return Poll::Ready(Err(Crashed));
                }
                if let Poll::Ready(output) = polled {
                    return Poll::Ready(Ok(output));
                }
                if self.shared().stage.crashed() {
                    return Poll::Ready(Err(Crashed));
                }
            }
            self.shared().pacer = Some(cx.waker().clone());
            if self.jump() {
                // Whatever else lives in this process, a socket or a signal, has its turn before the world goes on.
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Lets so much time pass without a client.
    pub fn idle(&self, d: Duration) {
        let mut shared = self.shared();
        let until = shared.stage.now().plus(d);
        while shared.stage.now() < until && !matches!(&shared.stage, Behind::There(there) if there.gone) {
            shared.stage.ask(Ask::Advance(Some(until)));
        }
    }

    fn forget_the_last_client(&self) {
        let mut shared = self.shared();
        shared.sleepers.clear();
        shared.waiting.clear();
        shared.busy = 0;
        // A stage in another process forgets a client when its connection ends.
        if let Behind::Here(stage) = &mut shared.stage {
            stage.forget_client();
        }
    }

    /// Lets time pass until somebody wakes. False if work goes on that the clock does not see, or nobody waits for time.
    fn jump(&self) -> bool {
        let mut shared = self.shared();
        if shared.busy > 0 || (shared.sleepers.is_empty() && shared.waiting.is_empty()) {
            return false;
        }
        let first = shared.sleepers.keys().next().map(|(at, _)| *at);
        if first.is_none() && shared.stage.next_due().is_none() {
            return false;
        }
        shared.stage.ask(Ask::Advance(first));
        let now = shared.stage.now();
        let later = shared.sleepers.split_off(&(Timestamp(now.0 + 1), 0));
        let awake = std::mem::replace(&mut shared.sleepers, later);
        let wakers: Vec<Waker> = awake.into_values().chain(shared.waiting.drain().map(|(_, waker)| waker)).collect();
        let wait = shared.stage.take_wait();
        drop(shared);
        // Not while the lock is held: whoever only looks on from another thread would hardly ever get it.
        std::thread::sleep(wait);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    async fn ended(&self, id: FlightId) -> Result<Output, HostError> {
        std::future::poll_fn(|cx| {
            let mut shared = self.shared();
            let answer = shared.stage.ask(Ask::Take(id));
            if matches!(&shared.stage, Behind::There(there) if there.gone) {
                return Poll::Pending;
            }
            match answer {
                Answer::Ended(output) => Poll::Ready(Ok(output)),
                Answer::Refused(error) => Poll::Ready(Err(error)),
                _ => {
                    shared.waiting.insert(id, cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

struct Woken {
    flag: AtomicBool,
    outer: Waker,
}

impl ArcWake for Woken {
    fn wake_by_ref(woken: &Arc<Self>) {
        woken.flag.store(true, Ordering::SeqCst);
        woken.outer.wake_by_ref();
    }
}

struct Sleep {
    fleet: Rehearsal,
    at: Timestamp,
    key: Option<(Timestamp, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut shared = this.fleet.shared();
        if let Some(key) = this.key.take() {
            shared.sleepers.remove(&key);
        }
        if shared.stage.now() >= this.at {
            return Poll::Ready(());
        }
        shared.next += 1;
        let key = (this.at, shared.next);
        shared.sleepers.insert(key, cx.waker().clone());
        this.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.fleet.shared().sleepers.remove(&key);
        }
    }
}

struct BusyGuard(Rehearsal);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let mut shared = self.0.shared();
        // A client that crashed leaves guards of its own behind.
        shared.busy = shared.busy.saturating_sub(1);
        // It may have been busy beside what is paced, for somebody who only looks on: then nothing else would let time go on.
        let pacer = if shared.busy == 0 { shared.pacer.take() } else { None };
        drop(shared);
        if let Some(pacer) = pacer {
            pacer.wake();
        }
    }
}

impl Clock for Rehearsal {
    fn now(&self) -> Timestamp {
        self.shared().stage.now()
    }

    fn monotonic(&self) -> Duration {
        let shared = self.shared();
        shared.stage.now().since(shared.start)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'_, ()> {
        let at = self.shared().stage.now().plus(d);
        Box::pin(Sleep { fleet: self.clone(), at, key: None })
    }

    fn busy(&self) -> Busy {
        self.shared().busy += 1;
        Box::new(BusyGuard(self.clone()))
    }
}
