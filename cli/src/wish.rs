//! What is asked of a cluster, looked at and made ready, then begun: the same in the process that was typed and in the daemon.

use crate::ahead::Ahead;
use crate::approval;
use crate::args::{Global, Options};
use crate::beside;
use crate::break_glass;
use crate::calendar::Look;
use crate::commands::Commands;
use crate::error::Error;
use crate::last::LastMoment;
use crate::leave_behind;
use crate::open;
use crate::outcome::{Wanted, refusal};
use crate::own_ca::{self, Brought};
use crate::plan::agreed::{Before, agreed};
use crate::plan::asked::{asked, window_ahead};
use crate::plan::back;
use crate::plan::look::Eyes;
use crate::policy::{Due, Policy};
use crate::rejoin;
use crate::runtime::Runtime;
use crate::same;
use crate::sealed;
use crate::source::Source;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::drive::{Start, Word};
use k0rotate_engine::event::{RollBackCause, Zone};
use k0rotate_engine::execution::{Side, Status};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;
use k0rotate_workflows::rotate::{APPROVAL, Rotate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// See the file's sentence.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the fields are the verbs' own")]
pub enum Wish {
    /// A rotation.
    Rotate { options: Box<Options>, plan: Option<String> },
    /// A word about an execution that rests.
    Word {
        run: Option<String>,
        say: Say,
        plan: Option<String>,
        /// The second word for a way back to a trust that leaked.
        #[serde(default)]
        leaked: bool,
    },
    /// That the rotation may end without these hosts.
    LeaveBehind { hosts: Vec<String> },
    /// That a host is let in again.
    Rejoin { host: String },
}

impl Wish {
    /// Whoever asks has confirmed it, with the second word where one is wanted.
    pub fn is_said_twice(&mut self) {
        if let Self::Word { leaked, .. } = self {
            *leaked = true;
        }
    }
}

/// A word about an execution that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Say {
    /// Go on.
    Resume,
    /// Go back.
    RollBack,
    /// Destroy the old keys.
    Finalize,
    /// Stop the controllers: somebody else asked for it.
    Approve,
    /// Do not: go back.
    Decline,
}

impl Say {
    /// As it is typed.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::RollBack => "rollback",
            Self::Finalize => "finalize",
            Self::Approve => "approve",
            Self::Decline => "decline",
        }
    }
}

/// Where it is asked.
pub struct Ground<'a> {
    /// The flags of all verbs.
    pub global: &'a Global,
    /// The cluster.
    pub inventory: &'a Inventory,
    /// Its store and its hosts, opened.
    pub runtime: &'a Runtime,
    /// How whoever asks types commands.
    pub commands: &'a Commands,
}

impl Ground<'_> {
    fn eyes(&self) -> Eyes<'_> {
        let (hosts, rehearsal) = (&self.runtime.fleet.hosts, self.runtime.rehearsal.as_ref());
        Eyes { inventory: self.inventory, hosts, rehearsal, at_once: open::at_once(self.global, self.inventory) }
    }

    /// What its store holds.
    pub fn source(&self) -> Source {
        Source::opened(self.runtime.engine.log().clone())
    }
}

/// Nothing speaks against it: it may be confirmed and begun.
pub struct Ready {
    /// What lies ahead; none where nobody is to be asked, since it will not be taken or changes nothing.
    pub ahead: Option<Ahead>,
    /// What whoever asks should know besides.
    pub warning: Option<String>,
    /// Under which id a rotation begins; none if it is drawn.
    pub child: Option<ExecutionId>,
    act: Act,
}

/// What was made ready.
pub enum Act {
    /// A rotation; and why, where a policy wants it.
    Start(Box<Rotate>, BTreeMap<Root, Brought>, Option<String>),
    /// A word; none: the word was said already, and what followed was cut off.
    Say(ExecutionId, Option<Kind>, Wanted),
    /// Somebody else's approval.
    Approve(Box<ExecutionView>),
    /// The word about these hosts.
    LeaveBehind(Box<ExecutionView>, Vec<String>),
    /// A host is let in.
    LetIn(Box<Rejoin>),
    /// There is nothing to go on with.
    Nothing(ExecutionId),
}

/// Which word.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Resume,
    RollBack,
    Decline,
    Finalize,
}

impl Ready {
    /// Without a warning.
    pub fn new(ahead: Option<Ahead>, act: Act) -> Self {
        Self { ahead, warning: None, child: None, act }
    }

    /// A policy wants it.
    fn because(mut self, due: String) -> Self {
        if let Act::Start(_, _, because) = &mut self.act {
            *because = Some(due);
        }
        self
    }

    /// The second word was given.
    fn said_twice(self) -> Self {
        let ahead = self.ahead.map(|ahead| Ahead { second: None, ..ahead });
        Self { ahead, ..self }
    }

    /// Refuses who asked for a rotation as the one who approves it.
    pub fn may_be_said_by(&self, by: &str) -> Result<(), Error> {
        match &self.act {
            Act::Approve(view) => approval::not_the_asker(view, by),
            _ => Ok(()),
        }
    }
}

