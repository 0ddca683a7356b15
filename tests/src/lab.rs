//! Machines of `tests/lab` for a test: booted when asked for, gone when dropped.

pub mod fleet;
pub mod stand;
pub mod tool;
pub mod trouble;

use crate::tier::{can_boot_machines, skip};
use k0rotate_activities::host::ssh::{HostKeys, Reach, SshDir, SshHost, SshOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Set in the process that runs a test where the machines are reached.
const INSIDE: &str = "K0ROTATE_LAB_INSIDE";

/// How much faster than a real k0s the stand-in is.
const SCALE: &str = "K0S_TIME_SCALE";

/// Flags by which the one who runs a test or a bench asks to see what it says.
const SHOWN: [&str; 2] = ["--nocapture", "--bench"];

/// A set of machines.
pub struct Lab {
    name: String,
    dir: PathBuf,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab")
}

impl Lab {
    /// Boots `C+W` machines for a test, with a k0s if one is given. `None`: they can't be booted here, which was said, or this
    /// process only had to run the test in the machines' network, which was done.
    pub fn boot(test: &str, machines: &str, k0s: Option<&Path>) -> Option<Self> {
        Self::boot_with(test, machines, k0s, &[])
    }

    /// The same, with variables for `tests/lab up`.
    pub fn boot_with(test: &str, machines: &str, k0s: Option<&Path>, set: &[(&str, &str)]) -> Option<Self> {
        if !can_boot_machines() {
            skip(test, "needs root on Debian, to boot machines");
            return None;
        }
        // Two checkouts on one machine have labs of their own.
        let own = test.bytes().chain(env!("CARGO_MANIFEST_DIR").bytes());
        let name = format!("t{}", own.fold(5381_u32, |h, b| h.wrapping_mul(33) ^ u32::from(b)) % 100_000);
        if std::env::var_os(INSIDE).is_some() {
            let dir = ask(&name, &["path"]);
            return Some(Self { name, dir: PathBuf::from(dir) });
        }
        let k0s: Vec<&str> = k0s.iter().map(|p| p.to_str().expect("a UTF-8 path")).collect();
        let lab = Self { dir: PathBuf::new(), name };
        ask_with(&lab.name, &[&["up", machines][..], &k0s].concat(), set);
        lab.run_inside(test);
        None
    }

    /// Runs the test again in a process in the machines' network.
    fn run_inside(&self, test: &str) {
        let me = std::env::current_exe().expect("a test knows its executable");
        let mut inside = Command::new(script());
        inside
            .env("K0ROTATE_LAB", &self.name)
            .env(INSIDE, "1")
            .args(["run", me.to_str().expect("a UTF-8 path"), "--exact", test, "--nocapture"])
            .stdin(Stdio::null());
        // Said where it matters or is asked for only, so that nobody counts the test twice.
        if std::env::args().any(|flag| SHOWN.contains(&flag.as_str())) {
            inside.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        }
        let ended = inside.output().expect("tests/lab runs");
        let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(ended.status.success(), "{test} failed where the machines are reached:\n{said}");
    }

    /// Calls `tests/lab`; fails if it does.
    pub fn ask(&self, args: &[&str]) -> String {
        ask(&self.name, args)
    }

    /// The folder with the inventory and the key.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How machine `n` is reached: as `ops`, who uses sudo.
    pub fn options(&self, n: usize) -> SshOptions {
        SshOptions {
            target: Reach {
                address: address(n),
                user: Some("ops".to_owned()),
                port: None,
                key: Some(self.dir.join("key")),
            },
            host_keys: HostKeys::Known,
            known_hosts: vec![self.dir.join("known_hosts")],
            ..SshOptions::default()
        }
    }

    /// Machine `n` over SSH.
    pub fn host(&self, n: usize) -> SshHost {
        let dir = SshDir::new(None).expect("a folder for sockets");
        SshHost::over_ssh(&format!("h{n}"), self.options(n), Arc::new(dir))
    }
}

/// The address of machine `n`.
pub fn address(n: usize) -> String {
    format!("10.77.0.{}", 10 + n)
}

fn ask(name: &str, args: &[&str]) -> String {
    ask_with(name, args, &[])
}

fn ask_with(name: &str, args: &[&str], set: &[(&str, &str)]) -> String {
    let mut command = Command::new(script());
    if std::env::var_os(SCALE).is_none() {
        command.env(SCALE, "3");
    }
    command.envs(set.iter().copied());
    let output = command.env("K0ROTATE_LAB", name).args(args).stdin(Stdio::null()).output();
    let output = output.expect("tests/lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/lab {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os(INSIDE).is_none() && std::env::var_os("K0ROTATE_LAB_KEEP").is_none() {
            ask(&self.name, &["down"]);
        }
    }
}
