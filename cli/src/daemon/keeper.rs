//! What a cluster's thread does: opens, drives on, answers, drives, one after another.

mod chores;

use super::ask::{Answered, Ask};
use super::cluster::{Request, Shared, begun};
use super::notify;
use super::notify::bell::Bell;
use super::notify::notice::Notice;
use super::watch::{Of, Watch, look};
use crate::args::Global;
use crate::break_glass;
use crate::calendar::Look;
use crate::confirm;
use crate::drive::after;
use crate::error::Error;
use crate::open;
use crate::outcome::Ended;
use crate::plan::agreed::Before;
use crate::possible::rests_for_all;
use crate::runtime::Runtime;
use crate::telemetry::callers;
use crate::telemetry::courier::Courier;
use crate::wish::{self, Course, Ground, Wish};
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// See the file's sentence.
pub struct Keeper {
    global: Global,
    state: PathBuf,
    name: String,
    shared: Arc<Shared>,
    bell: Bell,
}

/// Its store and its hosts, opened.
struct Open {
    /// Tells a command what histories say, if there is one to be told. Its last moment comes before the store is closed.
    notices: Option<Courier>,
    inventory: Inventory,
    runtime: Runtime,
}

impl Open {
    /// Something new is durable.
    fn nudge(&self) {
        self.notices.iter().for_each(Courier::nudge);
    }
}

impl Keeper {
    /// Of this cluster.
    pub fn new(global: &Global, state: &Path, name: &str, shared: Arc<Shared>, bell: Bell) -> Self {
        Self { global: global.clone(), state: state.to_owned(), name: name.to_owned(), shared, bell }
    }

