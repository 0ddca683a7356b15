//! The verbs that drive an execution: start it or say a word, follow it to its rest, and say what that means.

use crate::ahead::Ahead;
use crate::approval;
use crate::args::{Global, Options, RefreshArg, RollbackArgs, RootArg, RotateArgs, Sure, WordArgs};
use crate::beside;
use crate::client;
use crate::commands::Commands;
use crate::confirm::{Cluster, asks, confirm};
use crate::error::Error;
use crate::exit::Exit;
use crate::left::{self, Left};
use crate::look;
use crate::naming;
use crate::open;
use crate::outcome::{Ended, Wanted, outcome, waiting};
use crate::own_ca;
use crate::plan::agreed::Before;
use crate::render::live::Live;
use crate::render::screen::Screen;
use crate::report;
use crate::runtime::Runtime;
use crate::same;
use crate::socket::{self, Address};
use crate::source::{Place, Source};
use crate::wish::{self, Begun, Course, Ground, Say, Wish};
use k0rotate_activities::activity::check_host::ALLOWED;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Record;
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::orphans;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use std::path::Path;
use std::time::Duration;

/// Starts a rotation and follows it until it is verified.
pub async fn rotate(global: &Global, state: &Path, args: &RotateArgs) -> Result<Exit, Error> {
    let wish = Wish::Rotate { options: Box::new(args.options.clone()), plan: args.plan.clone() };
    if let Some(kept) = client::meant(global, args.cluster.as_deref()) {
        return Box::pin(client::carry_out(global, &kept?, &wish, &args.sure)).await;
    }
    let inventory = open::cluster(global, args.cluster.as_deref())?;
    // What was typed wrong is said before anything is opened.
    let asked = rotation(&inventory, &global.settings.filled(&inventory.name, &args.options))?;
    own_ca::read(&args.options.own_ca, &asked.roots)?;
    Box::pin(carry_out(global, state, &inventory, &wish, &args.sure)).await
}

/// Makes it ready, has it confirmed, begins it and follows it, in this process.
pub async fn carry_out(
    global: &Global,
    state: &Path,
    inventory: &Inventory,
    wish: &Wish,
    sure: &Sure,
) -> Result<Exit, Error> {
    approval::only_with_a_daemon(global, inventory, wish)?;
    let (runtime, commands) = (open::runtime(global, state, inventory)?, Commands::of(global));
    let ground = Ground { global, inventory, runtime: &runtime, commands: &commands };
    let before = || asks(sure).map(|asks| if asks { Before::Person } else { Before::Nobody });
    let ready = wish::ready(&ground, wish, &before).await?;
    ready.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let expected = ready.ahead.as_ref().and_then(Ahead::expected);
    let reason = match &ready.ahead {
        Some(ahead) => confirm(&Cluster::of(inventory), sure, ahead)?,
        None => sure.reason.clone(),
    };
    match wish::go(&ground, ready, open::who(), reason).await? {
        Begun::Course(course) => Box::pin(follow(&ground, course, expected)).await,
        Begun::Said(what, course) => {
            println!("{what}");
            Box::pin(follow(&ground, course, expected)).await
        }
        Begun::Done(what) => {
            println!("{what}");
            Ok(Exit::Done)
        }
        Begun::Rests(execution) => {
            let source = Source::opened(runtime.engine.log().clone());
            rests(&commands, &source, &execution).await
        }
    }
}

