//! One file of the configuration: its values with the place of each, and all that is wrong with it.

use super::keys::{Key, Kind};
use super::name_of;
use super::windows::Windows;
use crate::args::RootArg;
use crate::drive::duration;
use crate::plan::asked::SHORTEST_OUTAGE;
use clap::ValueEnum;
use jiff::tz::TimeZone;
use k0rotate_activities::vault::is_recipient;
use k0rotate_workflows::cluster::AT_ONCE;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is counted in days is at least one, seconds.
const SHORTEST_DAYS: u64 = 86_400;
/// Names are this much alike at least where one is offered for the other.
const ALIKE: f64 = 0.8;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    /// What.
    pub what: String,
}

impl Problem {
    /// About a file as a whole.
    pub fn of(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, what: what.into() }
    }

    /// About a line of it.
    pub fn at(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::of(file, what) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        write!(f, "{}{line}: {}", self.file.display(), self.what)
    }
}

/// A value, of the kind that its key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Absolute, or from where we are.
    Path(PathBuf),
    /// As it was written; it reads as a duration.
    Duration(String),
    /// A number.
    Number(usize),
    /// A list.
    Texts(Vec<String>),
    /// Windows, and how they were written.
    Windows(Windows, String),
    /// A time zone, and how it was written.
    Zone(TimeZone, String),
    /// Roots, each once.
    Roots(Vec<RootArg>),
    /// An address with a port.
    Address(SocketAddr),
    /// Yes or no.
    Flag(bool),
    /// Values by name.
    Labels(BTreeMap<String, String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Duration(text) | Self::Windows(_, text) | Self::Zone(_, text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Texts(texts) => f.write_str(&texts.join(" ")),
            Self::Labels(labels) => {
                let all: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                f.write_str(&all.join(" "))
            }
            Self::Roots(roots) => f.write_str(&roots.iter().map(|root| name_of(*root)).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which.
    pub value: Value,
    /// In which file.
    pub file: PathBuf,
    /// In which line.
    pub line: usize,
}

/// Values by the full names of their keys.
pub type Sheet = BTreeMap<&'static str, Set>;

/// Reads the text of a file that may have these keys.
pub fn read(file: &Path, text: &str, keys: &[Key]) -> (Sheet, Vec<Problem>) {
    let mut reading = Reading { file, text, keys, sheet: Sheet::new(), problems: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        reading.problem(line, error.message().to_owned());
    }
    // What could be made of a file that is no TOML would only add to its problems.
    if errors.is_empty() {
        reading.table("", table.get_ref());
    }
    reading.problems.sort_by_key(|problem| problem.line);
    (reading.sheet, reading.problems)
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

struct Reading<'a> {
    file: &'a Path,
    text: &'a str,
    keys: &'a [Key],
    sheet: Sheet,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&mut self, line: usize, what: String) {
        self.problems.push(Problem::at(self.file, line, what));
    }

    fn table(&mut self, above: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{above}{}", key.get_ref());
            let line = line_of(self.text, key.span().start);
            let known = self.keys.iter().find(|known| known.name == name).copied();
            let below = format!("{name}.");
            match (known, value.get_ref()) {
                (Some(known), value) => self.value(known, line, value),
                (None, DeValue::Table(table)) if self.keys.iter().any(|known| known.name.starts_with(&below)) => {
                    self.table(&below, table);
                }
                (None, _) => self.problem(line, unknown(&name, self.keys)),
            }
        }
    }

    fn value(&mut self, key: Key, line: usize, value: &DeValue<'_>) {
        match read_value(key.kind, value) {
            Ok(Value::Path(path)) => {
                let base = self.file.parent().unwrap_or(Path::new(""));
                self.set(key, line, Value::Path(base.join(path)));
            }
            Ok(value) => self.set(key, line, value),
            Err(wanted) => self.problem(line, format!("`{}` takes {wanted}", key.name)),
        }
    }

    fn set(&mut self, key: Key, line: usize, value: Value) {
        self.sheet.insert(key.name, Set { value, file: self.file.to_owned(), line });
    }
}

