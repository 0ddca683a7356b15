//! The command line: typed words in, verbs done, an exit status out.
//!
//! Modules in reading order.

#[macro_use]
mod print;

pub mod args;
pub mod exit;

pub mod error;

pub mod config;

pub mod files;

pub mod fleet;

pub mod open;
pub mod reach;

pub mod drive;

pub mod runtime;

pub mod seals;

pub mod look;

pub mod ahead;
pub mod approval;
pub mod audit;
pub mod beside;
pub mod break_glass;
pub mod calendar;
pub mod client;
pub mod commands;
pub mod confirm;
pub mod daemon;
pub mod demo;
pub mod evidence;
pub mod history;
pub mod inspect;
pub mod keys;
pub mod last;
pub mod leave_behind;
pub mod left;
pub mod naming;
pub mod outcome;

pub mod own_ca;
pub mod plan;
pub mod policy;
pub mod possible;
pub mod private;
pub mod rejoin;
pub mod render;
pub mod report;
pub mod same;
pub mod sealed;
pub mod signals;
pub mod socket;
pub mod source;
pub mod survey;
pub mod telemetry;
pub mod which;
pub mod wish;

use args::{ApproveArgs, Cli, ConfigVerb, DeclineArgs, FleetVerb, Format, KeysVerb, LOOK_AT_STORE, Verb};
use clap::{CommandFactory, Parser};
use commands::Commands;
use config::Settings;
use error::Error;
use exit::Exit;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};
use wish::Say;

/// Reads the arguments, does the verb, prints an error once.
pub fn main() -> ExitCode {
    private::from_now_on();
    let mut words = std::env::args_os().skip(1);
    if let (Some(LOOK_AT_STORE), Some(dir)) = (words.next().as_ref().and_then(|w| w.to_str()), words.next()) {
        println!("{}", k0rotate_engine::log::sled::probe_store(dir.as_ref()));
        return Exit::Done.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) if wrong.use_stderr() => {
            let code = Error::Usage(String::new()).code();
            eprint!("{}", wrong.render().to_string().replacen("error:", &format!("error[{code}]:"), 1));
            eprintln!("  nothing was changed");
            return Exit::Usage.into();
        }
        Err(help) => help.exit(),
    };
    log_to_stderr(cli.global.debug, matches!(cli.verb, Verb::Daemon(_)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread needs nothing but memory and a few descriptors");
    let commands = Commands::of(&cli.global);
    let ended = runtime.block_on(run(cli));
    telemetry::live::end();
    // What was done counts more than that it could not be said.
    let ended = match print::unprinted() {
        Some(why) if matches!(ended, Ok(Exit::Done)) => Err(Error::Unprinted(why)),
        _ => ended,
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{}", error.told(&commands));
            error.exit().into()
        }
    }
}

fn log_to_stderr(debug: bool, daemon: bool) {
    let filter = match (debug, daemon) {
        (true, _) => "k0rotate=debug",
        (false, true) => "k0rotate=info",
        (false, false) => "k0rotate=warn",
    };
    let colours = std::io::stderr().is_terminal();
    let log = fmt::layer().with_ansi(colours).with_writer(std::io::stderr).with_filter(EnvFilter::new(filter));
    tracing_subscriber::registry().with(log).with(telemetry::live::layer()).init();
}

