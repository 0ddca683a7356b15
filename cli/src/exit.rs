//! What an exit status says; frozen.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The verb's promise is kept.
    Done,
    /// Failed or refused; nothing was changed.
    Refused,
    /// Usage or configuration.
    Usage,
    /// Needs a person: stuck, parked, paused.
    NeedsPerson,
    /// Ended at the first trust instead.
    RolledBack,
    /// Held by someone else.
    Held,
    /// No daemon, or no right.
    NoDaemon,
    /// Done, with hosts left behind.
    WithLeft,
    /// The world differs: digest, expiry, drift, split, broken chain.
    Differs,
    /// Not yet: window, approval, timeout.
    NotYet,
    /// The event log cannot be written or trusted.
    Log,
    /// Left by a second Ctrl-C, or otherwise interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NeedsPerson => 3,
            Self::RolledBack => 4,
            Self::Held => 5,
            Self::NoDaemon => 6,
            Self::WithLeft => 7,
            Self::Differs => 8,
            Self::NotYet => 9,
            Self::Log => 10,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
