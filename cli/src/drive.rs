//! The verbs that drive an execution: start it or say a word, follow it to its rest, and say what that means.

use crate::ahead::Ahead;
use crate::args::{Global, Options, RefreshArg, RollbackArgs, RootArg, RotateArgs, Sure, WordArgs};
use crate::beside;
use crate::commands::Commands;
use crate::confirm::{asks, confirm};
use crate::error::Error;
use crate::exit::Exit;
use crate::last::LastMoment;
use crate::left;
use crate::look;
use crate::naming;
use crate::open;
use crate::outcome::{Wanted, outcome, waiting};
use crate::own_ca;
use crate::plan::agreed::{Before, agreed};
use crate::plan::back;
use crate::plan::look::Eyes;
use crate::render::live::Live;
use crate::render::screen::Screen;
use crate::report;
use crate::runtime::Runtime;
use crate::same;
use crate::sealed;
use crate::socket;
use crate::source::Source;
use k0rotate_activities::activity::check_host::ALLOWED;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::drive::{Rest, Start, Word};
use k0rotate_engine::event::{Record, RollBackCause, Zone};
use k0rotate_engine::execution::{Side, Status};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::orphans;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use std::path::Path;
use std::time::Duration;

/// Starts a rotation and follows it until it is verified.
pub async fn rotate(global: &Global, state: &Path, args: &RotateArgs) -> Result<Exit, Error> {
    let inventory = open::cluster(global, args.cluster.as_deref())?;
    let mut rotate = rotation(&inventory, &args.options)?;
    let brought = own_ca::read(&args.options.own_ca, &rotate.roots)?;
    rotate.own_cas = own_ca::public(&brought);
    let runtime = open::runtime(global, state, &inventory)?;
    window_ahead(&rotate, runtime.fleet.clock.now())?;
    let source = Source::opened(runtime.engine.log().clone());
    beside::refuse(&source, beside::A_ROTATION, &Commands::of(global), None).await?;
    drop(source);
    same::not_held(&runtime, rotate.hosts.iter().map(|member| member.name.clone()).collect()).await?;
    same::dead(&runtime, &rotate.leave_behind).await?;
    let before = if asks(&args.sure)? { Before::Person } else { Before::Nobody };
    let eyes = eyes(global, &inventory, &runtime);
    let (mut rotate, seen) = Box::pin(agreed(&eyes, rotate, args.plan.as_deref(), before)).await?;
    let reason = confirm(&inventory, &args.sure, &Ahead::of_rotation(&rotate, seen.as_ref()))?;
    rotate.own_cas = own_ca::seal(&brought, runtime.fleet.secrets.as_ref()).await?;
    let start = Start { subject: inventory.name.clone(), by: open::who(), reason };
    let execution = runtime.engine.start(&rotate, start).await.map_err(|e| Error::Log(e.to_string()))?;
    let ground = Ground { global, runtime: &runtime };
    Box::pin(follow(&ground, &execution, None, Wanted::Verified)).await
}

fn eyes<'a>(global: &Global, inventory: &'a Inventory, runtime: &'a Runtime) -> Eyes<'a> {
    let (hosts, rehearsal) = (&runtime.fleet.hosts, runtime.rehearsal.as_ref());
    Eyes { inventory, hosts, rehearsal, at_once: open::at_once(global, inventory) }
}