async fn run(mut cli: Cli) -> Result<Exit, Error> {
    printable(&cli.verb, cli.global.output)?;
    if works_on_clusters(&cli.verb) {
        cli.global.settings = Arc::new(Settings::find(&cli.global)?);
    }
    let global = &cli.global;
    let (state, _) = config::place::state_dir(global, &global.settings)?;
    match cli.verb {
        Verb::Inspect(args) => Box::pin(inspect::inspect(global, &state, &args)).await,
        Verb::Plan(args) => Box::pin(plan::run(global, &state, &args)).await,
        Verb::Rotate(args) => drive::rotate(global, &state, &args).await,
        Verb::Resume(args) => drive::say(global, &state, &args, Say::Resume).await,
        Verb::Rollback(args) => drive::roll_back(global, &state, &args).await,
        Verb::Finalize(args) => drive::say(global, &state, &args, Say::Finalize).await,
        Verb::Approve(ApproveArgs { word, plan, wave: Some(wave) }) => {
            fleet::answer(global, (word.run.as_deref(), wave), "approve", plan.as_deref(), &word.sure).await
        }
        Verb::Decline(DeclineArgs { word, wave: Some(wave) }) => {
            fleet::answer(global, (word.run.as_deref(), wave), "decline", None, &word.sure).await
        }
        Verb::Approve(args) => drive::say_by(global, &state, &args.word, Say::Approve, args.plan.as_deref()).await,
        Verb::Decline(args) => drive::say(global, &state, &args.word, Say::Decline).await,
        Verb::Pause(args) => drive::pause(global, &state, &args).await,
        Verb::LeaveBehind(args) => leave_behind::leave_behind(global, &state, &args).await,
        Verb::List(args) => look::list(global, &state, &args).await,
        Verb::Show(args) => look::show(global, &state, &args).await,
        Verb::Watch(args) => look::watch(global, &state, &args).await,
        Verb::History(args) => history::history(global, &state, &args).await,
        Verb::Report(args) => look::report(global, &state, &args).await,
        Verb::Export(args) => evidence::export(global, &state, &args).await,
        Verb::Verify { path } => evidence::verify(global, &path).await,
        Verb::Keys(KeysVerb::New { to }) => keys::new(global, to.as_ref()),
        Verb::Fleet(verb) => Box::pin(fleet::run(global, &verb)).await,
        Verb::Daemon(args) => Box::pin(daemon::run(global, &state, &args)).await,
        Verb::Config(ConfigVerb::Show) => config::verbs::show(global),
        Verb::Config(ConfigVerb::Check) => config::verbs::check(global),
        Verb::Demo(args) => Box::pin(demo::run(&args, &state)).await,
        Verb::Version => {
            let version = env!("CARGO_PKG_VERSION");
            look::print(global.output, &serde_json::json!({ "version": version }), || format!("k0rotate {version}"))
        }
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "k0rotate", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
        Verb::Rejoin(args) => Box::pin(rejoin::rejoin(global, &state, &args)).await,
    }
}

/// A way to print that a verb does not have is refused before anything is done.
fn printable(verb: &Verb, output: Format) -> Result<(), Error> {
    let refused = match (verb, output) {
        (_, Format::Table)
        | (Verb::Fleet(FleetVerb::Show(_) | FleetVerb::List), Format::Json | Format::Yaml)
        | (Verb::Plan(_), Format::Notice)
        | (Verb::Watch(_), Format::Json) => None,
        (_, Format::Notice) => Some("-o notice is for plan"),
        (Verb::Report(_), _) => Some("report is Markdown; show and history print JSON and YAML"),
        (Verb::Watch(_), _) => Some("watch prints lines for people, or with -o json one event a line"),
        (Verb::Completion { .. }, _) => Some("completion is a script for a shell"),
        (
            Verb::Rotate(_)
            | Verb::Pause(_)
            | Verb::Resume(_)
            | Verb::Rollback(_)
            | Verb::Finalize(_)
            | Verb::Approve(_)
            | Verb::Decline(_)
            | Verb::LeaveBehind(_)
            | Verb::Rejoin(_)
            | Verb::Fleet(_)
            | Verb::Daemon(_)
            | Verb::Demo(_),
            _,
        ) => Some("it tells people what it does; show and history print JSON and YAML"),
        _ => None,
    };
    refused.map_or(Ok(()), |why| Err(Error::Usage(why.into())))
}

/// Whether it may be about what is configured. The others work where the configuration is broken, too.
fn works_on_clusters(verb: &Verb) -> bool {
    !matches!(
        verb,
        Verb::Verify { .. } | Verb::Keys(_) | Verb::Config(_) | Verb::Demo(_) | Verb::Version | Verb::Completion { .. }
    )
}
