//! A rehearsal fleet in the process of the test, and the program as processes of their own that work on it.

pub mod kept;
pub mod many;
pub mod people;
pub mod rejoining;

use k0rotate::demo::{plan, stand::Stand};
use k0rotate_activities::rehearsal::likeness::{First, Likeness};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use kept::Daemon;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a process printed, and its exit status; none if a signal ended it.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// All that it printed, to be searched as a whole.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// See the file's sentence.
pub struct Fleet {
    pub stand: Stand,
    first: First,
    begun: Likeness,
    /// The process that a planned crash kills.
    pid: Arc<Mutex<Option<u32>>>,
    /// The daemon that keeps it, if one does. Before the folder, which it must not outlive.
    daemon: Option<Daemon>,
    dir: tempfile::TempDir,
    /// Variables of the environment in which the program is started.
    pub variables: Vec<(&'static str, String)>,
}

impl Fleet {
    pub fn new(hosts: &str) -> Self {
        Self::of(&plan(hosts).expect("a fleet that can be"))
    }

    /// Another cluster: the same names, other machines.
    pub fn another(hosts: &str) -> Self {
        let plan = plan(hosts).expect("a fleet that can be");
        Self::of(&FleetPlan { seed: plan.seed + 1, ..plan })
    }

    fn of(plan: &FleetPlan) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let stage = Stage::new(plan);
        let first = First::of(&stage.world);
        let begun = Likeness::of(&stage.world, &first);
        let pid = Arc::new(Mutex::new(None));
        let doomed = pid.clone();
        let crashed = move || {
            let pid: Option<u32> = *doomed.lock().expect("nobody panics with it");
            let pid = pid.expect("a process asked").to_string();
            // Where several fleets have one process, another may have killed it already.
            Command::new("kill").args(["-9", &pid]).stderr(Stdio::null()).status().expect("kill is there");
        };
        let stand = Stand::new(&dir.path().join("stand"), plan, stage, crashed).expect("a fleet stands");
        Self { stand, first, begun, pid, daemon: None, dir, variables: Vec::new() }
    }

    /// One that a daemon keeps: the same verbs go to it.
    pub fn kept(hosts: &str) -> Self {
        Self::kept_with(hosts, "")
    }

    /// The same, with more in the configuration of all clusters.
    pub fn kept_with(hosts: &str, more: &str) -> Self {
        let mut fleet = Self::new(hosts);
        fleet.configure();
        let main = fleet.etc().join("config.toml");
        let text = std::fs::read_to_string(&main).expect("it was written");
        std::fs::write(&main, text + more).expect("it is ours");
        fleet.daemon = Some(Daemon::begin(&fleet.etc()));
        fleet
    }

    /// Kills its daemon, and begins another once this was done meanwhile.
    pub fn without_its_daemon(&mut self, meanwhile: impl FnOnce(&Self)) {
        drop(self.daemon.take());
        meanwhile(self);
        self.daemon = Some(Daemon::begin(&self.etc()));
    }

    /// Whether a daemon keeps it.
    pub fn is_kept(&self) -> bool {
        self.daemon.is_some()
    }

    /// Lets a driver that stands at a change go on, once it was heard that somebody asks it to go back; its terminal is read to the end.
    pub fn goes_back_as_it_hears(&self, driver: &mut Child) {
        let mut heard = BufReader::new(driver.stderr.take().expect("it was piped")).lines();
        if self.is_kept() {
            until("the word", || self.logged().contains("asks to go back"));
        } else {
            let asked = heard.find(|line| line.as_ref().is_ok_and(|line| line.contains("asks to go back")));
            assert!(asked.is_some(), "the driving process says who asks");
        }
        self.stand.stage().faults.stand_at = None;
        assert!(heard.all(|line| line.is_ok()), "it prints UTF-8 to its end");
    }

    /// What the daemon logged so far.
    pub fn logged(&self) -> String {
        self.daemon.as_ref().map(Daemon::said).unwrap_or_default()
    }

    /// Where all of it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration of its daemon.
    pub fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    /// Writes a configuration with this one cluster.
    fn configure(&self) {
        kept::configure(&self.etc(), &self.stand.dir().join("identity"));
        kept::add(&self.etc(), "rehearsal", &self.stand.dir().join("k0sctl.yaml"));
    }

    /// The process that the next planned crash kills.
    pub fn doom(&self, pid: u32) {
        *self.pid.lock().expect("nobody panics with it") = Some(pid);
    }

    /// How its world is, once all has settled.
    pub fn likeness(&self) -> Likeness {
        let mut stage = self.stand.stage();
        stage.pass(Duration::from_mins(10));
        Likeness::of(&stage.world, &self.first)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare();
        let flags = self.stand.flags();
        // The daemon knows the others.
        let flags = if self.is_kept() { flags[..2].to_vec() } else { flags };
        command.args(flags).args(words);
        command
    }

    /// The program without a flag.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
        command.env_remove("K0ROTATE_IDENTITY").env("USER", "alice").stdin(Stdio::null()).current_dir(self.dir.path());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        if self.is_kept() {
            command.env("K0ROTATE_CONFIG_DIR", self.etc());
        }
        command
    }

    /// A verb from its start to its end.
    pub fn k(&self, words: &[&str]) -> Said {
        self.command(words).output().expect("the program starts").into()
    }

    /// The same, and the exit status that it must have.
    pub fn ends(&self, words: &[&str], code: i32) -> Said {
        let said = self.k(words);
        assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
        said
    }

    /// A verb that runs on beside the test.
    pub fn beside(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// A verb that is killed by SIGKILL at the change of this number from now.
    pub fn killed_at(&self, words: &[&str], change: u64, fault: Fault) {
        let mut child = {
            let mut stage = self.stand.stage();
            let at = stage.faults.changes + change;
            stage.faults.plan.insert(at, fault);
            drop(stage);
            // Held until the process is known: a kill that comes early waits for it.
            let mut pid = self.pid.lock().expect("nobody panics with it");
            let child =
                self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
            *pid = Some(child.id());
            child
        };
        let status = child.wait().expect("it was started");
        assert_eq!(status.code(), None, "{words:?} was to be killed");
    }

    /// What `list` says of the newest execution.
    pub fn listed(&self) -> serde_json::Value {
        let said = self.ends(&["list", "-o", "json"], 0);
        let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).expect("it prints JSON");
        all.last().expect("there is an execution").clone()
    }

    /// The last execution of this workflow.
    pub fn listed_of(&self, workflow: &str) -> serde_json::Value {
        let said = self.ends(&["list", "-o", "json"], 0);
        let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).expect("it prints JSON");
        all.into_iter().rfind(|one| one["workflow"] == workflow).expect("there is one")
    }

    /// How many sealed copies lie beside its event log.
    pub fn sealed_copies(&self) -> usize {
        let state = self.stand.dir().join("state");
        let stores = std::fs::read_dir(&state).expect("it is ours").flatten().map(|store| store.path().join("blobs"));
        stores.flat_map(|blobs| std::fs::read_dir(blobs).into_iter().flatten().flatten()).count()
    }

    /// What `show` says of it.
    pub fn shown(&self) -> serde_json::Value {
        serde_json::from_str(&self.ends(&["show", "-o", "json"], 0).out).expect("it prints JSON")
    }

    /// Whether the trust of every host is the first one again.
    pub fn differs_from_first(&self) -> Vec<String> {
        self.begun.trust_differences(&self.likeness())
    }
}

/// Waits for something that other processes bring about.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    const LIMIT: Duration = Duration::from_secs(120);
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what} did not come");
        std::thread::yield_now();
    }
}
