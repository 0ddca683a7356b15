//! What the command line says when it cannot go on: what happened, what was not changed, what to do next.

use crate::commands::Commands;
use crate::exit::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a verb could not keep its promise. Each has a stable code with an entry in `docs/failures.md`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Error {
    /// A flag or an argument is wrong.
    Usage(String),
    /// The inventory cannot be used.
    Inventory(String),
    /// The configuration cannot be used.
    Config(String),
    /// A file of ours cannot be read or written.
    File(String, String),
    /// The identity does not open what is sealed.
    Identity(String),
    /// A CA that was brought cannot be used: its file, and why.
    OwnCa(String, String),
    /// The event log cannot be written or trusted.
    Log(String),
    /// Another process holds the store.
    Held(String),
    /// Another process holds the store and does not answer.
    Silent(String),
    /// No daemon answers where one is configured.
    NoDaemon(String),
    /// Who asks may not do that.
    NoRight(String),
    /// A result could not be printed.
    Unprinted(String),
    /// There is no such execution.
    NoRun(String),
    /// The cluster is held.
    Open(String),
    /// Another execution is open, and what can be done with that.
    Beside(String, Vec<String>),
    /// The word is not allowed now.
    Word(String),
    /// It was not confirmed.
    NotConfirmed(String),
    /// The plan does not fit.
    Digest {
        /// What was asked for.
        asked: String,
        /// What it is now.
        now: String,
    },
    /// A window has no room for what is expected.
    Window(String),
    /// The hosts are not those of the execution.
    Elsewhere(String),
    /// A host could not be looked at.
    Host(String),
    /// Host keys are not known, or not the known ones.
    HostKey(String),
    /// An exported history is broken.
    Broken(String),
    /// An audit is broken, or does not fit its history.
    Audit(String),
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "K0R-0101",
            Self::Inventory(_) => "K0R-0102",
            Self::File(..) => "K0R-0103",
            Self::Identity(_) => "K0R-0104",
            Self::OwnCa(..) => "K0R-0105",
            Self::Config(_) => "K0R-0107",
            Self::Host(_) => "K0R-0201",
            Self::HostKey(_) => "K0R-0202",
            Self::Digest { .. } => "K0R-0301",
            Self::Elsewhere(_) => "K0R-0303",
            Self::NotConfirmed(_) => "K0R-0302",
            Self::Window(_) => "K0R-0304",
            Self::NoRun(_) => "K0R-0401",
            Self::Open(_) | Self::Beside(..) => "K0R-0402",
            Self::Word(_) => "K0R-0403",
            Self::Held(_) => "K0R-0501",
            Self::Silent(_) => "K0R-0502",
            Self::Unprinted(_) => "K0R-0106",
            Self::NoDaemon(_) => "K0R-0701",
            Self::NoRight(_) => "K0R-0702",
            Self::Log(_) => "K0R-0601",
            Self::Broken(_) => "K0R-0602",
            Self::Audit(_) => "K0R-0603",
        }
    }

    /// The exit status.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_)
            | Self::Inventory(_)
            | Self::Config(_)
            | Self::File(..)
            | Self::Identity(_)
            | Self::OwnCa(..) => Exit::Usage,
            Self::Host(_)
            | Self::HostKey(_)
            | Self::NoRun(_)
            | Self::Word(_)
            | Self::NotConfirmed(_)
            | Self::Unprinted(_) => Exit::Refused,
            Self::Digest { .. } | Self::Elsewhere(_) | Self::Broken(_) | Self::Audit(_) => Exit::Differs,
            Self::Open(_) | Self::Beside(..) | Self::Held(_) | Self::Silent(_) => Exit::Held,
            Self::Window(_) => Exit::NotYet,
            Self::NoDaemon(_) | Self::NoRight(_) => Exit::NoDaemon,
            Self::Log(_) => Exit::Log,
        }
    }

    /// What happened, in a sentence, with its code.
    pub fn sentence(&self) -> String {
        format!("error[{}]: {self}", self.code())
    }

    /// All that is printed: what happened, what was not changed, and what to do next, a command last in its line: so it can be copied.
    pub fn told(&self, commands: &Commands) -> String {
        let changed = if matches!(self, Self::Log(_) | Self::Silent(_) | Self::NoDaemon(_) | Self::Unprinted(_)) {
            ""
        } else {
            "\n  nothing was changed"
        };
        format!("{}{changed}\n  help: {}", self.sentence(), self.help(commands))
    }

    fn help(&self, commands: &Commands) -> String {
        let command = |verb: &str| commands.verb(verb, &[]);
        match self {
            Self::Usage(_) => "k0rotate --help, or k0rotate VERB --help".to_owned(),
            Self::Inventory(_) => "mend the inventory where it says, then type the same again".to_owned(),
            Self::Config(_) => format!("mend it where it says, then: {}", commands.verb("config", &["check"])),
            Self::File(path, what) if what.contains("No such file") && path.contains(".y") => {
                "start where k0sctl.yaml lies, or name it with -c FILE".to_owned()
            }
            Self::File(_, what) if what.contains("No such file") => "name a file that is there".to_owned(),
            Self::File(_, what) if what.contains("File exists") => "name one that is not there yet".to_owned(),
            Self::File(..) => "look at the folder's permissions and space".to_owned(),
            Self::Identity(_) => "k0rotate keys new makes one; --identity FILE names the one to use".to_owned(),
            Self::OwnCa(..) => {
                "docs/runbook.md, Make the new trust, says what k0s can use; leave --own-ca out for new ones".to_owned()
            }
            Self::Host(_) => format!("which hosts answer: {}", command("inspect")),
            Self::HostKey(_) => format!(
                "compare it with your provisioning, or record what is seen now: {}",
                commands.verb("inspect", &["--accept-new-host-keys"])
            ),
            Self::Digest { .. } => format!("plan again and read what has changed: {}", command("plan")),
            Self::Window(_) => format!("what is expected, and until when: {}", command("plan")),
            Self::Elsewhere(_) => "name the inventory and the state folder that belong together".to_owned(),
            Self::NotConfirmed(_) => "--yes confirms without a terminal; the way back to a trust that leaked wants a second word besides".to_owned(),
            Self::NoRun(_) => format!("all executions: {}", command("list")),
            Self::Open(_) | Self::Word(_) => format!("what can be done now: {}", command("show")),
            Self::Beside(_, next) => format!("one of\n        {}", next.join("\n        ")),
            Self::Held(_) => {
                let both = ["show", "pause"].map(command).join("\n        ");
                format!("while another process drives:\n        {both}")
            }
            Self::Silent(_) => {
                "see what holds that process up (ps -o stat,wchan -p PID); stopped by a signal it goes on with kill -CONT PID".to_owned()
            }
            Self::NoDaemon(_) => "start it (k0rotate daemon, or its unit); --embedded works on the store in this process".to_owned(),
            Self::NoRight(_) => "who may is in the configuration, under [who]".to_owned(),
            Self::Unprinted(_) => "look at where standard output goes".to_owned(),
            Self::Log(_) => format!("nothing further was started; look at the disk, then: {}", command("resume")),
            Self::Broken(_) => "compare with another copy of the history".to_owned(),
            Self::Audit(_) => "keep the file as it is, and compare with the history (export) and with the collector's copy".to_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what)
            | Self::Inventory(what)
            | Self::Config(what)
            | Self::Host(what)
            | Self::Word(what)
            | Self::Window(what)
            | Self::Open(what)
            | Self::NoRight(what)
            | Self::Beside(what, _) => f.write_str(what),
            Self::File(path, what) | Self::OwnCa(path, what) => write!(f, "{path}: {what}"),
            Self::Elsewhere(what) => write!(f, "this is another cluster: {what}"),
            Self::Identity(what) => write!(f, "the age identity: {what}"),
            Self::Log(what) => write!(f, "the event log: {what}"),
            Self::Held(what) => write!(f, "the store is held by another process: {what}"),
            Self::NoDaemon(what) => write!(f, "no daemon answers: {what}"),
            Self::Silent(who) => write!(f, "{who} holds the store and does not answer"),
            Self::Unprinted(why) => write!(f, "the result could not be written: {why}"),
            Self::HostKey(hosts) => write!(f, "{hosts}: the host key is not known here, or not the known one"),
            Self::NoRun(what) => write!(f, "no execution {what}"),
            Self::NotConfirmed(what) => write!(f, "not confirmed: {what}"),
            Self::Digest { asked, now } => write!(f, "the plan's digest is {now}, not {asked}"),
            Self::Broken(what) => write!(f, "the history is broken: {what}"),
            Self::Audit(what) => write!(f, "the audit is not as it was written: {what}"),
        }
    }
}

impl std::error::Error for Error {}
