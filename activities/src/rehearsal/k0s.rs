//! k0s and the programs that it runs, written once over [`super::machine::Machine`].
//!
//! Modules in reading order.

pub mod api;
pub mod apiserver;

/// A program with what it keeps in memory.
#[derive(Clone, Debug)]
pub enum Program {
    /// Something that only stays.
    Idle(Named),
}

/// How a process is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Command name, at most 15 bytes.
    pub comm: &'static str,
    /// Name of the executable.
    pub exe: &'static str,
}