/// What the flags ask for.
pub fn rotation(inventory: &Inventory, options: &Options) -> Result<Rotate, Error> {
    known_names(inventory, options)?;
    inventory.reachable(&options.leave_behind).map_err(|problem| Error::Inventory(problem.to_string()))?;
    let behind = |host: &InventoryHost| options.leave_behind.iter().any(|called| inventory.host(called) == Some(host));
    let mut rotate = Rotate::of(inventory.hosts.iter().filter(|h| !behind(h)).map(InventoryHost::member).collect());
    if !options.roots.is_empty() {
        let once = |at: &usize| !options.roots[..*at].contains(&options.roots[*at]);
        rotate.roots = (0..options.roots.len()).filter(once).map(|at| root_of(options.roots[at])).collect();
    }
    if let Some(called) = &options.primary {
        let known = inventory.host(called).filter(|host| host.role.is_controller());
        let known =
            known.ok_or_else(|| Error::Usage(format!("--primary {called} is no controller of the inventory")))?;
        rotate.primary = Some(known.name.clone());
    }
    rotate.refresh = match options.refresh {
        RefreshArg::System => Refresh::System,
        RefreshArg::All => Refresh::All,
        RefreshArg::None => Refresh::None,
    };
    rotate.reboot_at_once = options.reboot.then_some(options.reboot_at_once);
    rotate.not_before = options.not_before.as_deref().map(time).transpose()?;
    rotate.not_after = options.not_after.as_deref().map(time).transpose()?;
    if rotate.not_after.is_some_and(|until| rotate.not_before.is_some_and(|from| from >= until)) {
        return Err(Error::Usage("--not-after lies before --not-before: there is no such window".into()));
    }
    rotate.max_outage_seconds = duration(&options.max_outage)?;
    if rotate.max_outage_seconds < SHORTEST_OUTAGE {
        let told = &options.max_outage;
        return Err(Error::Usage(format!(
            "--max-outage {told} is shorter than {SHORTEST_OUTAGE} s, which no stop and start keeps to"
        )));
    }
    let name = |called: &String| inventory.host(called).map_or_else(|| called.clone(), |host| host.name.clone());
    rotate.leave_behind = options.leave_behind.iter().map(name).collect();
    rotate.keep_token.clone_from(&options.keep_token);
    rotate.allow.clone_from(&options.allow);
    Ok(rotate)
}

/// The least that `--max-outage` may be, seconds.
const SHORTEST_OUTAGE: u64 = 10;

/// A mistyped name must not pass for one that means nothing: it was meant to keep something from happening.
fn known_names(inventory: &Inventory, options: &Options) -> Result<(), Error> {
    if let Some(called) = options.leave_behind.iter().find(|called| inventory.host(called).is_none()) {
        return naming::host(inventory, None, called).map(drop);
    }
    let unknown = options.allow.iter().find(|check| !ALLOWED.contains(&check.as_str()));
    match unknown {
        Some(check) => {
            Err(Error::Usage(format!("--allow {check}: the checks that can be allowed are {}", ALLOWED.join(" "))))
        }
        None => Ok(()),
    }
}

/// Refuses a window that is over.
pub fn window_ahead(rotate: &Rotate, now: Timestamp) -> Result<(), Error> {
    match rotate.not_after {
        Some(until) if until <= now => Err(Error::Usage("--not-after lies in the past".into())),
        _ => Ok(()),
    }
}

fn root_of(root: RootArg) -> Root {
    match root {
        RootArg::KubernetesCa => Root::KubernetesCa,
        RootArg::EtcdCa => Root::EtcdCa,
        RootArg::FrontProxyCa => Root::FrontProxyCa,
        RootArg::ServiceAccount => Root::ServiceAccount,
    }
}

fn time(text: &str) -> Result<Timestamp, Error> {
    let parsed: jiff::Timestamp = text
        .parse()
        .map_err(|_| Error::Usage(format!("{text} is no time in RFC 3339, for example 2026-11-24T01:00:00Z")))?;
    Ok(Timestamp(u64::try_from(parsed.as_millisecond()).unwrap_or(0)))
}

/// Seconds of a duration such as `5m`; days, weeks and years count 24 h, 7 d and 365 d.
pub fn duration(text: &str) -> Result<u64, Error> {
    let wrong = || Error::Usage(format!("{text} is no duration, for example 5m or 30d"));
    let long = [('d', 86_400), ('w', 7 * 86_400), ('y', 365 * 86_400)];
    for (unit, seconds) in long {
        if let Some(number) = text.strip_suffix(unit) {
            let number: u64 = number.trim().parse().map_err(|_| wrong())?;
            return number.checked_mul(seconds).ok_or_else(wrong);
        }
    }
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let seconds = parsed.as_secs() + i64::from(parsed.subsec_nanos() > 0);
    u64::try_from(seconds).map_err(|_| Error::Usage(format!("{text} lies in the past")))
}

/// A word about an execution that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Go on.
    Resume,
    /// Go back.
    RollBack,
    /// Destroy the old keys.
    Finalize,
}

impl Say {
    fn verb(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::RollBack => "rollback",
            Self::Finalize => "finalize",
        }
    }
}

/// Says a word and follows what comes of it.
pub async fn say(global: &Global, state: &Path, args: &WordArgs, say: Say) -> Result<Exit, Error> {
    say_by(global, state, args, say, None).await
}