/// There is nothing to go on with: how it stands is all there is to say.
pub async fn rests(commands: &Commands, source: &Source, execution: &ExecutionId) -> Result<Exit, Error> {
    eprintln!("· nothing to go on with: it waits for a word, and is driven by nobody until then");
    let (_, _, view) = source.find(Some(execution.as_str())).await?;
    let left = left::of(&view, &source.views().await?);
    Ok(waiting(commands, &view, &left, Wanted::Verified))
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
    let told = options.max_outage.as_deref().unwrap_or(LONGEST_OUTAGE);
    rotate.max_outage_seconds = duration(told)?;
    if rotate.max_outage_seconds < SHORTEST_OUTAGE {
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

/// What `--max-outage` is unless somebody says so.
pub const LONGEST_OUTAGE: &str = "5m";
/// The least that `--max-outage` may be, seconds.
pub const SHORTEST_OUTAGE: u64 = 10;

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

/// Says a word and follows what comes of it.
pub async fn say(global: &Global, state: &Path, args: &WordArgs, say: Say) -> Result<Exit, Error> {
    say_by(global, state, args, say, None).await
}

/// The same, by a plan that was agreed on.
pub async fn say_by(
    global: &Global,
    state: &Path,
    args: &WordArgs,
    say: Say,
    plan: Option<&str>,
) -> Result<Exit, Error> {
    let wish = Wish::Word { run: args.run.clone(), say, plan: plan.map(str::to_owned) };
    if let Some(kept) = client::meant_by(global, args.run.as_deref()).await? {
        return Box::pin(client::carry_out(global, &kept, &wish, &args.sure)).await;
    }
    let inventory = open::cluster_of(global, state, args.run.as_deref()).await?;
    Box::pin(carry_out(global, state, &inventory, &wish, &args.sure)).await
}

/// The workflow destroys the copies that its history names. Once it has ended here go those that only a killed process knew of, and those of
/// earlier executions, which hold the trust that has retired, or one before it.
async fn forget_the_past(runtime: &Runtime, ended: &ExecutionId) -> Result<(), Error> {
    let past = |other: &ExecutionView| other.execution != *ended && other.state.status.ended();
    let removed = orphans::remove(runtime.engine.log().as_ref(), past).await;
    removed.map(drop).map_err(|e| Error::Log(e.to_string()))
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
    let driven = Driven::find(global, state, args.word.run.as_deref()).await?;
    let Driven { source, execution, history, view, .. } = &driven;
    beside::refuse_word(source, view, &Commands::of(global), "rollback").await?;
    let Some(address) = driven.address() else {
        return Err(Error::Word(format!("{execution} came to rest just now")));
    };
    if args.plan.is_some() {
        return Err(Error::Word(format!(
            "{execution} is under way: a plan of its way back is good only while it rests"
        )));
    }
    driven.same_machines(global).await?;
    let reason = confirm(&driven.cluster(&address).await?, &args.word.sure, &Ahead::of_way_back(view).await)?;
    let said = socket::Said { by: open::who(), reason };
    socket::post(&address, &format!("/roll-back/{execution}"), &said).await?;
    let mut live = Live::with_wall_clock();
    let show = |at, record: &Record| {
        let lines = live.add(record);
        lines.iter().filter(|_| at >= history.len()).for_each(|line| eprintln!("{line}"));
    };
    let view = look::until_rest(&driven.place, execution.as_str(), show).await?;
    println!("{} {execution}: {}", view.subject, report::state(&view));
    let left = !view.state.leg().left.is_empty();
    Ok(match (&view.state.status, left) {
        (Status::RolledBack, false) => Exit::Done,
        (Status::RolledBack, true) => Exit::WithLeft,
        _ => Exit::NeedsPerson,
    })
}

/// An execution that another process may drive.
struct Driven {
    place: Place,
    source: Source,
    /// None of the daemon's clusters: it has looked at its own hosts.
    inventory: Option<Inventory>,
    execution: ExecutionId,
    history: Vec<Record>,
    view: ExecutionView,
}

impl Driven {
    async fn find(global: &Global, state: &Path, run: Option<&str>) -> Result<Self, Error> {
        let (place, inventory) = if let Some(kept) = client::meant_by(global, run).await? {
            (Place::Daemon(kept), None)
        } else {
            let inventory = open::cluster_of(global, state, run).await?;
            (Place::Dir(open::cluster_dir(state, &inventory)), Some(inventory))
        };
        let source = match &inventory {
            Some(inventory) => Source::of_dir(state, inventory)?,
            None => Source::at(&place).await?,
        };
        let (execution, history, view) = source.find(run).await?;
        Ok(Self { place, source, inventory, execution, history, view })
    }

    /// Where it is driven, if it is.
    fn address(&self) -> Option<Address> {
        self.source.socket().filter(|_| self.source.is_driven(&self.execution))
    }

    async fn same_machines(&self, global: &Global) -> Result<(), Error> {
        match &self.inventory {
            Some(inventory) => same::its_machines(&global.settings, inventory, &self.view).await,
            None => Ok(()),
        }
    }

    async fn cluster(&self, address: &Address) -> Result<Cluster, Error> {
        match &self.inventory {
            Some(inventory) => Ok(Cluster::of(inventory)),
            None => socket::get(address, "").await,
        }
    }
}

/// Asks the process that drives to rest where the API is up.
pub async fn pause(global: &Global, state: &Path, args: &WordArgs) -> Result<Exit, Error> {
    let driven = Driven::find(global, state, args.run.as_deref()).await?;
    let execution = &driven.execution;
    let Some(address) = driven.address() else {
        return Err(Error::Word(format!("{execution} is driven by nobody: it rests already, or waits to be resumed")));
    };
    driven.same_machines(global).await?;
    let said = socket::Said { by: open::who(), reason: args.sure.reason.clone() };
    socket::post(&address, &format!("/pause/{execution}"), &said).await?;
    println!("{execution} is paused");
    Ok(Exit::Done)
}

/// How long a process that was told to end may go on while the API is down. A rejoin takes no API down.
async fn longest_outage(runtime: &Runtime, execution: &ExecutionId) -> Duration {
    let rotate = runtime.view(execution).await.and_then(|view| view.input.decode::<Rotate>().ok());
    Duration::from_secs(rotate.map_or(0, |rotate| rotate.max_outage_seconds))
}

/// Drives, shows, and says how it ended; the control plane is expected to be away for so long.
pub async fn follow(ground: &Ground<'_>, course: Course, expected: Option<Duration>) -> Result<Exit, Error> {
    let Ground { runtime, commands, .. } = ground;
    let Course { execution, word, wanted } = course;
    let show = commands.verb("show", &[execution.as_str()]);
    eprintln!("· execution {execution} · Ctrl-C pauses at the next place where the API is up · other terminal: {show}");
    let mut screen = Screen::on_stderr(Live::with_wall_clock().expecting(expected));
    let longest = longest_outage(runtime, &execution).await;
    let signals = tokio::spawn(crate::signals::obey(runtime.engine.clone(), execution.clone(), longest));
    let rest = runtime.drive(&execution, word, |record, new| screen.add(record, new)).await;
    signals.abort();
    let view = runtime.view(&execution).await.ok_or_else(|| Error::Log("the history cannot be read".into()))?;
    screen.end(view.last);
    let ended = after(runtime, &view, &rest).await?;
    let left = left::of(&view, &Source::opened(runtime.engine.log().clone()).views().await?);
    told(commands, &view, &left, &ended, wanted)
}

/// What is to be done once a drive has ended, and how it did.
pub async fn after(runtime: &Runtime, view: &ExecutionView, rest: &Rest) -> Result<Ended, Error> {
    let ended = Ended::of(rest, view);
    let elsewhere = matches!(ended, Ended::Elsewhere(_));
    if !elsewhere && view.workflow == "rotate" && view.state.status == Status::Completed {
        Box::pin(forget_the_past(runtime, &view.execution)).await?;
    }
    Ok(ended)
}

/// Says how it ended.
pub fn told(
    commands: &Commands,
    view: &ExecutionView,
    left: &[Left],
    ended: &Ended,
    wanted: Wanted,
) -> Result<Exit, Error> {
    match ended {
        Ended::Elsewhere(why) => Err(Error::Elsewhere(why.clone())),
        ended => Ok(outcome(commands, view, left, ended, wanted)),
    }
}
