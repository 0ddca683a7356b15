//! The files of an audit: full ones, each named by the number of its first line, and the one that is written.

use super::{FILE, Line};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A file that has so many bytes is full: the next lines go to another.
pub const FULL: u64 = 16 << 20;

/// What a full one that begins with this line is called. Names in their order are lines in theirs.
pub fn name(first: u64) -> String {
    format!("audit-{first:012}.jsonl")
}

/// The first line of a full one, by its name.
fn first_by_name(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// All that lie in a folder, in the order of their lines; the one that is written comes last.
pub fn all(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut full: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((first_by_name(&path)?, path))).collect();
    full.sort();
    let written = Some(dir.join(FILE)).filter(|path| path.exists());
    full.into_iter().map(|(_, path)| path).chain(written).collect()
}

/// Those in which this line and the later ones stand.
pub fn from(dir: &Path, line: u64) -> Vec<PathBuf> {
    let mut all = all(dir);
    let first = |path: &PathBuf| first_by_name(path).or_else(|| first_line(path));
    let at = all.iter().rposition(|path| first(path).is_some_and(|first| first <= line));
    all.split_off(at.unwrap_or(0))
}

fn first_line(path: &Path) -> Option<u64> {
    let mut text = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut text).ok()?;
    Some(serde_json::from_str::<Line>(&text).ok()?.line)
}

/// All that lie in a folder as one text; one that cannot be read is missing in it, which is found by whoever checks it.
pub fn whole(dir: &Path) -> String {
    all(dir).iter().filter_map(|part| text(part).ok()).collect()
}

/// The text of a file. What is no text any more is found by whoever checks it.
pub fn text(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