/// What came of it.
pub enum Begun {
    /// This is to be driven.
    Course(Course),
    /// It is done: in a sentence; and what is driven on.
    Said(String, Course),
    /// It is done: in a sentence.
    Done(String),
    /// There is nothing to go on with.
    Rests(ExecutionId),
}

/// What is to be driven, and to what end.
pub struct Course {
    /// Which.
    pub execution: ExecutionId,
    /// The word that the drive begins with.
    pub word: Option<Word>,
    /// What was promised.
    pub wanted: Wanted,
}

/// Looks, and refuses what can't be. Nothing is recorded and nothing is changed.
pub async fn ready(
    ground: &Ground<'_>,
    wish: &Wish,
    before: &dyn Fn() -> Result<Before, Error>,
) -> Result<Ready, Error> {
    match wish {
        Wish::Rotate { options, plan } => Box::pin(to_rotate(ground, options, plan.as_deref(), before)).await,
        Wish::Word { run, say, plan, leaked } => {
            let ready = Box::pin(to_say(ground, run.as_deref(), *say, plan.as_deref())).await?;
            Ok(if *leaked { ready.said_twice() } else { ready })
        }
        Wish::LeaveBehind { hosts } => Box::pin(leave_behind::ready(ground, hosts)).await,
        Wish::Rejoin { host } => {
            let (ahead, mut wanted) = Box::pin(rejoin::wanted(ground, std::slice::from_ref(host))).await?;
            Ok(Ready::new(Some(ahead), Act::LetIn(Box::new(wanted.remove(0)))))
        }
    }
}

/// Begins what was made ready, in the name of whoever asked.
pub async fn go(ground: &Ground<'_>, ready: Ready, by: String, reason: String) -> Result<Begun, Error> {
    let runtime = ground.runtime;
    match ready.act {
        Act::Start(mut rotate, brought, because) => {
            let reason = [because, Some(reason).filter(|reason| !reason.is_empty())]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ");
            rotate.own_cas = own_ca::seal(&brought, runtime.fleet.secrets.as_ref()).await?;
            let start = Start { subject: ground.inventory.name.clone(), by, reason };
            let engine = &runtime.engine;
            let begun = match ready.child {
                Some(child) => engine.start_as(&child, &*rotate, start).await.map(|()| child),
                None => engine.start(&*rotate, start).await,
            };
            let execution = begun.map_err(|e| Error::Log(e.to_string()))?;
            Ok(Begun::Course(Course { execution, word: None, wanted: Wanted::Verified }))
        }
        Act::Say(execution, kind, wanted) => {
            let word = kind.map(|kind| match kind {
                Kind::Resume => Word::Resume { by, reason },
                Kind::RollBack => Word::RollBack { by, reason },
                Kind::Decline => Word::RollBack { by, reason: approval::declined(&reason) },
                Kind::Finalize => Word::EndWait { name: "finalize".into(), by, reason },
            });
            Ok(Begun::Course(Course { execution, word, wanted }))
        }
        Act::Approve(view) => {
            let execution = view.execution.clone();
            let word = Word::EndWait { name: APPROVAL.into(), by, reason };
            runtime.engine.say(&execution, word).await.map_err(|e| Error::Word(refusal(&view, &e)))?;
            let said = approval::approved(&view);
            Ok(Begun::Said(said, Course { execution, word: None, wanted: Wanted::Verified }))
        }
        Act::LeaveBehind(view, hosts) => {
            let (execution, told) = (&view.execution, hosts.join(" "));
            let word = Word::LeaveBehind { hosts, by, reason };
            runtime.engine.say(execution, word).await.map_err(|e| Error::Word(refusal(&view, &e)))?;
            Ok(Begun::Done(format!("{execution} may end without {told}")))
        }
        Act::LetIn(rejoin) => Ok(Begun::Course(rejoin::begin(ground, &rejoin, by, reason).await?)),
        Act::Nothing(execution) => Ok(Begun::Rests(execution)),
    }
}

async fn to_rotate(
    ground: &Ground<'_>,
    options: &Options,
    plan: Option<&str>,
    before: &dyn Fn() -> Result<Before, Error>,
) -> Result<Ready, Error> {
    let Ground { global, inventory, runtime, commands } = ground;
    let mut rotate = asked(&global.settings, inventory, options)?;
    let brought = own_ca::read(&options.own_ca, &rotate.roots)?;
    rotate.own_cas = own_ca::public(&brought);
    window_ahead(&rotate, runtime.fleet.clock.now())?;
    beside::refuse(&ground.source(), beside::A_ROTATION, commands, None).await?;
    same::not_held(runtime, rotate.hosts.iter().map(|member| member.name.clone()).collect()).await?;
    same::dead(runtime, &rotate.leave_behind).await?;
    let windows = global.settings.windows_for(&inventory.name, &rotate, runtime.fleet.clock.now());
    let (rotate, seen) = Box::pin(agreed(&ground.eyes(), rotate, &windows, plan, before()?)).await?;
    let approval = approval::ahead(&global.settings, &inventory.name, &rotate);
    let ahead = Ahead { approval, ..Ahead::of_rotation(&rotate, seen.as_ref()) };
    let warning = rotate.break_glass.and_then(|_| break_glass::untold(&global.settings, &inventory.name));
    Ok(Ready { warning, ..Ready::new(Some(ahead), Act::Start(Box::new(rotate), brought, None)) })
}

