//! Takes evidence out of the store, and checks it without one.

use crate::args::{ExportArgs, Global};
use crate::audit::verify::{Against, Verified};
use crate::audit::{self, verify as audited};
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::private;
use crate::render::rfc3339;
use crate::report;
use crate::socket;
use crate::source::Place;
use crate::which::{Found, which};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k0rotate_engine::export::{Summary, export as lines, verify as check};
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the history in an exported folder.
const HISTORY: &str = "history.jsonl";
/// Name of the change record.
const REPORT: &str = "report.md";
/// Name of what says which files there are.
const MANIFEST: &str = "manifest.json";

/// How long lines of the audit are waited for.
const LATE: Duration = Duration::from_secs(10);
/// How often it is looked again meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// What an exported folder holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    execution: String,
    events: u64,
    /// The hash that the last event's chain ends with.
    head: String,
    /// SHA-256 of each other file, in hex, by its name.
    files: BTreeMap<String, String>,
}

/// Writes the history with its stored bytes, the report, and the hashes of both, into a new folder.
pub async fn export(global: &Global, state: &Path, args: &ExportArgs) -> Result<Exit, Error> {
    let Found { place, source, execution, history, view, .. } = which(global, state, args.run.as_deref()).await?;
    let mut stored = source.stored(&execution).await?;
    // Who drives may have written on since the report's history was read.
    stored.truncate(history.len());
    let text = lines(&stored).map_err(|e| Error::Log(e.to_string()))?;
    let summary = check(&text).map_err(|e| Error::Log(e.to_string()))?;
    let mut files = vec![(HISTORY, text), (REPORT, report::markdown(&view, &source.views().await?))];
    // An execution from before there was an audit has none until the store is opened to drive.
    let lines = audit_of(&place, source.is_held(), &execution, history.len()).await?;
    files.extend((!lines.is_empty()).then_some((audit::FILE, lines)));
    let manifest = Manifest {
        execution: execution.to_string(),
        events: summary.events,
        head: summary.head.to_string(),
        files: files.iter().map(|(name, content)| ((*name).to_owned(), hash(content.as_bytes()))).collect(),
    };
    let made = DirBuilder::new().mode(0o700).create(&args.to);
    made.map_err(|e| Error::File(args.to.display().to_string(), e.to_string()))?;
    for (name, content) in &files {
        private::write(&args.to.join(name), content.as_bytes())?;
    }
    let value = serde_json::to_value(&manifest).map_err(|e| Error::Usage(e.to_string()))?;
    // Last, so that a folder that has it is whole.
    private::write(&args.to.join(MANIFEST), format!("{value:#}\n").as_bytes())?;
    print(global.output, &value, || format!("{execution}: {} in {}", told(&files), args.to.display()))
}