/// A value of this kind, or what would be one.
fn read_value(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    match kind {
        Kind::Path => {
            let path = value.as_str().filter(|path| !path.is_empty());
            path.map(|path| Value::Path(path.into())).ok_or_else(|| "a path, as a text".to_owned())
        }
        Kind::Outage => {
            let long = |text: &&str| duration(text).is_ok_and(|seconds| seconds >= SHORTEST_OUTAGE);
            let outage = value.as_str().filter(long).map(|text| Value::Duration(text.to_owned()));
            outage.ok_or_else(|| format!("a duration of at least {SHORTEST_OUTAGE} s, as a text, for example \"5m\""))
        }
        Kind::Days => {
            let long = |text: &&str| duration(text).is_ok_and(|seconds| seconds >= SHORTEST_DAYS);
            let days = value.as_str().filter(long).map(|text| Value::Duration(text.to_owned()));
            days.ok_or_else(|| "a duration of at least a day, as a text, for example \"30d\"".to_owned())
        }
        Kind::AtOnce => {
            let number =
                value.as_integer().and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
            let number = number.filter(|number| (1..=AT_ONCE).contains(number)).map(Value::Number);
            number.ok_or_else(|| format!("a number from 1 to {AT_ONCE}"))
        }
        Kind::Recipients => {
            let all = texts(value).filter(|all| all.iter().all(|text| is_recipient(text)));
            all.map(Value::Texts).ok_or_else(|| "a list of recipients of age (age1…)".to_owned())
        }
        Kind::Windows => {
            let windows = value.as_str().and_then(|text| Some(Value::Windows(Windows::parse(text)?, text.to_owned())));
            windows.ok_or_else(|| "windows, for example \"Tue,Thu 01:00-03:00\" or \"daily 22:00-04:00\"".to_owned())
        }
        Kind::Zone => {
            let zone = value.as_str().and_then(|text| Some(Value::Zone(TimeZone::get(text).ok()?, text.to_owned())));
            zone.ok_or_else(|| "a time zone that this machine knows, for example \"Europe/Berlin\"".to_owned())
        }
        Kind::Flag => value.as_bool().map(Value::Flag).ok_or_else(|| "true or false".to_owned()),
        Kind::Labels => {
            let labels = labels(value).map(Value::Labels);
            labels.ok_or_else(|| "a table of names and texts, for example { env = \"prod\" }".to_owned())
        }
        Kind::People => {
            let one = |text: &String| !text.trim_start_matches('%').trim().is_empty();
            let all = texts(value).filter(|all| all.iter().all(one));
            all.map(Value::Texts).ok_or_else(|| "a list of users and %groups".to_owned())
        }
        Kind::Loopback => {
            let address = value.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
            let address = address.filter(|address| address.ip().is_loopback()).map(Value::Address);
            address.ok_or_else(|| "a loopback address with a port, for example \"127.0.0.1:9464\"".to_owned())
        }
        Kind::Roots => {
            let all = texts(value).unwrap_or_default();
            let roots: Result<Vec<RootArg>, String> = all.iter().map(|text| RootArg::from_str(text, false)).collect();
            let names = RootArg::value_variants().iter().map(|root| name_of(*root)).collect::<Vec<_>>().join(" ");
            let roots = roots.ok().filter(|roots| !roots.is_empty()).map(Value::Roots);
            roots.ok_or_else(|| format!("a list of roots: {names}"))
        }
    }
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let all = value.as_array()?.iter().map(Spanned::get_ref);
    all.map(|one| one.as_str().map(str::to_owned)).collect()
}

/// Names and values in which a selector can be told from its parts.
fn labels(value: &DeValue<'_>) -> Option<BTreeMap<String, String>> {
    let plain = |text: &str| !text.is_empty() && !text.contains(['=', ',']) && text.trim() == text;
    let DeValue::Table(table) = value else { return None };
    let mut labels = BTreeMap::new();
    for (name, value) in table {
        let (name, value) = (name.get_ref().to_string(), value.get_ref().as_str()?);
        if !plain(&name) || !plain(value) {
            return None;
        }
        labels.insert(name, value.to_owned());
    }
    Some(labels)
}

