//! The verbs that drive an execution: start it or say a word, follow it to its rest, and say what that means.

use crate::ahead::Ahead;
use crate::approval;
use crate::args::{Global, RollbackArgs, RotateArgs, Sure, WordArgs};
use crate::beside;
use crate::break_glass;
use crate::client;
use crate::commands::Commands;
use crate::confirm::{Cluster, asks, confirm};
use crate::daemon::notify;
use crate::error::Error;
use crate::exit::Exit;
use crate::left::{self, Left};
use crate::look;
use crate::open;
use crate::outcome::{Ended, Wanted, outcome, waiting};
use crate::own_ca;
use crate::plan::agreed::Before;
use crate::plan::asked::asked;
use crate::render::live::Live;
use crate::render::screen::Screen;
use crate::report;
use crate::runtime::Runtime;
use crate::same;
use crate::socket::{self, Address};
use crate::source::{Place, Source};
use crate::telemetry::courier::Courier;
use crate::wish::{self, Begun, Course, Ground, Say, Wish};
use k0rotate_activities::inventory::Inventory;
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
    let asked = asked(&global.settings, &inventory, &args.options)?;
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
    let notices = notices(&ground, state, wish);
    let begun = wish::go(&ground, ready, open::who(), reason).await?;
    notices.iter().for_each(Courier::nudge);
    match begun {
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

/// The daemon tells what the histories of its clusters say. A break-glass is told at once, whoever drives it.
fn notices(ground: &Ground<'_>, state: &Path, wish: &Wish) -> Option<Courier> {
    let Wish::Rotate { options, .. } = wish else { return None };
    let (settings, cluster, runtime) = (&ground.global.settings, &ground.inventory.name, ground.runtime);
    let dir = open::cluster_dir(state, ground.inventory);
    let known = options.compromised && settings.has(cluster);
    known.then(|| notify::of_histories(settings, cluster, &dir, runtime.engine.log(), runtime.fleet.clock.now()))?
}

/// There is nothing to go on with: how it stands is all there is to say.
pub async fn rests(commands: &Commands, source: &Source, execution: &ExecutionId) -> Result<Exit, Error> {
    eprintln!("· nothing to go on with: it waits for a word, and is driven by nobody until then");
    let (_, _, view) = source.find(Some(execution.as_str())).await?;
    let left = left::of(&view, &source.views().await?);
    Ok(waiting(commands, &view, &left, Wanted::Verified))
}

/// A time that was typed.
pub fn time(text: &str) -> Result<Timestamp, Error> {
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
    let wish = Wish::Word { run: args.run.clone(), say, plan: plan.map(str::to_owned), leaked: false };
    say_wish(global, state, args.run.as_deref(), &wish, &args.sure).await
}

async fn say_wish(global: &Global, state: &Path, run: Option<&str>, wish: &Wish, sure: &Sure) -> Result<Exit, Error> {
    if let Some(kept) = client::meant_by(global, run).await? {
        return Box::pin(client::carry_out(global, &kept, wish, sure)).await;
    }
    let inventory = open::cluster_of(global, state, run).await?;
    Box::pin(carry_out(global, state, &inventory, wish, sure)).await
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
    let wish = Wish::Word {
        run: args.word.run.clone(),
        say: Say::RollBack,
        plan: args.plan.clone(),
        leaked: args.bring_back_the_leaked_trust,
    };
    match say_wish(global, state, args.word.run.as_deref(), &wish, &args.word.sure).await {
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
    let ahead =
        Ahead { second: break_glass::second(view, args.bring_back_the_leaked_trust), ..Ahead::of_way_back(view).await };
    let reason = confirm(&driven.cluster(&address).await?, &args.word.sure, &ahead)?;
    let said = socket::Said { by: open::who(), reason, leaked: true };
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
    let said = socket::Said { by: open::who(), reason: args.sure.reason.clone(), leaked: false };
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
