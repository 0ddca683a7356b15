//! The command line of k0s, with the texts that a real one prints (goldens).

mod etcd;
mod kubectl;
mod status;
mod token;

pub use token::bootstrap_secret;

use super::setup::{RUN, Setup};
use super::{certs, container};
use crate::fleet::KeyKind;
use crate::host::Output;
use crate::rehearsal::machine::Machine;
use serde_json::Value;
use std::fmt::Write as _;

/// What a command came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It has ended.
    Done(Output),
    /// It waits for something and may wait for ever; what it has printed on standard error so far.
    Waits(Vec<u8>),
    /// The model does not know this command line.
    Unknown,
}

/// It ended well.
pub fn printed(text: impl Into<Vec<u8>>) -> Outcome {
    Outcome::Done(Output { status: 0, stdout: text.into(), stderr: Vec::new() })
}

/// It failed; `text` is a line of standard error.
pub fn failed(text: &str) -> Outcome {
    Outcome::Done(Output { status: 1, stdout: Vec::new(), stderr: format!("{text}\n").into_bytes() })
}

/// JSON as Go prints it, with this indent.
fn indented(value: &Value, indent: &[u8]) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("memory takes every write");
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Error: …`.
fn error(text: &str) -> Outcome {
    failed(&format!("Error: {text}"))
}

/// Runs `k0s ARGS…`. `version` is that of the binary.
pub fn run(m: &mut dyn Machine, version: &str, args: &[String], stdin: &[u8]) -> Outcome {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let setup = current(m, version, args);
    match words.as_slice() {
        ["version"] => printed(format!("{version}\n")),
        ["version", "-j" | "--json"] => printed(version_json(version)),
        ["status", "components", ..] => status::components(m),
        ["status", rest @ ..] => status::status(m, &setup, rest),
        ["token", rest @ ..] => token::token(m, &setup, rest),
        ["etcd", "member-list", ..] => etcd::member_list(m, &setup),
        ["backup", rest @ ..] => etcd::backup(m, &setup, rest),
        ["kubectl" | "kc", rest @ ..] => kubectl::kubectl(m, &setup, rest, stdin),
        ["ctr", "-n" | "--namespace", "k8s.io", rest @ ..] => ctr(m, rest),
        ["controller", .., "--init-only"] | ["controller", "--init-only", ..] => init_only(m, &setup),
        ["stop"] if !running(m) => error("already stopped"),
        ["start"] if running(m) => error("already running"),
        _ => Outcome::Unknown,
    }
}

fn version_json(version: &str) -> String {
    let kubernetes = version.trim_start_matches('v').split('+').next().unwrap_or_default();
    format!("{{\n   \"k0s\": \"{version}\",\n   \"kubernetes\": \"{kubernetes}\",\n   \"etcd\": \"3.6.14\"\n}}\n")
}

/// Of the k0s that runs, by its runtime configuration; else of the flags alone.
fn current(m: &dyn Machine, version: &str, args: &[String]) -> Setup {
    let runtime = runtime(m);
    let own = runtime.as_ref().and_then(|config| config.pointer("/spec/args")).and_then(Value::as_array);
    let own: Option<Vec<String>> = own.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let stopped = || {
        let role = if m.exists("/etc/systemd/system/k0sworker.service") { "worker" } else { "controller" };
        [vec!["k0s".to_owned(), role.to_owned()], args.to_vec()].concat()
    };
    Setup::of(m, version, &own.unwrap_or_else(stopped), KeyKind::P256)
}

fn runtime(m: &dyn Machine) -> Option<Value> {
    let text = m.read(&format!("{RUN}/k0s.yaml"))?;
    serde_saphyr::from_str(&String::from_utf8_lossy(&text)).ok()
}

/// Pid of the main process, if it lives.
fn main_pid(m: &dyn Machine) -> Option<u32> {
    let pid = runtime(m)?.pointer("/spec/pid")?.as_u64()?;
    u32::try_from(pid).ok().filter(|pid| m.alive(*pid))
}

fn running(m: &dyn Machine) -> bool {
    main_pid(m).is_some()
}

/// What asking the status socket fails with, if it does.
fn no_socket(m: &dyn Machine, what: &str) -> Option<String> {
    let path = format!("{RUN}/status.sock");
    let why = if !m.exists(&path) {
        "no such file or directory"
    } else if running(m) {
        return None;
    } else {
        "connection refused"
    };
    Some(format!(
        "status: can't get {what:?} via {path:?}: Get \"http://localhost/{what}\": dial unix {path}: connect: {why}"
    ))
}

/// `--init-only` (from 1.33 on): certificates as a start would make them, and nothing else (lab §23).
fn init_only(m: &mut dyn Machine, setup: &Setup) -> Outcome {
    if running(m) {
        return error("failed to initialize runtime config: another k0s process is still running");
    }
    match certs::init(m, setup) {
        Ok(()) => printed(""),
        Err(fatal) => error(&fatal),
    }
}

/// The embedded containerd's client.
fn ctr(m: &mut dyn Machine, args: &[&str]) -> Outcome {
    if !m.exists(&format!("{RUN}/containerd.pid")) {
        return failed(
            "ctr: failed to dial \"/run/k0s/containerd.sock\": connection error: dial unix /run/k0s/containerd.sock: connect: no such file or directory",
        );
    }
    let task = |m: &dyn Machine, id: &str| {
        let pid = m.read(&format!("{}/{id}/init.pid", container::TASKS))?;
        String::from_utf8_lossy(&pid).parse::<u32>().ok().filter(|pid| m.alive(*pid))
    };
    match args {
        ["task" | "tasks" | "t", "kill", "-s" | "--signal", signal, id] => match task(m, id) {
            None => failed(&format!("ctr: task {id} not found: not found")),
            Some(pid) => {
                // PID 1 of a container ignores what it has no handler for (lab §29).
                if matches!(*signal, "SIGKILL" | "9" | "KILL") {
                    m.signal(pid, 9);
                }
                printed("")
            }
        },
        ["task" | "tasks" | "t", "ls" | "list"] => {
            let mut text = format!("{:<66}{:<8}{}\n", "TASK", "PID", "STATUS");
            for id in m.list(container::TASKS) {
                if let Some(pid) = task(m, &id) {
                    let _ = writeln!(text, "{id:<66}{pid:<8}RUNNING");
                }
            }
            printed(text)
        }
        ["containers" | "container" | "c", "ls" | "list", ..] => {
            let quiet = args.contains(&"-q");
            let mut text =
                if quiet { String::new() } else { format!("{:<68}{:<38}{}\n", "CONTAINER", "IMAGE", "RUNTIME") };
            for id in m.list(container::TASKS) {
                let rest = if quiet { "" } else { "  model.local  io.containerd.runc.v2" };
                let _ = writeln!(text, "{id}{rest}");
            }
            printed(text)
        }
        ["containers" | "container" | "c", "info", id] => {
            match m.read(&format!("{}/{id}/config.json", container::TASKS)) {
                Some(config) => printed(config.to_vec()),
                None => failed(&format!("ctr: container {id:?} in namespace \"k8s.io\": not found")),
            }
        }
        _ => Outcome::Unknown,
    }
}