/// That a key is not known, and the one that may be meant.
fn unknown(name: &str, keys: &[Key]) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        let whole = strsim::jaro_winkler(name, known);
        // It stands in another table.
        if last(name) == last(known) { 1.0 } else { whole }
    };
    let tables = keys.iter().filter_map(|key| key.name.split_once('.')).map(|(table, _)| table);
    let all = keys.iter().map(|key| key.name).chain(tables);
    let best = all.map(|known| (likeness(known), known)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((_, known)) = best.filter(|(likeness, _)| *likeness >= ALIKE) {
        return format!("unknown key `{name}`; is `{known}` meant?");
    }
    let names = keys.iter().map(|key| key.name).collect::<Vec<_>>().join(" ");
    format!("unknown key `{name}`; there are {names}")
}

#[cfg(test)]
mod tests {
    //! Shows what is said of a file.

    use super::super::keys;
    use super::{Value, read};
    use std::path::Path;

    fn problems(text: &str) -> Vec<String> {
        let (_, problems) = read(Path::new("/c/a.toml"), text, keys::CLUSTER);
        problems.iter().map(ToString::to_string).collect()
    }

    /// Goal: paths are the file's, each value has its line, and tables may be written either way.
    #[test]
    fn values_have_places() {
        let text = "inventory = \"a/k0sctl.yaml\"\nssh.identity = \"/k\"\n[ssh]\n";
        assert!(!problems(text).is_empty(), "TOML takes a table only once");
        let text = "inventory = \"a/k0sctl.yaml\"\nconcurrency = 8\n\n[ssh]\nidentity = \"/k\"\n";
        let (sheet, problems) = read(Path::new("/c/a.toml"), text, keys::CLUSTER);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(sheet["inventory"].value, Value::Path("/c/a/k0sctl.yaml".into()));
        assert_eq!(sheet["concurrency"].value, Value::Number(8));
        assert_eq!((&sheet["ssh.identity"].value, sheet["ssh.identity"].line), (&Value::Path("/k".into()), 5));
    }

    /// Goal: labels are a table of texts, written either way; what a selector could not tell apart is refused.
    #[test]
    fn labels_are_texts() {
        for text in ["labels = { env = \"prod\", site = \"fra\" }\n", "[labels]\nsite = \"fra\"\nenv = \"prod\"\n"] {
            let (sheet, problems) = read(Path::new("/c/a.toml"), text, keys::CLUSTER);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(sheet["labels"].value.to_string(), "env=prod site=fra");
        }
        for wrong in ["\"prod\"", "{ env = 1 }", "{ env = \"\" }", "{ env = \"a,b\" }", "{ \"a=b\" = \"c\" }"] {
            let said = problems(&format!("labels = {wrong}\n"));
            assert!(said.len() == 1 && said[0].starts_with("/c/a.toml:1: `labels` takes a table"), "{wrong}: {said:?}");
        }
    }

    /// Goal: all that is wrong is said at once, each with its line; a key that nobody honours is an error, with the one that may be meant.
    #[test]
    fn all_that_is_wrong_is_said() {
        let text = "inventroy = \"k\"\nconcurrency = 65\nmax_outage = \"5s\"\nknown_hosts = \"h\"\nroots = [\"kubernetes\"]\nrecipients = [\"age1x\"]\nbeer = 1\nssh = 1\nstate_dir = \"s\"\n";
        let said = problems(text);
        let wanted = [
            "/c/a.toml:1: unknown key `inventroy`; is `inventory` meant?",
            "/c/a.toml:2: `concurrency` takes a number from 1 to 64",
            "/c/a.toml:3: `max_outage` takes a duration of at least 10 s",
            "/c/a.toml:4: unknown key `known_hosts`; is `ssh.known_hosts` meant?",
            "/c/a.toml:5: `roots` takes a list of roots: kubernetes-ca",
            "/c/a.toml:6: `recipients` takes a list of recipients",
            "/c/a.toml:7: unknown key `beer`; there are inventory",
            "/c/a.toml:8: ",
            "/c/a.toml:9: unknown key `state_dir`",
        ];
        assert_eq!(said.len(), wanted.len(), "{said:?}");
        for (said, wanted) in said.iter().zip(wanted) {
            assert!(said.starts_with(wanted), "{said} is not {wanted}");
        }
        assert!(problems("a = \n")[0].starts_with("/c/a.toml:1: "));
    }
}
