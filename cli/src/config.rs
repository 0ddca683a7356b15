//! The configuration: what holds for the clusters that this machine knows by name, and where each value comes from.
//!
//! Modules in reading order.

pub mod keys;

pub mod file;

pub mod windows;

pub mod place;

pub mod variables;

pub mod verbs;

use crate::args::{Global, Options, RootArg};
use crate::error::Error;
use crate::open;
use crate::plan::window::Between;
use file::{Problem, Set, Sheet, Value};
use jiff::tz::TimeZone;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::Timestamp;
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// More clusters than this are not held by one configuration: a daemon has a thread and an open store for each.
pub const MOST_CLUSTERS: usize = 500;
/// A file of the configuration is never larger, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The file that holds for all clusters, and the folder with one for each.
const MAIN: &str = "config.toml";
const CLUSTERS: &str = "clusters";

/// See the file's sentence. The default is none: no cluster is known by name.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The folder; none if there is no configuration.
    pub dir: Option<PathBuf>,
    main: Sheet,
    clusters: BTreeMap<String, Sheet>,
}

impl Settings {
    /// Of the folder that flag, environment or habit name; none if there is no such folder.
    pub fn find(global: &Global) -> Result<Self, Error> {
        let Some(dir) = place::config_dir(global)? else { return Ok(Self::default()) };
        Self::read(&dir).map_err(|problems| Error::Config(told(&problems)))
    }

    /// All values, or all that is wrong with the files.
    pub fn read(dir: &Path) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let main_file = dir.join(MAIN);
        let main = if main_file.exists() { sheet(&main_file, keys::MAIN, &mut problems) } else { Sheet::new() };
        let mut clusters = BTreeMap::new();
        for file in cluster_files(&dir.join(CLUSTERS), &mut problems) {
            let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let sheet = sheet(&file, keys::CLUSTER, &mut problems);
            if !sheet.contains_key(keys::INVENTORY) && !problems.iter().any(|problem| problem.file == file) {
                problems.push(Problem::of(&file, "`inventory` is missing: the k0sctl.yaml of this cluster"));
            }
            clusters.insert(name, sheet);
        }
        if clusters.len() > MOST_CLUSTERS {
            problems.push(Problem::of(&dir.join(CLUSTERS), format!("has more than {MOST_CLUSTERS} clusters")));
        }
        let settings = Self { dir: Some(dir.to_owned()), main, clusters };
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Names of all clusters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// Whether there is a cluster of this name.
    pub fn has(&self, cluster: &str) -> bool {
        self.clusters.contains_key(cluster)
    }

    /// What is set for a cluster: in its own file, else in the one for all.
    pub fn of(&self, cluster: Option<&str>, key: &str) -> Option<&Set> {
        let own = cluster.and_then(|cluster| self.clusters.get(cluster)).and_then(|sheet| sheet.get(key));
        own.or_else(|| self.main.get(key))
    }