    /// Its life.
    pub async fn live(mut self, mut requests: mpsc::Receiver<Request>, opened: &watch::Sender<bool>) {
        let alone = self.shared.alone().await;
        let mut open = self.open();
        opened.send_replace(true);
        open = Box::pin(self.drive_on(open)).await;
        open = Box::pin(self.chores(open)).await;
        drop(alone);
        let (mut watch, mut chores) = (Watch::begin(), Instant::now() + chores::EVERY);
        loop {
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                () = self.watches(&mut watch, open.as_ref()) => {
                    chores = Instant::now();
                    continue;
                }
                () = sleep_until(chores) => {
                    // Whoever is let in already waits for us: then it is done after that.
                    let alone = self.shared.alone_now();
                    chores = Instant::now() + if alone.is_some() { chores::EVERY } else { SOON };
                    if alone.is_some() {
                        open = Box::pin(self.chores(open)).await;
                    }
                    continue;
                }
            };
            let Some(request) = request else { break };
            open = match request {
                Request::End => break,
                Request::Look(reply, _alone) => {
                    let open = if open.is_none() { self.open() } else { open };
                    // Whoever asked may have gone.
                    let _ = reply.send(self.looked(&mut watch, open.as_ref()).await);
                    Box::pin(self.chores(open)).await
                }
                Request::Settings(global) => {
                    let _alone = self.shared.alone().await;
                    self.global = *global;
                    let open = match open {
                        Some(open) => Some(self.renewed(open)),
                        None => self.open(),
                    };
                    Box::pin(self.drive_on(open)).await
                }
                Request::Asked(ask, by, reply, alone) => {
                    let open = if open.is_none() { self.open() } else { open };
                    Box::pin(self.answer(open, *ask, by, (reply, alone))).await
                }
            };
        }
        self.shared.status().engine = None;
    }

    /// Looks at the certificates once a day; returns after a look.
    async fn watches(&self, watch: &mut Watch, open: Option<&Open>) {
        match open {
            Some(Open { inventory, runtime, .. }) => {
                let of = Of { global: &self.global, state: &self.state, inventory, runtime, bell: &self.bell };
                Box::pin(watch.daily(of)).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Looks at them now.
    async fn looked(&self, watch: &mut Watch, open: Option<&Open>) -> Result<Look, Error> {
        let Some(Open { inventory, runtime, .. }) = open else { return Err(self.is_not_open()) };
        let of = Of { global: &self.global, state: &self.state, inventory, runtime, bell: &self.bell };
        let look = Box::pin(look(of)).await?;
        watch.done();
        Ok(look)
    }

    fn is_not_open(&self) -> Error {
        let failed = self.shared.status().failed.clone();
        failed.unwrap_or_else(|| Error::NoDaemon(format!("{} is not open", self.name)))
    }

    /// Opens store and hosts; none if that cannot be, which is told.
    fn open(&self) -> Option<Open> {
        let opened = self.global.settings.inventory(&self.name).and_then(|inventory| {
            let runtime = open::runtime_of(&self.global, &self.state, &inventory, open::Keeper::Daemon)?;
            let notices = self.notices(&inventory, &runtime);
            Ok(Open { notices, inventory, runtime })
        });
        let mut status = self.shared.status();
        match opened {
            Ok(open) => {
                status.engine = Some(open.runtime.engine.clone());
                status.cluster = Some(confirm::Cluster::of(&open.inventory));
                status.failed = None;
                Some(open)
            }
            Err(error) => {
                tracing::error!(cluster = self.name, "cannot be opened: {}", error.sentence());
                self.ring("not-open", format!("{} cannot be opened: {}", self.name, error.sentence()));
                (status.engine, status.failed) = (None, Some(error));
                None
            }
        }
    }

    /// With hosts, identity and limits as they are configured now, or as they were if those cannot be used. The store stays open.
    fn renewed(&self, mut open: Open) -> Open {
        let renewed = self.global.settings.inventory(&self.name).and_then(|inventory| {
            let runtime = open::again(&self.global, &inventory, &open.runtime)?;
            Ok((inventory, runtime))
        });
        // What it was told of is known: another command goes on there.
        drop(open.notices.take());
        match renewed {
            Ok((inventory, mut runtime)) => {
                // It follows the store, which is the same.
                runtime.telemetry = open.runtime.telemetry.take();
                let mut status = self.shared.status();
                status.engine = Some(runtime.engine.clone());
                status.cluster = Some(confirm::Cluster::of(&inventory));
                drop(status);
                let notices = self.notices(&inventory, &runtime);
                Open { notices, inventory, runtime }
            }
            Err(error) => {
                tracing::error!(cluster = self.name, "is kept as it was: {}", error.sentence());
                open.notices = self.notices(&open.inventory, &open.runtime);
                open
            }
        }
    }

    /// Whoever is told what the histories of the store say.
    fn notices(&self, inventory: &Inventory, runtime: &Runtime) -> Option<Courier> {
        let (settings, dir) = (&self.global.settings, open::cluster_dir(&self.state, inventory));
        notify::of_histories(settings, &self.name, &dir, runtime.engine.log(), runtime.fleet.clock.now())
    }

    /// Tells what no history says.
    fn ring(&self, what: &str, says: String) {
        self.bell.ring(&self.global.settings, Notice::new(&self.name, what, says));
    }

    /// A store that cannot be written or trusted is closed: nothing further is started on it.
    fn close(&self, open: Open, why: Error) {
        let mut status = self.shared.status();
        (status.engine, status.failed) = (None, Some(why));
        drop(status);
        drop(open);
    }

    /// Drives on whatever is open and does not wait for somebody.
    async fn drive_on(&self, open: Option<Open>) -> Option<Open> {
        let mut open = open?;
        let heads = match open.runtime.engine.log().heads().await {
            Ok(heads) => heads,
            Err(error) => {
                self.close(open, Error::Log(error.to_string()));
                return None;
            }
        };
        for head in heads {
            let Some(view) = open.runtime.view(&head.execution).await else { continue };
            if self.shared.is_leaving() || !goes_on(&view) {
                continue;
            }
            tracing::info!(cluster = self.name, execution = %head.execution, "is driven on");
            open =
                Box::pin(self.drive(open, Course { execution: head.execution, word: None, wanted: WHATEVER })).await?;
        }
        Some(open)
    }

    /// Looks, and begins if it is confirmed; whoever asks is answered before the drive.
    async fn answer(
        &self,
        open: Option<Open>,
        ask: Ask,
        by: String,
        (reply, alone): (oneshot::Sender<Result<Answered, Error>>, OwnedMutexGuard<()>),
    ) -> Option<Open> {
        let Some(open) = open else {
            let failed = self.is_not_open();
            drop(alone);
            let _ = reply.send(Err(failed));
            return None;
        };
        let begun = self.begin(&open, ask, by).await;
        open.nudge();
        let (answer, course) = match begun {
            Ok((answered, course)) => (Ok(answered), course),
            Err(error) => (Err(error), None),
        };
        if let Some(course) = &course {
            let mut status = self.shared.status();
            status.ends.remove(&course.execution);
            status.driving = Some(course.execution.clone());
        }
        let Some(course) = course else {
            // Before the answer: whoever hears it may ask again at once.
            drop(alone);
            let _ = reply.send(answer);
            return Some(open);
        };
        // Whoever asked may have gone: what was begun goes on.
        let _ = reply.send(answer);
        let open = Box::pin(self.drive(open, course)).await;
        drop(alone);
        open
    }

    async fn begin(&self, open: &Open, ask: Ask, by: String) -> Result<(Answered, Option<Course>), Error> {
        let ground = Ground {
            global: &self.global,
            inventory: &open.inventory,
            runtime: &open.runtime,
            commands: &ask.commands,
        };
        let before = || Ok(if ask.person && !ask.confirmed { Before::Person } else { Before::Nobody });
        allowed(&ask.wish)?;
        let mut ready = wish::ready(&ground, &ask.wish, &before).await?;
        ready.may_be_said_by(&by)?;
        ready.child = ask.child.as_ref().map(|child| child.execution.clone());
        let (ahead, warning) = (ready.ahead.clone(), ready.warning.clone());
        let mut answered = Answered { cluster: confirm::Cluster::of(&open.inventory), ahead, warning, begun: None };
        if ready.ahead.is_some() && !ask.confirmed {
            return Ok((answered, None));
        }
        if ready.ahead.as_ref().is_some_and(|ahead| ahead.second.is_some()) {
            return Err(break_glass::not_given());
        }
        if self.shared.is_leaving() {
            return Err(Error::NoDaemon("it ends, and begins nothing more".into()));
        }
        tracing::info!(cluster = self.name, by, reason = ask.reason, "is asked: {}", name_of(&ask.wish));
        if let Some(child) = &ask.child {
            let dir = open::cluster_dir(&self.state, &open.inventory);
            callers::remember(&dir, &child.execution, 0, &child.caller);
        }
        let (begun_now, course) = match wish::go(&ground, ready, by, ask.reason).await? {
            wish::Begun::Course(course) => {
                let known = open.runtime.engine.history(&course.execution).await.map_or(0, |history| history.len());
                (begun(&course.execution, known, course.wanted), Some(course))
            }
            wish::Begun::Said(what, course) => (super::ask::Begun::Done(what), Some(course)),
            wish::Begun::Done(what) => (super::ask::Begun::Done(what), None),
            wish::Begun::Rests(execution) => (super::ask::Begun::Rests(execution), None),
        };
        answered.begun = Some(begun_now);
        Ok((answered, course))
    }

    /// Drives to its rest, and tells how it ended.
    async fn drive(&self, open: Open, course: Course) -> Option<Open> {
        let execution = course.execution;
        self.shared.status().driving = Some(execution.clone());
        let rest = open.runtime.drive(&execution, course.word, |_, _| open.nudge()).await;
        open.nudge();
        let ended = match open.runtime.view(&execution).await {
            Some(view) => after(&open.runtime, &view, &rest).await.unwrap_or_else(|error| {
                let down = view.state.is_down();
                Ended::Log { why: error.to_string(), down }
            }),
            None => Ended::Log { why: "the history cannot be read".into(), down: false },
        };
        self.tell(&execution, &ended);
        let log = match &ended {
            Ended::Log { why, .. } => Some(Error::Log(why.clone())),
            _ => None,
        };
        let mut status = self.shared.status();
        status.driving = None;
        status.ends.insert(execution, ended);
        drop(status);
        match log {
            Some(why) => {
                self.close(open, why);
                None
            }
            None => Some(open),
        }
    }

    fn tell(&self, execution: &ExecutionId, ended: &Ended) {
        let cluster = &self.name;
        match ended {
            Ended::Waiting | Ended::Completed | Ended::RolledBack { .. } => {
                tracing::info!(cluster, %execution, "rests: {ended:?}");
            }
            Ended::Parked { why, down } => {
                tracing::error!(cluster, %execution, down, "is parked: {why}");
            }
            ended => tracing::warn!(cluster, %execution, "needs somebody: {ended:?}"),
        }
        // The others are in the history, and told from there.
        let outside = match ended {
            Ended::Parked { why, down: true } => ("parked", format!("is parked, and THE API IS DOWN: {why}")),
            Ended::Parked { why, .. } => ("parked", format!("is parked: {why}")),
            Ended::Foreign(failure) => ("held-by-another", format!("a host is held by somebody else: {failure}")),
            Ended::Elsewhere(differs) => ("another-cluster", format!("this is another cluster: {differs}")),
            Ended::Log { why, .. } => ("log-failed", format!("the event log: {why}")),
            _ => return,
        };
        self.ring(outside.0, format!("{execution} of {cluster}: {}", outside.1));
    }
}

/// How soon after a request it is looked again whether something is due.
const SOON: Duration = Duration::from_secs(1);

/// Nobody waits for what is driven on after a start.
const WHATEVER: crate::outcome::Wanted = crate::outcome::Wanted::Verified;

/// Whether it goes on by itself: it is under way, or waits for a time.
fn goes_on(view: &ExecutionView) -> bool {
    !rests_for_all(view)
}

/// A path that somebody else names is not opened with the daemon's rights.
fn allowed(wish: &Wish) -> Result<(), Error> {
    match wish {
        Wish::Rotate { options, .. } if !options.own_ca.is_empty() => Err(Error::Usage(
            "the daemon takes no --own-ca yet: its files are yours, and it must not read them for you".into(),
        )),
        _ => Ok(()),
    }
}

/// As the verb is called.
pub fn name_of(wish: &Wish) -> &'static str {
    match wish {
        Wish::Rotate { options, .. } if options.compromised => "rotate --compromised",
        Wish::Rotate { .. } => "rotate",
        Wish::Word { say, .. } => say.verb(),
        Wish::LeaveBehind { .. } => "leave-behind",
        Wish::Rejoin { .. } => "rejoin",
    }
}
