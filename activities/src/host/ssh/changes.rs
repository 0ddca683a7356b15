//! A list of changes as a stream for `changes.sh`, and what that script says of it.

use super::frame::find;
use crate::host::{Change, Command, Fence, HostError, Output};
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

/// The script that carries a list out.
pub const SCRIPT: &str = include_str!("changes.sh");

/// What a list may take besides its programs.
const LIST_DEADLINE: Duration = Duration::from_secs(60);

/// How long a list may take in all.
pub fn deadline(changes: &[Change]) -> Duration {
    let programs = changes.iter().filter_map(|c| match c {
        Change::Run(command) => Some(command.deadline),
        _ => None,
    });
    LIST_DEADLINE + programs.sum::<Duration>()
}

/// The start of the names of all units of an execution; a number follows.
pub fn unit_prefix(fence: &Fence) -> String {
    format!("k0rotate-{}-", short_hash(&[&fence.execution]))
}

/// The name of one call's unit.
pub fn unit(fence: &Fence, call: u64) -> String {
    let attempt = short_hash(&[&fence.execution, &fence.incarnation, &fence.attempt]);
    format!("{}{}-{attempt}-{call}.service", unit_prefix(fence), fence.number)
}

/// The fence number in a unit's name.
pub fn number_of(unit: &str, prefix: &str) -> Option<u64> {
    unit.strip_prefix(prefix)?.split('-').next()?.parse().ok()
}

fn short_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The list as `changes.sh` reads it.
pub fn encode(fence: &Fence, changes: &[Change]) -> Result<Secret, HostError> {
    let mut text = Vec::new();
    line(&mut text, &fence.execution)?;
    line(&mut text, &fence.incarnation)?;
    line(&mut text, &fence.number.to_string())?;
    for change in changes {
        encode_one(&mut text, change)?;
    }
    line(&mut text, "end")?;
    Ok(Secret::new(text))
}

fn encode_one(text: &mut Vec<u8>, change: &Change) -> Result<(), HostError> {
    match change {
        Change::Write { path, bytes, mode, owner } => {
            line(text, "write")?;
            self::path(text, path)?;
            line(text, &format!("{mode:o}"))?;
            line(text, &format!("{}:{}", owner.uid, owner.gid))?;
            line(text, &BASE64.encode(bytes.expose()))
        }
        Change::Rename { from, to } => two_paths(text, "rename", from, to),
        Change::Copy { from, to } => two_paths(text, "copy", from, to),
        Change::MakeDir { path, mode } => {
            line(text, "make-dir")?;
            self::path(text, path)?;
            line(text, &format!("{mode:o}"))
        }
        Change::Remove { path } => {
            line(text, "remove")?;
            self::path(text, path)
        }
        Change::Signal { process, signal } => {
            line(text, "signal")?;
            line(text, &process.pid.to_string())?;
            line(text, &process.start.to_string())?;
            line(text, &signal.to_string())?;
            line(text, &process.exe)
        }
        Change::Run(command) => program(text, command),
    }
}

fn two_paths(text: &mut Vec<u8>, kind: &str, from: &str, to: &str) -> Result<(), HostError> {
    line(text, kind)?;
    path(text, from)?;
    path(text, to)
}

fn program(text: &mut Vec<u8>, command: &Command) -> Result<(), HostError> {
    line(text, "run")?;
    line(text, &command.deadline.as_secs().max(1).to_string())?;
    line(text, &BASE64.encode(command.stdin.expose()))?;
    line(text, &(command.args.len() + 1).to_string())?;
    for argument in std::iter::once(&command.program).chain(&command.args) {
        if argument.contains('\n') {
            line(text, &format!(":{}", BASE64.encode(argument)))?;
        } else {
            line(text, &format!("={argument}"))?;
        }
    }
    Ok(())
}

fn line(text: &mut Vec<u8>, value: &str) -> Result<(), HostError> {
    if value.contains(['\n', '\0']) {
        return Err(HostError::Refused("line".to_owned()));
    }
    text.extend_from_slice(value.as_bytes());
    text.push(b'\n');
    Ok(())
}