/// The same, by a plan that was agreed on.
async fn say_by(global: &Global, state: &Path, args: &WordArgs, say: Say, plan: Option<&str>) -> Result<Exit, Error> {
    let inventory = open::cluster_of(global, state, args.run.as_deref()).await?;
    let runtime = open::runtime(global, state, &inventory)?;
    let source = Source::opened(runtime.engine.log().clone());
    let (execution, _, view) = source.find(args.run.as_deref()).await?;
    if say != Say::Resume || !waits_for_a_word(&view) {
        beside::refuse_word(&source, &view, &Commands::of(global), say.verb()).await?;
    }
    let left = left::of(&view, &source.views().await?);
    drop(source);
    sealed::opens(&runtime, &view).await?;
    same::same_world(&runtime, &view, &[]).await?;
    let ground = Ground { global, runtime: &runtime };
    let by = open::who();
    let (word, wanted) = match say {
        Say::Resume if waits_for_a_word(&view) => {
            eprintln!("· nothing to go on with: it waits for a word, and is driven by nobody until then");
            return Ok(waiting(&Commands::of(global), &view, &left, Wanted::Verified));
        }
        // The word was given, and refused since: what it destroys is told again.
        Say::Resume if destroys_next(&view) => {
            let reason = confirm(&inventory, &args.sure, &Ahead::of_finalize(&view))?;
            (resuming(&view, by, reason), Wanted::Finalized)
        }
        Say::Resume => (resuming(&view, by, args.sure.reason.clone()), goes_to(&view)),
        // It was said already, and what followed was cut off: the word is kept.
        Say::Finalize if finalizes(&view) => (None, Wanted::Finalized),
        Say::RollBack => {
            back::agreed(&eyes(global, &inventory, &runtime), &view, plan).await?;
            if let Some(last) = LastMoment::of_view(&view).filter(|last| last.is_over(runtime.fleet.clock.now())) {
                eprintln!(
                    "warning: the last moment for a roll-back was {last}: what goes back may not work for long, or at all"
                );
            }
            let reason =
                confirm_if(!view.state.status.ended(), &inventory, &args.sure, &Ahead::of_way_back(&view).await)?;
            (Some(Word::RollBack { by, reason }), Wanted::RolledBack)
        }
        Say::Finalize => {
            let reason = confirm_if(waits_for_a_word(&view), &inventory, &args.sure, &Ahead::of_finalize(&view))?;
            (Some(Word::EndWait { name: "finalize".into(), by, reason }), Wanted::Finalized)
        }
    };
    Box::pin(follow(&ground, &execution, word, wanted)).await
}

/// The workflow destroys the copies that its history names. Once it has ended here go those that only a killed process knew of, and those of
/// earlier executions, which hold the trust that has retired, or one before it.
async fn forget_the_past(runtime: &Runtime, ended: &ExecutionId) -> Result<(), Error> {
    let past = |other: &ExecutionView| other.execution != *ended && other.state.status.ended();
    let removed = orphans::remove(runtime.engine.log().as_ref(), past).await;
    removed.map(drop).map_err(|e| Error::Log(e.to_string()))
}

