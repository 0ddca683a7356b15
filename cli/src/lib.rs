//! The command line: typed words in, verbs done, an exit status out.
//!
//! Modules in reading order.

#[macro_use]
mod print;

pub mod args;
pub mod exit;

pub mod error;

pub mod files;
pub mod open;

pub mod drive;

pub mod runtime;

pub mod seals;

pub mod look;

pub mod ahead;
pub mod beside;
pub mod commands;
pub mod confirm;
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

use args::{Cli, Format, Global, KeysVerb, LOOK_AT_STORE, Verb};
use clap::{CommandFactory, Parser};
use commands::Commands;
use drive::Say;
use error::Error;
use etcetera::BaseStrategy;
use exit::Exit;
use std::path::PathBuf;
use std::process::ExitCode;

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
            return Exit::Usage.into();
        }
        Err(help) => help.exit(),
    };
    log_to_stderr(cli.global.debug);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread needs nothing but memory and a few descriptors");
    let commands = Commands::of(&cli.global);
    let ended = runtime.block_on(run(cli));
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

fn log_to_stderr(debug: bool) {
    let filter = if debug { "k0rotate=debug" } else { "k0rotate=warn" };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

async fn run(cli: Cli) -> Result<Exit, Error> {
    let global = &cli.global;
    printable(&cli.verb, global.output)?;
    let state = state_dir(global)?;
    match cli.verb {
        Verb::Inspect(args) => Box::pin(inspect::inspect(global, &state, &args)).await,
        Verb::Plan(args) => Box::pin(plan::run(global, &state, &args)).await,
        Verb::Rotate(args) => drive::rotate(global, &state, &args).await,
        Verb::Resume(args) => drive::say(global, &state, &args, Say::Resume).await,
        Verb::Rollback(args) => drive::roll_back(global, &state, &args).await,
        Verb::Finalize(args) => drive::say(global, &state, &args, Say::Finalize).await,
        Verb::Pause(args) => drive::pause(global, &state, &args).await,
        Verb::LeaveBehind(args) => leave_behind::leave_behind(global, &state, &args).await,
        Verb::List(args) => look::list(global, &state, &args).await,
        Verb::Show(args) => look::show(global, &state, &args).await,
        Verb::Watch(args) => look::watch(global, &state, &args).await,
        Verb::History(args) => history::history(global, &state, &args).await,
        Verb::Report(args) => look::report(global, &state, &args).await,
        Verb::Export(args) => evidence::export(global, &state, &args).await,
        Verb::Verify { path } => evidence::verify(global, &path),
        Verb::Keys(KeysVerb::New { to }) => keys::new(global, to.as_ref()),
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
        (_, Format::Table) | (Verb::Plan(_), Format::Notice) | (Verb::Watch(_), Format::Json) => None,
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
            | Verb::LeaveBehind(_)
            | Verb::Rejoin(_)
            | Verb::Demo(_),
            _,
        ) => Some("it tells people what it does; show and history print JSON and YAML"),
        _ => None,
    };
    refused.map_or(Ok(()), |why| Err(Error::Usage(why.into())))
}

/// Flag or environment, else XDG's state folder.
fn state_dir(global: &Global) -> Result<PathBuf, Error> {
    if let Some(dir) = &global.state_dir {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::File(dir.display().to_string(), "is no folder; --state-dir names one".into()));
        }
        return Ok(dir.clone());
    }
    let base = etcetera::choose_base_strategy().map_err(|e| Error::File("the home directory".into(), e.to_string()))?;
    let state =
        base.state_dir().ok_or_else(|| Error::Usage("this system has no state folder; give --state-dir".into()))?;
    Ok(state.join("k0rotate"))
}
