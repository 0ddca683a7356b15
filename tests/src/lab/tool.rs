//! The tool in a process of its own, on a lab's k0sctl.yaml: verbs run, troubled in every phase, looked at from outside.

use super::Lab;
use k0rotate::socket;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_workflows::phases::{self, Phase};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tokio::process::Child;

/// Between looks at the history for a moment to kill.
const LOOK: Duration = Duration::from_millis(20);
/// A rotation that was troubled in each phase ends in fewer lives than this.
const MOST_LIVES: usize = 40;
/// Exit statuses after which `resume` goes on: it needs a person, or was interrupted.
const NOT_ENDED: [i32; 2] = [3, 130];

/// The binary with the lab's inventory, and a state folder and an identity of its own.
pub struct Tool<'a> {
    lab: &'a Lab,
    binary: &'a Path,
    dir: tempfile::TempDir,
}

/// How a series of lives ended.
pub struct Lives {
    /// The exit status of the last one.
    pub code: Option<i32>,
    /// Phases in which there was trouble.
    pub hit: BTreeSet<String>,
    /// How many times it needed a person, who let it go on.
    pub resumed: usize,
    /// What the last one said.
    pub said: String,
}

/// Fails where there was no trouble in one of these phases.
///
/// # Panics
/// So it does.
pub fn hit_all_of(phases: &[Phase], hit: &BTreeSet<String>) {
    let missed: Vec<&str> = phases.iter().map(|(slug, _)| *slug).filter(|slug| !hit.contains(*slug)).collect();
    assert!(missed.is_empty(), "no trouble in {missed:?}, but in {hit:?}");
}

/// Phases before the wait for finalize.
pub fn before_the_wait() -> Vec<Phase> {
    phases::FORWARD.into_iter().take_while(|phase| *phase != phases::VERIFY_AGAIN).collect()
}

impl<'a> Tool<'a> {
    /// Makes the identity by the tool's own verb.
    pub fn new(lab: &'a Lab, binary: &'a Path) -> Self {
        let tool = Self { lab, binary, dir: tempfile::tempdir().expect("a temporary folder") };
        let identity = tool.identity();
        let made = tool.verb(&["keys", "new", "--to", identity.to_str().expect("a UTF-8 path")]);
        assert!(made.status.success(), "{made:?}");
        tool
    }

    fn identity(&self) -> PathBuf {
        self.dir.path().join("identity")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command
            .args(words)
            .arg("--config")
            .arg(self.lab.dir().join("k0sctl.yaml"))
            .env("K0ROTATE_STATE_DIR", self.dir.path())
            .env("K0ROTATE_IDENTITY", self.identity())
            .env("SSH_KNOWN_HOSTS", self.lab.dir().join("known_hosts"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// A verb, run to its end.
    pub fn verb(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the binary runs")
    }

    /// A verb, run to its end, that must exit so; what it printed.
    pub fn exits(&self, words: &[&str], code: i32) -> String {
        let output = self.verb(words);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?} said:\n{said}");
        said
    }

    /// Runs a changing verb, kills it once in every phase, and goes on with `resume` until it ends by itself.
    pub async fn killed_in_every_phase(&self, verb: &str) -> Lives {
        self.troubled_in_every_phase(&[verb], BTreeSet::new(), async |_, child| kill(child).await).await
    }

    /// Runs a changing verb, makes trouble once in every phase but these, and goes on with `resume` where it needs a person or was
    /// killed, until it ends. `trouble` says whether it came to pass.
    pub async fn troubled_in_every_phase(
        &self,
        verb: &[&str],
        but: BTreeSet<String>,
        mut trouble: impl AsyncFnMut(&str, &mut Child) -> bool,
    ) -> Lives {
        // Phases of an earlier leg do not count.
        let mut seen = &self.phases_at_rest() | &but;
        let (mut hit, mut resumed) = (BTreeSet::new(), 0);
        let mut verb = verb;
        for _ in 0..MOST_LIVES {
            let mut child = self.begin(verb);
            verb = &["resume"];
            while let Some(phase) = self.next_phase_of(&mut child, &seen).await {
                if trouble(&phase, &mut child).await {
                    hit.insert(phase.clone());
                    seen.insert(phase);
                }
            }
            let output = child.wait_with_output().await.expect("a child can be waited for");
            match output.status.code() {
                Some(code) if !NOT_ENDED.contains(&code) => {
                    return Lives { code: Some(code), hit, resumed, said: text(&output) };
                }
                Some(_) => resumed += 1,
                None => {}
            }
        }
        let show = text(&self.verb(&["show"]));
        panic!("no end after {MOST_LIVES} lives; troubled in {hit:?}\n{show}");
    }

    fn begin(&self, verb: &[&str]) -> Child {
        let words = [verb, &["--yes", "--reason", "a test"]].concat();
        let mut command = tokio::process::Command::from(self.command(&words));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("the binary runs")
    }

    /// The next phase in which a step has begun; `None` if the process ended before.
    async fn next_phase_of(&self, child: &mut Child, seen: &BTreeSet<String>) -> Option<String> {
        tokio::select! {
            status = child.wait() => { status.expect("a child can be waited for"); None }
            phase = self.next_phase(seen) => Some(phase),
        }
    }

    /// Waits until a step of a phase that is not among these has begun.
    async fn next_phase(&self, seen: &BTreeSet<String>) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            // Nobody answers while a process begins or ends.
            let begun = self.phases_while_driven().await.unwrap_or_default();
            if let Some(phase) = begun.difference(seen).next() {
                return phase.clone();
            }
        }
    }

    async fn phases_while_driven(&self) -> Option<BTreeSet<String>> {
        let cluster = std::fs::read_dir(self.dir.path()).ok()?.flatten().find(|e| socket::path(&e.path()).exists())?;
        let socket = socket::Address::beside(&cluster.path());
        let all: Vec<ExecutionId> = socket::get(&socket, "/executions").await.ok()?;
        let history: Vec<Record> = socket::history(&socket, all.last()?).await.ok()?;
        Some(phases(&history))
    }

    fn phases_at_rest(&self) -> BTreeSet<String> {
        let output = self.verb(&["history", "-o", "json"]);
        // Before the first rotation there is no history.
        let history: Vec<Record> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let ended = history.iter().any(|r| matches!(r.event, Event::Completed { .. } | Event::RolledBack { .. }));
        if ended { BTreeSet::new() } else { phases(&history) }
    }
}

/// Phases in which a step has begun.
fn phases(history: &[Record]) -> BTreeSet<String> {
    let phase = |r: &Record| match &r.event {
        Event::StepStarted { step, .. } => step.as_str().split('/').next().map(str::to_owned),
        _ => None,
    };
    history.iter().filter_map(phase).collect()
}

/// Whether it was the signal that ended it.
pub async fn kill(child: &mut Child) -> bool {
    const SIGKILL: i32 = 9;
    // It may have ended by itself in the meantime.
    let _ = child.start_kill();
    child.wait().await.expect("a child can be waited for").signal() == Some(SIGKILL)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat()
}
