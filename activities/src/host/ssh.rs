//! Hosts reached over SSH, or this machine itself, through constant scripts for `sh`.

mod changes;
mod config;
mod frame;
mod link;
mod listing;
mod local;
mod mark;
mod session;
mod shell_host;
mod tls;

#[cfg(test)]
mod tests;

pub use config::{HostKeys, Reach, SshDir, SshOptions};
pub use local::Local;
pub use session::Ssh;
pub use shell_host::ShellHost;

/// A host over SSH.
pub type SshHost = ShellHost<Ssh>;
/// The machine that we run on (`localhost: enabled` in k0sctl's inventory).
pub type LocalHost = ShellHost<Local>;
