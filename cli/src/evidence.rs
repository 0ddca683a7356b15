//! Takes evidence out of the store, and checks it without one.

use crate::args::{ExportArgs, Global};
use crate::error::Error;
use crate::exit::Exit;
use crate::private;
use crate::render::rfc3339;
use crate::report;
use crate::source::Source;
use crate::which::{Found, which};
use k0rotate_engine::export::{export as lines, verify as check};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Name of the history in an exported folder.
const HISTORY: &str = "history.jsonl";

/// Writes the history with its stored bytes, and the report, into a new folder.
pub async fn export(global: &Global, state: &Path, args: &ExportArgs) -> Result<Exit, Error> {
    let Found { source, execution, view, .. } = which(global, state, args.run.as_deref()).await?;
    let Source::Store(log) = &source else {
        return Err(Error::Held("export when nobody drives".into()));
    };
    let stored = log.stored(&execution).await.map_err(|e| Error::Log(e.to_string()))?;
    let text = lines(&stored).map_err(|e| Error::Log(e.to_string()))?;
    let made = DirBuilder::new().mode(0o700).create(&args.to);
    made.map_err(|e| Error::File(args.to.display().to_string(), e.to_string()))?;
    for (name, content) in [(HISTORY, text), ("report.md", report::markdown(&view))] {
        private::write(&args.to.join(name), content.as_bytes())?;
    }
    println!("{execution}: history and report in {}", args.to.display());
    Ok(Exit::Done)
}

/// Checks an exported history; no store is needed.
pub fn verify(path: &Path) -> Result<Exit, Error> {
    let file = if path.is_dir() { path.join(HISTORY) } else { path.to_owned() };
    let text = fs::read_to_string(&file).map_err(|e| Error::File(file.display().to_string(), e.to_string()))?;
    let summary = check(&text).map_err(|e| Error::Broken(format!("{}: {e}", file.display())))?;
    let ended = if summary.ended { "ended" } else { "not ended" };
    println!(
        "{}: {} events, chain whole, {ended}, from {} to {}, head {}",
        summary.execution,
        summary.events,
        rfc3339(summary.first_time),
        rfc3339(summary.last_time),
        summary.head
    );
    println!("a chain alone can be rewritten as a whole: compare the head with another copy");
    Ok(Exit::Done)
}