async fn to_say(ground: &Ground<'_>, run: Option<&str>, say: Say, plan: Option<&str>) -> Result<Ready, Error> {
    let runtime = ground.runtime;
    let source = ground.source();
    if say == Say::Approve
        && let Some(due) = proposed(ground, &source, run, plan).await?
    {
        let ready = Box::pin(to_rotate(ground, &Options::plain(), plan, &|| Ok(Before::Person))).await?;
        return Ok(ready.because(due.why));
    }
    let (execution, _, view) = source.find(run).await?;
    approval::allows(&view, say)?;
    if say != Say::Resume || !waits_for_a_word(&view) {
        beside::refuse_word(&source, &view, ground.commands, say.verb()).await?;
    }
    drop(source);
    sealed::opens(runtime, &view).await?;
    same::same_world(runtime, &view, &[]).await?;
    Ok(match say {
        Say::Resume if waits_for_a_word(&view) => Ready::new(None, Act::Nothing(execution)),
        // The word was given, and refused since: what it destroys is told again.
        Say::Resume if destroys_next(&view) => {
            let act = Act::Say(execution, resuming(&view), Wanted::Finalized);
            Ready::new(Some(Ahead::of_finalize(&view)), act)
        }
        Say::Resume => Ready::new(None, Act::Say(execution, resuming(&view), goes_to(&view))),
        Say::Approve => Box::pin(approval::ready(&ground.eyes(), view, plan)).await?,
        Say::Decline => {
            let ahead = Ahead::of_way_back(&view).await;
            Ready::new(Some(ahead), Act::Say(execution, Some(Kind::Decline), Wanted::RolledBack))
        }
        Say::Finalize if finalizes(&view) => Ready::new(None, Act::Say(execution, None, Wanted::Finalized)),
        Say::RollBack => {
            back::agreed(&ground.eyes(), &view, plan).await?;
            let last = LastMoment::of_view(&view).filter(|last| last.is_over(runtime.fleet.clock.now()));
            let warning = last.map(|last| {
                format!("the last moment for a roll-back was {last}: what goes back may not work for long, or at all")
            });
            let ahead = if view.state.status.ended() { None } else { Some(Ahead::of_way_back(&view).await) };
            let act = Act::Say(execution, Some(Kind::RollBack), Wanted::RolledBack);
            Ready { warning, ..Ready::new(ahead, act) }
        }
        Say::Finalize => {
            let ahead = waits_for_a_word(&view).then(|| Ahead::of_finalize(&view));
            Ready::new(ahead, Act::Say(execution, Some(Kind::Finalize), Wanted::Finalized))
        }
    })
}

/// The rotation that a policy wants, where one is approved by its plan and nothing is open.
async fn proposed(
    ground: &Ground<'_>,
    source: &Source,
    run: Option<&str>,
    plan: Option<&str>,
) -> Result<Option<Due>, Error> {
    let (settings, inventory) = (&ground.global.settings, ground.inventory);
    let of_cluster = plan.is_some() && run.is_none_or(|run| run == inventory.name);
    if !of_cluster || beside::open(source, beside::A_ROTATION).await?.is_some() {
        return Ok(None);
    }
    let rotate = asked(settings, inventory, &Options::plain())?;
    let survey = ground.eyes().look(&rotate).await?;
    let roots: Vec<&str> = rotate.roots.iter().copied().map(Root::name).collect();
    let look = Look::of(inventory, &survey, None);
    Ok(Policy::of(settings, &inventory.name).due(&look, &roots, survey.at))
}

/// At a wait that only an operator ends there is nothing to resume, and the new trust is verified: what `resume` promises is kept
/// (docs/decisions/0007).
fn waits_for_a_word(view: &ExecutionView) -> bool {
    matches!(view.state.status, Status::Waiting { until: None, .. })
}

/// Where `resume` leads to: an operator who has sent it back wants the first trust (docs/decisions/0008).
fn goes_to(view: &ExecutionView) -> Wanted {
    match view.roll_back {
        Some((RollBackCause::Asked { .. }, _)) => Wanted::RolledBack,
        _ => Wanted::Verified,
    }
}

/// Whether it goes forward from the wait for finalize, driven by nobody.
fn finalizes(view: &ExecutionView) -> bool {
    view.state.status == Status::Running && view.waits.iter().any(|(name, ..)| name == "finalize")
}

/// Whether it rests between the word finalize and the point of no return.
fn destroys_next(view: &ExecutionView) -> bool {
    let said = view.waits.iter().any(|(name, ..)| name == "finalize");
    let stuck = matches!(view.state.status, Status::Stuck { side: Side::Forward, .. });
    said && stuck && view.state.zone() == Zone::Held
}

/// One that is driven by nobody just goes on; one that is stuck is resumed.
fn resuming(view: &ExecutionView) -> Option<Kind> {
    view.state.status.name().starts_with("Stuck").then_some(Kind::Resume)
}