    /// The same of a path.
    pub fn path(&self, cluster: Option<&str>, key: &str) -> Option<&Path> {
        match &self.of(cluster, key)?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The same of a number.
    pub fn number(&self, cluster: Option<&str>, key: &str) -> Option<usize> {
        match &self.of(cluster, key)?.value {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The same of a list.
    pub fn texts(&self, cluster: Option<&str>, key: &str) -> &[String] {
        match self.of(cluster, key).map(|set| &set.value) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Where Prometheus reads metrics.
    pub fn metrics_at(&self) -> Option<SocketAddr> {
        match &self.of(None, keys::METRICS_LISTEN)?.value {
            Value::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// A duration of a cluster, as it was written.
    pub fn duration(&self, cluster: &str, key: &str) -> Option<&str> {
        match &self.of(Some(cluster), key).filter(|_| self.has(cluster))?.value {
            Value::Duration(text) => Some(text),
            _ => None,
        }
    }

    /// Yes or no of a cluster; no where it is not set.
    pub fn flag(&self, cluster: &str, key: &str) -> bool {
        let set = self.of(Some(cluster), key).filter(|_| self.has(cluster));
        matches!(set.map(|set| &set.value), Some(Value::Flag(true)))
    }

    /// Whether somebody else must approve rotations of a cluster.
    pub fn wants_approval(&self, cluster: &str) -> bool {
        self.flag(cluster, keys::APPROVAL)
    }

    /// By what a fleet chooses a cluster.
    pub fn labels(&self, cluster: &str) -> BTreeMap<String, String> {
        match self.of(Some(cluster), keys::LABELS).map(|set| &set.value) {
            Some(Value::Labels(labels)) => labels.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Who would be sealed to besides the identity itself.
    pub fn recipients(&self, cluster: Option<&str>) -> &[String] {
        self.texts(cluster, keys::RECIPIENTS)
    }

    /// What was asked for, and for what was not, what is set for the cluster.
    pub fn filled(&self, cluster: &str, options: &Options) -> Options {
        let mut options = options.clone();
        // A name that is not configured gets nothing of what holds for those that are.
        let cluster = Some(cluster).filter(|name| self.has(name));
        let Some(cluster) = cluster else { return options };
        let all_roots = options.compromised;
        if let (true, Some(Value::Roots(roots))) =
            (options.roots.is_empty() && !all_roots, self.of(Some(cluster), keys::ROOTS).map(|set| &set.value))
        {
            options.roots.clone_from(roots);
        }
        if let (None, Some(Value::Duration(text))) =
            (&options.max_outage, self.of(Some(cluster), keys::MAX_OUTAGE).map(|set| &set.value))
        {
            options.max_outage = Some(text.clone());
        }
        options
    }

    /// The windows of a cluster that are open or to come, the next one first; none if it has none, or if the rotation names its own.
    pub fn windows_for(&self, cluster: &str, rotate: &Rotate, now: Timestamp) -> Vec<Between> {
        let cluster = Some(cluster).filter(|cluster| self.has(cluster));
        let own = rotate.not_before.is_some() || rotate.not_after.is_some() || rotate.break_glass.is_some();
        if own || cluster.is_none() {
            return Vec::new();
        }
        let set = |key| self.of(cluster, key).map(|set| &set.value);
        match (set(keys::WINDOW_AT), set(keys::WINDOW_ZONE)) {
            (Some(Value::Windows(windows, _)), Some(Value::Zone(zone, _))) => windows.after(now, zone),
            (Some(Value::Windows(windows, _)), _) => windows.after(now, &TimeZone::UTC),
            _ => Vec::new(),
        }
    }

    /// The configured cluster whose inventory this file is.
    pub fn cluster_of_file(&self, file: &Path) -> Option<&str> {
        let same = |path: &Path| {
            path == file || file.canonicalize().is_ok_and(|file| path.canonicalize().is_ok_and(|path| path == file))
        };
        self.names().find(|name| self.path(Some(name), keys::INVENTORY).is_some_and(same))
    }

    /// The inventory of a cluster, under the name that it has here; its variables come from the environment file alone.
    pub fn inventory(&self, cluster: &str) -> Result<Inventory, Error> {
        let file = self.path(Some(cluster), keys::INVENTORY).map(Path::to_owned).unwrap_or_default();
        let variables = match self.path(Some(cluster), keys::ENVIRONMENT) {
            Some(from) => variables::read(from).map_err(|problem| Error::Config(problem.to_string()))?,
            None => BTreeMap::new(),
        };
        let mut inventory = open::inventory_with(&file, &variables)?;
        cluster.clone_into(&mut inventory.name);
        Ok(inventory)
    }
}

/// All of them, one a line.
pub fn told(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (at, problem) in problems.iter().enumerate() {
        let _ = write!(text, "{}{problem}", if at == 0 { "" } else { "\n" });
    }
    text
}

/// A file's values; what is wrong with it goes to the others.
fn sheet(file: &Path, keys: &[keys::Key], problems: &mut Vec<Problem>) -> Sheet {
    match text(file) {
        Ok(text) => {
            let (sheet, more) = file::read(file, &text, keys);
            problems.extend(more);
            sheet
        }
        Err(why) => {
            problems.push(Problem::of(file, why));
            Sheet::new()
        }
    }
}

/// A small file of text.
fn text(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|e| e.to_string())?.len();
    if size > LARGEST_FILE {
        return Err(format!("is larger than {} MiB: no configuration is", LARGEST_FILE >> 20));
    }
    std::fs::read_to_string(file).map_err(|e| e.to_string())
}

/// `NAME.toml`, by name; hidden files are an editor's. No folder is no cluster.
fn cluster_files(dir: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            problems.push(Problem::of(dir, e.to_string()));
            return Vec::new();
        }
    };
    let is_one = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "toml")
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    files.sort();
    files
}

/// As the command line names it.
pub fn name_of(root: RootArg) -> String {
    use clap::ValueEnum;
    root.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