/// Nobody is asked about a word that will not be taken.
fn confirm_if(taken: bool, inventory: &Inventory, sure: &Sure, ahead: &Ahead) -> Result<String, Error> {
    if taken { confirm(inventory, sure, ahead) } else { Ok(sure.reason.clone()) }
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

/// Goes back to the first trust.
pub async fn roll_back(global: &Global, state: &Path, args: &RollbackArgs) -> Result<Exit, Error> {
    match say_by(global, state, &args.word, Say::RollBack, args.plan.as_deref()).await {
        Err(Error::Held(_)) => roll_back_driven(global, state, args).await,
        said => said,
    }
}

/// Asks the process that drives to go back, and follows until it rests.
async fn roll_back_driven(global: &Global, state: &Path, args: &RollbackArgs) -> Result<Exit, Error> {
    let inventory = open::cluster_of(global, state, args.word.run.as_deref()).await?;
    let source = Source::of(state, &inventory)?;
    let (execution, history, view) = source.find(args.word.run.as_deref()).await?;
    beside::refuse_word(&source, &view, &Commands::of(global), "rollback").await?;
    let Some(path) = source.socket() else {
        return Err(Error::Word(format!("{execution} came to rest just now")));
    };
    if args.plan.is_some() {
        return Err(Error::Word(format!(
            "{execution} is under way: a plan of its way back is good only while it rests"
        )));
    }
    same::its_machines(&inventory, &view).await?;
    let reason = confirm(&inventory, &args.word.sure, &Ahead::of_way_back(&view).await)?;
    let said = socket::Said { by: open::who(), reason };
    socket::post(&path, &format!("/roll-back/{execution}"), &said).await?;
    let mut live = Live::with_wall_clock();
    let show = |at, record: &Record| {
        let lines = live.add(record);
        lines.iter().filter(|_| at >= history.len()).for_each(|line| eprintln!("{line}"));
    };
    let dir = open::cluster_dir(state, &inventory);
    let view = look::until_rest(&dir, execution.as_str(), show).await?;
    println!("{} {execution}: {}", view.subject, report::state(&view));
    let left = !view.state.leg().left.is_empty();
    Ok(match (&view.state.status, left) {
        (Status::RolledBack, false) => Exit::Done,
        (Status::RolledBack, true) => Exit::WithLeft,
        _ => Exit::NeedsPerson,
    })
}

/// One that is driven by nobody just goes on; one that is stuck is resumed.
fn resuming(view: &ExecutionView, by: String, reason: String) -> Option<Word> {
    let stuck = view.state.status.name().starts_with("Stuck");
    stuck.then_some(Word::Resume { by, reason })
}

/// Asks the process that drives to rest where the API is up.
pub async fn pause(global: &Global, state: &Path, args: &WordArgs) -> Result<Exit, Error> {
    let inventory = open::cluster_of(global, state, args.run.as_deref()).await?;
    let source = Source::of(state, &inventory)?;
    let (execution, _, view) = source.find(args.run.as_deref()).await?;
    let Some(path) = source.socket() else {
        return Err(Error::Word(format!("{execution} is driven by nobody: it rests already, or waits to be resumed")));
    };
    same::its_machines(&inventory, &view).await?;
    let said = socket::Said { by: open::who(), reason: args.sure.reason.clone() };
    socket::post(&path, &format!("/pause/{execution}"), &said).await?;
    println!("{execution} is paused");
    Ok(Exit::Done)
}

/// Where a verb works.
pub struct Ground<'a> {
    /// The flags of all verbs.
    pub global: &'a Global,
    /// Its store and its hosts, opened.
    pub runtime: &'a Runtime,
}

/// How long a process that was told to end may go on while the API is down. A rejoin takes no API down.
async fn longest_outage(runtime: &Runtime, execution: &ExecutionId) -> Duration {
    let rotate = runtime.view(execution).await.and_then(|view| view.input.decode::<Rotate>().ok());
    Duration::from_secs(rotate.map_or(0, |rotate| rotate.max_outage_seconds))
}

/// Drives, shows, and says how it ended.
pub async fn follow(
    ground: &Ground<'_>,
    execution: &ExecutionId,
    word: Option<Word>,
    wanted: Wanted,
) -> Result<Exit, Error> {
    let (runtime, commands) = (ground.runtime, Commands::of(ground.global));
    let show = commands.verb("show", &[execution.as_str()]);
    eprintln!("· execution {execution} · Ctrl-C pauses at the next place where the API is up · other terminal: {show}");
    let mut screen = Screen::on_stderr(Live::with_wall_clock());
    let longest = longest_outage(runtime, execution).await;
    let signals = tokio::spawn(crate::signals::obey(runtime.engine.clone(), execution.clone(), longest));
    let rest = runtime.drive(execution, word, |record, new| screen.add(record, new)).await;
    signals.abort();
    let view = runtime.view(execution).await.ok_or_else(|| Error::Log("the history cannot be read".into()))?;
    screen.end(view.last);
    if let Rest::Elsewhere(differs) = &rest {
        return Err(same::elsewhere(&view, differs));
    }
    if view.workflow == "rotate" && view.state.status == Status::Completed {
        Box::pin(forget_the_past(runtime, execution)).await?;
    }
    let left = left::of(&view, &Source::opened(runtime.engine.log().clone()).views().await?);
    Ok(outcome(&commands, &view, &left, &rest, wanted))
}
