//! The daemon as a process of its own, with a configuration in a folder of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to serve.
const LIMIT: Duration = Duration::from_secs(60);

/// Writes what holds for all clusters.
pub fn configure(etc: &Path, identity: &Path) {
    fs::create_dir_all(etc.join("clusters")).expect("it is ours");
    let identity = identity.display();
    let main = format!("state_dir = \"../state\"\nsocket = \"../api.sock\"\nidentity = \"{identity}\"\n");
    fs::write(etc.join("config.toml"), main).expect("it is ours");
}

/// Adds a cluster.
pub fn add(etc: &Path, name: &str, inventory: &Path) {
    let text = format!("inventory = \"{}\"\n", inventory.display());
    fs::write(etc.join("clusters").join(format!("{name}.toml")), text).expect("it is ours");
}

/// See the file's sentence. Told to end when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Begins it and waits until it serves.
    pub fn begin(etc: &Path) -> Self {
        Self::begin_with(etc, &[])
    }

    /// The same with these variables.
    pub fn begin_with(etc: &Path, variables: &[(&str, &str)]) -> Self {
        let log = etc.join("daemon.log");
        let file = fs::OpenOptions::new().append(true).create(true).open(&log).expect("it is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
        command.args(["daemon", "--config-dir"]).arg(etc).env_remove("K0ROTATE_IDENTITY");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("the program starts");
        let mut daemon = Self { child, log };
        let (socket, begun) = (etc.join("../api.sock"), Instant::now());
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let ended = daemon.child.try_wait().expect("it was started");
            assert!(ended.is_none() && begun.elapsed() < LIMIT, "it does not serve: {ended:?}: {}", daemon.said());
            std::thread::yield_now();
        }
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that daemons of this folder logged.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid().to_string()]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it was started").is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_ended() {
            // What a test left under way is of no use to anybody.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