/// The lines of the audit for so many events of an execution. Whoever holds the store writes a line a moment after its event, and is waited for.
async fn audit_of(place: &Place, held: bool, execution: &ExecutionId, events: usize) -> Result<String, Error> {
    let begun = Instant::now();
    loop {
        let lines = match place {
            Place::Dir(dir) => audited::part_of(&audit::parts::whole(dir), execution, events),
            Place::Daemon(address) => socket::audit(address, execution, events).await?,
        };
        if !held || audited::is_up_to(&lines, execution, events) || begun.elapsed() > LATE {
            return Ok(lines);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn hash(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn told(files: &[(&str, String)]) -> &'static str {
    if files.len() == 2 { "history and report" } else { "history, report and audit" }
}

/// Checks an exported history, a whole exported folder, or an audit; no store is needed.
pub async fn verify(global: &Global, path: &Path) -> Result<Exit, Error> {
    if path.is_dir() {
        let (summary, audit) = folder(path)?;
        return history_is_whole(global, &summary, audit.as_ref());
    }
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if path.file_name().is_some_and(|name| name == audit::FILE) || audited::is_audit(&text) {
        let verified = audited::verify(global, path, &text).await?;
        return print(global.output, &told_of(&verified), || audit_is_whole(&verified));
    }
    history_is_whole(global, &chain(path, &bytes)?, None)
}

fn history_is_whole(global: &Global, summary: &Summary, audit: Option<&Verified>) -> Result<Exit, Error> {
    let Summary { execution, events, head, first_time, last_time, ended } = summary;
    let (first, last) = (rfc3339(*first_time), rfc3339(*last_time));
    let value = json!({
        "execution": execution, "events": events, "head": head.to_string(), "ended": ended, "first": first, "last": last,
        "audit": audit.map(told_of),
    });
    print(global.output, &value, || {
        let ended = if *ended { "ended" } else { "not ended" };
        let audit = audit.map(|audit| audit_is_whole(audit) + "\n").unwrap_or_default();
        format!(
            "{execution}: {events} events, chain whole, {ended}, from {first} to {last}, head {head}\n{audit}a chain alone can be rewritten as a whole: compare the head with another copy"
        )
    })
}

fn told_of(audit: &Verified) -> serde_json::Value {
    let against = match audit.against {
        Against::Nothing => "nothing",
        Against::History => "history",
        Against::Store => "store",
    };
    let ends = [audit.lines.first(), audit.lines.last()].map(|line| line.map(|line| line.entry.time.clone()));
    json!({
        "lines": audit.lines.len(), "head": audit.lines.last().map(|line| line.hash.clone()), "against": against,
        "missing": audit.missing, "first": ends[0], "last": ends[1],
    })
}

fn audit_is_whole(audit: &Verified) -> String {
    let (Some(first), Some(last)) = (audit.lines.first(), audit.lines.last()) else {
        return "audit: no lines".to_owned();
    };
    let fits = match audit.against {
        Against::Nothing => "; no history lies beside it: compare the head with another copy".to_owned(),
        Against::History | Against::Store if audit.missing == 0 => ", each as in the history".to_owned(),
        Against::History | Against::Store => {
            format!(", each as in the history, {} of whose events have no line yet", audit.missing)
        }
    };
    let (from, to) = (&first.entry.time, &last.entry.time);
    format!("audit: lines {} to {}, chain whole{fits}, from {from} to {to}, head {}", first.line, last.line, last.hash)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|e| Error::File(file.display().to_string(), e.to_string()))
}

/// What is no text any more was one when it was exported.
fn chain(file: &Path, bytes: &[u8]) -> Result<Summary, Error> {
    let broken = |why: String| Error::Broken(format!("{}: {why}", file.display()));
    let text = std::str::from_utf8(bytes).map_err(|e| broken(format!("it is no text: {e}")))?;
    check(text).map_err(|e| broken(e.to_string()))
}

/// Every file of the manifest is there as it was written, and the manifest is that of the history.
fn folder(dir: &Path) -> Result<(Summary, Option<Verified>), Error> {
    let broken = |name: &str, why: &str| Error::Broken(format!("{}: {why}", dir.join(name).display()));
    let file = |name: &str| match fs::read(dir.join(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(broken(name, "it is missing")),
        Err(e) => Err(Error::File(dir.join(name).display().to_string(), e.to_string())),
        Ok(bytes) => Ok(bytes),
    };
    let history = file(HISTORY)?;
    let summary = chain(&dir.join(HISTORY), &history)?;
    let manifest: Manifest =
        serde_json::from_slice(&file(MANIFEST)?).map_err(|e| broken(MANIFEST, &format!("it is no manifest: {e}")))?;
    let (execution, head) = (summary.execution.to_string(), summary.head.to_string());
    if (manifest.execution, manifest.events, manifest.head) != (execution, summary.events, head) {
        return Err(broken(MANIFEST, "it is not that of the history beside it"));
    }
    let audited = manifest.files.contains_key(audit::FILE);
    let named: BTreeSet<String> = manifest.files.keys().cloned().collect();
    let due = [HISTORY, REPORT].map(str::to_owned);
    for name in named.iter().chain(&due) {
        // A name that leads elsewhere is none that was exported.
        if ![HISTORY, REPORT, audit::FILE].contains(&name.as_str()) {
            return Err(broken(MANIFEST, &format!("it names {name}, which is never exported")));
        }
        if manifest.files.get(name) != Some(&hash(&file(name)?)) {
            return Err(broken(name, "it is not the file that was exported"));
        }
    }
    if let Some(strange) = names_in(dir)?.iter().find(|name| *name != MANIFEST && !named.contains(*name)) {
        return Err(broken(strange, "the manifest does not name it: it was not exported"));
    }
    let audit = audited.then(|| {
        let lines = String::from_utf8_lossy(&file(audit::FILE)?).into_owned();
        audited::of_folder(dir, &lines, &summary.execution, &stored(&history)?)
    });
    Ok((summary, audit.transpose()?))
}

/// The names of all that lies in a folder.
fn names_in(dir: &Path) -> Result<BTreeSet<String>, Error> {
    let failed = |e: std::io::Error| Error::File(dir.display().to_string(), e.to_string());
    let entries = fs::read_dir(dir).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}

/// The stored bytes of an exported history that was checked.
fn stored(history: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let text = String::from_utf8_lossy(history);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let bytes = lines.filter_map(|line| Some(BASE64.decode(line.get("bytes")?.as_str()?)));
    bytes.collect::<Result<_, _>>().map_err(|e| Error::Broken(e.to_string()))
}