/// Paths are absolute, without `..`, and never a top-level directory.
fn path(text: &mut Vec<u8>, value: &str) -> Result<(), HostError> {
    let parts: Vec<&str> = value.split('/').collect();
    let odd = parts[1..].iter().any(|p| p.is_empty() || *p == "." || *p == "..");
    if !parts[0].is_empty() || parts.len() < 3 || odd {
        return Err(HostError::Refused("path".to_owned()));
    }
    line(text, value)
}

/// What became of a list.
#[derive(Debug)]
pub enum Became {
    /// All of it was done, or a program failed; the output of the last program.
    Done(Output),
    /// The mark forbade it.
    Fenced,
    /// The machine could not; a code.
    Failed(String),
    /// The script did not begin or did not end.
    Unknown,
}

/// Reads what `changes.sh` printed.
pub fn decode(nonce: &str, output: &Output) -> Became {
    let text = &output.stdout;
    let last = |word: &str| find(text, format!("{nonce} {word}\n").as_bytes()).is_some();
    if last("fenced") {
        return Became::Fenced;
    }
    if rfind(text, format!("{nonce} failed ").as_bytes()).is_some() {
        return Became::Failed(code(after_last(&output.stderr, &format!("{nonce} at "))));
    }
    let program = last_program(nonce, text);
    let status = program.as_ref().map_or(0, |(status, _)| *status);
    if !last("done") && status == 0 {
        return Became::Unknown;
    }
    let stderr = if program.is_some() { program_stderr(nonce, output) } else { Vec::new() };
    Became::Done(Output { status, stdout: program.map_or_else(Vec::new, |(_, out)| out), stderr })
}

/// Status and standard output of the last program.
fn last_program(nonce: &str, text: &[u8]) -> Option<(i32, Vec<u8>)> {
    let begin = rfind(text, format!("{nonce} run ").as_bytes())?;
    let body = &text[begin + find(&text[begin..], b"\n")? + 1..];
    let end = format!("\n{nonce} ran ");
    let at = find(body, end.as_bytes())?;
    let rest = std::str::from_utf8(&body[at + end.len()..]).ok()?;
    let status = rest.lines().next()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body[..at].to_vec()))
}

/// What the last program complained of; changes after it complain after a line of their own.
fn program_stderr(nonce: &str, output: &Output) -> Vec<u8> {
    let Some(begin) = rfind(&output.stdout, format!("{nonce} run ").as_bytes()) else { return Vec::new() };
    let head = format!("{nonce} run ");
    let number: String =
        output.stdout[begin + head.len()..].iter().take_while(|b| **b != b'\n').map(|b| char::from(*b)).collect();
    let at = format!("{nonce} at {number}\n");
    let Some(start) = find(&output.stderr, at.as_bytes()) else { return Vec::new() };
    let rest = &output.stderr[start + at.len()..];
    let end = find(rest, format!("{nonce} at ").as_bytes()).unwrap_or(rest.len());
    rest[..end].to_vec()
}

fn rfind(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).rposition(|w| w == needle)
}

fn after_last<'a>(text: &'a [u8], needle: &str) -> &'a [u8] {
    rfind(text, needle.as_bytes()).map_or(text, |at| &text[at + needle.len()..])
}

/// A short code for what a tool said in the C locale; its text goes no further.
pub fn code(stderr: &[u8]) -> String {
    const CODES: [(&str, &str); 8] = [
        ("No space left", "no-space"),
        ("Read-only file system", "read-only"),
        ("Invalid cross-device link", "other-file-system"),
        ("No such file", "missing"),
        ("Permission denied", "permission"),
        ("Operation not permitted", "permission"),
        ("Input/output error", "disk"),
        ("Directory not empty", "not-empty"),
    ];
    let text = String::from_utf8_lossy(stderr);
    CODES.iter().find(|(said, _)| text.contains(said)).map_or("failed", |(_, code)| code).to_owned()
}
