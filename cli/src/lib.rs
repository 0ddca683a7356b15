//! The command line: typed words in, verbs done, an exit status out.
//!
//! Modules in reading order.

pub mod args;
pub mod demo;
pub mod error;
pub mod exit;
pub mod render;
pub mod report;
pub mod runtime;

use args::{Cli, Global, Verb};
use clap::{CommandFactory, Parser};
use error::Error;
use etcetera::BaseStrategy;
use exit::Exit;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads the arguments, does the verb, prints an error once.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.global.debug);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread needs nothing but memory and a few descriptors");
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{error}");
            error.exit().into()
        }
    }
}

fn log_to_stderr(debug: bool) {
    let filter = if debug { "k0rotate=debug" } else { "k0rotate=warn" };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

async fn run(cli: Cli) -> Result<Exit, Error> {
    let state = state_dir(&cli.global)?;
    match cli.verb {
        Verb::Demo(args) => demo::run(&args, &state).await,
        Verb::Version => {
            println!("k0rotate {}", env!("CARGO_PKG_VERSION"));
            Ok(Exit::Done)
        }
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "k0rotate", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        other => Err(Error::NotHere(format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase())),
    }
}

/// Flag or environment, else XDG's state folder.
fn state_dir(global: &Global) -> Result<PathBuf, Error> {
    if let Some(dir) = &global.state_dir {
        return Ok(dir.clone());
    }
    let base = etcetera::choose_base_strategy().map_err(|e| Error::File("the home directory".into(), e.to_string()))?;
    let state =
        base.state_dir().ok_or_else(|| Error::Usage("this system has no state folder; give --state-dir".into()))?;
    Ok(state.join("k0rotate"))
}
