//! `systemctl` on a simulated machine.

use super::World;
use super::commands::output;
use super::unit::{Active, Unit};
use crate::host::Output;
use crate::rehearsal::k0s::times;
use k0rotate_engine::clock::Timestamp;
use std::fmt::Write as _;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Stop,
    Restart,
}

/// What became of a command line.
pub(super) enum Answer {
    Done(Output),
    Waits(Asked),
    Unknown,
}

fn done(status: i32, stdout: &str) -> Answer {
    Answer::Done(output(status, stdout, ""))
}

impl World {
    pub(super) fn systemctl(&mut self, host: usize, args: &[String]) -> Answer {
        let words: Vec<&str> =
            args.iter().map(String::as_str).filter(|arg| !matches!(*arg, "--quiet" | "-q" | "--no-pager")).collect();
        if words == ["daemon-reload"] {
            self.reload(host);
            return done(0, "");
        }
        if words == ["reboot"] {
            let boot_id = self.uuid();
            self.hosts[host].power_off();
            self.hosts[host].power_on(self.now, boot_id);
            return done(0, "");
        }
        let no_block = words.contains(&"--no-block");
        let words: Vec<&str> = words.into_iter().filter(|word| *word != "--no-block").collect();
        let Some(unit) = words.last().map(|unit| unit.trim_end_matches(".service")) else { return Answer::Unknown };
        if unit != self.hosts[host].unit.name {
            return foreign(&words, unit);
        }
        match words.as_slice() {
            ["start", _] => {
                self.start_unit(host);
                done(0, "")
            }
            ["stop" | "restart", _] => {
                let asked = if words[0] == "stop" { Asked::Stop } else { Asked::Restart };
                self.stop_unit(host);
                if no_block && asked == Asked::Stop {
                    return done(0, "");
                }
                Answer::Waits(asked)
            }
            ["reset-failed", _] => {
                let unit = &mut self.hosts[host].unit;
                if unit.active == Active::Failed {
                    unit.active = Active::Inactive;
                }
                done(0, "")
            }
            ["enable" | "disable", _] => {
                self.hosts[host].unit.enabled = words[0] == "enable";
                done(0, "")
            }
            ["is-enabled", _] if self.hosts[host].unit.enabled => done(0, "enabled\n"),
            ["is-enabled", _] => done(1, "disabled\n"),
            ["is-active", _] => {
                let state = self.hosts[host].unit.state();
                done(if state == "active" { 0 } else { 3 }, &format!("{state}\n"))
            }
            ["show", "-p", properties, _] => self.show(host, properties),
            ["show", flag, _] if flag.starts_with("--property=") => self.show(host, &flag["--property=".len()..]),
            ["cat", _] => done(0, &self.hosts[host].unit.loaded.join("\n")),
            _ => Answer::Unknown,
        }
    }

    fn show(&self, host: usize, properties: &str) -> Answer {
        let (unit, booted) = (&self.hosts[host].unit, self.hosts[host].up_from);
        let mut text = String::new();
        for property in properties.split(',') {
            let Some(value) = unit.property(property, booted) else { return Answer::Unknown };
            let _ = writeln!(text, "{property}={value}");
        }
        done(0, &text)
    }
}

/// A unit that is not there.
fn foreign(words: &[&str], unit: &str) -> Answer {
    match words {
        ["is-active", _] => done(3, "inactive\n"),
        ["is-enabled", _] => Answer::Done(output(
            1,
            "",
            &format!("Failed to get unit file state for {unit}.service: No such file or directory\n"),
        )),
        ["show", "-p", properties, _] => {
            let value = |p: &str| match p {
                "LoadState" => "not-found",
                "ActiveState" => "inactive",
                "SubState" => "dead",
                "MainPID" => "0",
                _ => "",
            };
            let lines: Vec<String> = properties.split(',').map(|p| format!("{p}={}\n", value(p))).collect();
            done(0, &lines.concat())
        }
        ["start" | "restart" | "stop", _] => Answer::Done(output(
            5,
            "",
            &format!("Failed to {} {unit}.service: Unit {unit}.service not found.\n", words[0]),
        )),
        _ => Answer::Unknown,
    }
}

impl Unit {
    fn state(&self) -> &'static str {
        match self.active {
            Active::Inactive => "inactive",
            Active::Running => "active",
            Active::Stopping(_) => "deactivating",
            Active::Restarting(_) => "activating",
            Active::Failed => "failed",
        }
    }

    fn property(&self, name: &str, booted: Option<Timestamp>) -> Option<String> {
        let sub = match self.active {
            Active::Inactive => "dead",
            Active::Running => "running",
            Active::Stopping(_) => "stop-sigterm",
            Active::Restarting(_) => "auto-restart",
            Active::Failed => "failed",
        };
        let started = self.started.map(times::systemd).unwrap_or_default();
        let since_boot = |t: Timestamp| t.0.saturating_sub(booted.map_or(0, |b| b.0)) * 1000;
        Some(match name {
            "ActiveState" => self.state().to_owned(),
            "SubState" => sub.to_owned(),
            "LoadState" => if self.loaded.is_empty() { "not-found" } else { "loaded" }.to_owned(),
            "MainPID" => self.main.unwrap_or(0).to_string(),
            "NRestarts" => self.restarts.to_string(),
            "ExecMainStartTimestamp" | "ActiveEnterTimestamp" => started,
            // Systemd counts from the boot; 1 s passes before anything starts.
            "ExecMainStartTimestampMonotonic" => self.started.map_or(0, |t| since_boot(t) + 1_000_000).to_string(),
            "ExecMainStatus" => self.status.to_string(),
            "ExecMainCode" => match self.result {
                "signal" | "timeout" => "2",
                "exit-code" => "1",
                _ => "0",
            }
            .to_owned(),
            "Result" => self.result.to_owned(),
            "UnitFileState" => if self.enabled { "enabled" } else { "disabled" }.to_owned(),
            "InvocationID" => self.invocation.clone(),
            "KillMode" => "process".to_owned(),
            "Restart" => "always".to_owned(),
            _ => return None,
        })
    }
}
