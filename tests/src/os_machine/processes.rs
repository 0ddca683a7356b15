//! Real processes for the model's programs: a process that only stands there and is spoken for by a thread of k0s.
//!
//! Its pid, name, environment and signals are real; what it would do is done in the process of k0s, which ends it or notices that
//! somebody else did. Containers are not spoken for: they are whole programs of their own, since they outlive k0s.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The marker of all that k0s starts.
pub const MARKER: &str = "_K0S_MANAGED";
/// Set for a process that only stands there: `ends` or `stays` at SIGTERM once k0s is gone.
pub const STANDS: &str = "K0S_STANDIN_STANDS";

/// What is known of a process.
#[derive(Default)]
pub struct Known {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often SIGTERM came.
    terms: u32,
    dead: bool,
    stdin: Option<ChildStdin>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SIGTERM came.
    pub fn told(&self) -> bool {
        self.lock().terms > 0
    }

    /// Notes a SIGTERM.
    pub fn tell(&self) {
        self.lock().terms += 1;
        self.changed.notify_all();
    }

    /// Whether it has ended.
    pub fn dead(&self) -> bool {
        self.lock().dead
    }

    fn die(&self) {
        self.lock().dead = true;
        self.changed.notify_all();
    }

    /// Waits for a signal, the end, or the time, whichever comes first.
    pub fn wait(&self, limit: Option<Duration>) {
        let state = self.lock();
        let before = state.terms;
        let goes_on = |s: &mut State| !s.dead && s.terms == before;
        if let Some(limit) = limit {
            drop(self.changed.wait_timeout_while(state, limit, goes_on).unwrap_or_else(PoisonError::into_inner));
        } else {
            drop(self.changed.wait_while(state, goes_on).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Lets the process end with a status.
    pub fn exit(&self, status: i32) {
        if let Some(mut stdin) = self.lock().stdin.take() {
            let _ = writeln!(stdin, "{status}");
        }
    }
}

/// Processes that this k0s started.
#[derive(Default)]
pub struct Processes(Mutex<BTreeMap<u32, Arc<Known>>>);

impl Processes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them.
    pub fn get(&self, pid: u32) -> Option<Arc<Known>> {
        self.lock().get(&pid).cloned()
    }

    /// Enters a process that is there already: this one.
    pub fn enter(&self, pid: u32) -> Arc<Known> {
        self.lock().entry(pid).or_default().clone()
    }

    /// Starts one; `ended` is called when it has ended.
    pub fn start(&self, command: &mut Command, ended: impl FnOnce(u32) + Send + 'static) -> std::io::Result<u32> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pid = child.id();
        let known = self.enter(pid);
        known.lock().stdin = child.stdin.take();
        std::thread::spawn(move || {
            watch(&mut child, &known);
            ended(pid);
        });
        Ok(pid)
    }
}

/// A letter for each SIGTERM, then the end.
fn watch(child: &mut Child, known: &Known) {
    if let Some(mut stdout) = child.stdout.take() {
        let mut letter = [0];
        while matches!(stdout.read(&mut letter), Ok(1)) {
            known.tell();
        }
    }
    let _ = child.wait();
    known.die();
}

/// How a process that stands for a program is started: by a link of the program's name, from which the kernel takes its own.
pub fn standing(bin: &str, exe: &str, at_term: &str) -> std::io::Result<Command> {
    let path = format!("{bin}/{exe}");
    std::fs::create_dir_all(bin)?;
    if !std::path::Path::new(&path).exists() {
        let _ = std::fs::remove_file(&path);
        let _ = symlink(std::env::current_exe()?, &path);
    }
    let mut command = Command::new(path);
    command.env(STANDS, at_term);
    Ok(command)
}

/// What such a process does.
pub fn stand() -> ! {
    let stays = std::env::var(STANDS).is_ok_and(|at_term| at_term == "stays");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status = runtime.block_on(async move {
        let mut terms = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a handler");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
            let _ = tell.send(line.trim().parse::<i32>().ok());
        });
        let mut alone = false;
        loop {
            tokio::select! {
                _ = terms.recv() => {
                    let heard = std::io::stdout().write_all(b"T").and_then(|()| std::io::stdout().flush()).is_ok();
                    if (alone || !heard) && !stays {
                        return 0;
                    }
                }
                status = told.recv(), if !alone => match status.flatten() {
                    Some(status) => return status,
                    // k0s is gone: we are a leftover.
                    None => alone = true,
                },
            }
        }
    });
    std::process::exit(status)
}

/// Sends SIGTERM or SIGKILL.
pub fn signal(pid: u32, signal: i32) {
    let signal = if signal == 9 { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process lives; one that nobody waited for yet does not.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Its name.
pub fn comm(pid: u32) -> Option<String> {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    alive(pid).then(|| comm.trim_end().to_owned())
}
