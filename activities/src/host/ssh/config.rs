//! How a host is reached, and the ssh configuration made of it, which includes the user's own.

use crate::host::HostError;
use std::fmt::Write as _;
use std::fs::{self, DirEntry, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest folder that leaves room for the name of a control socket (108 bytes in all).
const LONGEST_DIR: usize = 44;

/// How such a folder is called, and the file in it that its owner keeps locked.
const PREFIX: &str = "k0rotate-";
const IN_USE: &str = "in-use";

/// A private folder for control sockets and generated configurations; gone when dropped. What a killed process left is taken away by the
/// next one.
#[derive(Debug)]
pub struct SshDir {
    dir: tempfile::TempDir,
    _in_use: File,
}

impl SshDir {
    /// Makes it in `base`, by default where sockets of this user belong.
    pub fn new(base: Option<&Path>) -> io::Result<Self> {
        let base = base.map_or_else(default_base, Path::to_owned);
        let private = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(&base)?;
        // It gets its name only once it is locked: in between nobody else may find it free.
        let (new, named) = (dir.path().join("locked"), dir.path().join(IN_USE));
        let in_use = File::create(&new)?;
        in_use.try_lock()?;
        fs::rename(new, named)?;
        remove_abandoned(&base, in_use.metadata()?.uid());
        Ok(Self { dir, _in_use: in_use })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes this user's folders that nobody holds any more. The connections of a killed process end by themselves.
fn remove_abandoned(base: &Path, user: u32) {
    let own = |entry: &DirEntry| {
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        named && entry.metadata().is_ok_and(|at| at.is_dir() && at.uid() == user)
    };
    for entry in fs::read_dir(base).into_iter().flatten().flatten().filter(own) {
        let free = File::open(entry.path().join(IN_USE)).is_ok_and(|held| held.try_lock().is_ok());
        if free {
            // Another process may be as far as this one.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn default_base() -> PathBuf {
    let short = |p: &PathBuf| p.is_absolute() && p.as_os_str().len() <= LONGEST_DIR && p.is_dir();
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(short).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// What becomes of a host key that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HostKeys {
    /// It is refused.
    #[default]
    Known,
    /// It is recorded if the host has none yet; a changed one is refused.
    AcceptNew,
}

/// An SSH server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Address, name or alias of the user's configuration.
    pub address: String,
    /// User; else what the user's configuration says.
    pub user: Option<String>,
    /// Port; else what the user's configuration says.
    pub port: Option<u16>,
    /// Private key; else the agent and what the user's configuration says.
    pub key: Option<PathBuf>,
}

/// How a host is reached.
#[derive(Clone, Debug, Default)]
pub struct SshOptions {
    /// The host.
    pub target: Reach,
    /// Hosts to go through, the one next to us first.
    pub bastions: Vec<Reach>,
    /// What becomes of unknown host keys.
    pub host_keys: HostKeys,
    /// Files of known hosts, new ones go into the first; empty: ssh's own.
    pub known_hosts: Vec<PathBuf>,
    /// Configurations to include, first one wins: the user's, then the system's.
    pub include: Vec<PathBuf>,
    /// Further options of ssh_config, as k0sctl's `openSSH.options` has them; they win over all others.
    pub options: Vec<(String, String)>,
}

impl SshOptions {
    /// The user's and the system's configuration, where they exist.
    pub fn usual_includes() -> Vec<PathBuf> {
        let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/config"));
        user.into_iter().chain([PathBuf::from("/etc/ssh/ssh_config")]).filter(|p| p.is_file()).collect()
    }
}

/// Options that hold for the host and all bastions, whatever the user's configuration says: nothing may be asked, forwarded or
/// run besides what we run.
const ALWAYS: [&str; 8] = [
    "BatchMode yes",
    "RemoteCommand none",
    "RequestTTY no",
    "PermitLocalCommand no",
    "ForwardAgent no",
    "ForwardX11 no",
    "LogLevel INFO",
    "ServerAliveCountMax 3",
];

/// The generated configuration.
pub fn text(options: &SshOptions) -> Result<String, HostError> {
    let mut text = String::from("Host *\n");
    for (key, value) in &options.options {
        let _ = writeln!(text, "  {} {}", plain(key)?, single_line(value)?);
    }
    for line in ALWAYS {
        let _ = writeln!(text, "  {line}");
    }
    let strict = if options.host_keys == HostKeys::Known { "yes" } else { "accept-new" };
    let _ = writeln!(text, "  StrictHostKeyChecking {strict}");
    if !options.known_hosts.is_empty() {
        let files = options.known_hosts.iter().map(|p| quoted(p)).collect::<Result<Vec<_>, _>>()?;
        let _ = writeln!(text, "  UserKnownHostsFile {}", files.join(" "));
    }
    block(&mut text, &options.target)?;
    if !options.bastions.is_empty() {
        let hops = options.bastions.iter().map(hop).collect::<Result<Vec<_>, _>>()?;
        let _ = writeln!(text, "  ProxyJump {}", hops.join(","));
    }
    for bastion in &options.bastions {
        block(&mut text, bastion)?;
    }
    for file in &options.include {
        let _ = writeln!(text, "Host *\n  Include {}", quoted(file)?);
    }
    Ok(text)
}

fn block(text: &mut String, reach: &Reach) -> Result<(), HostError> {
    let _ = writeln!(text, "Host {}", plain(&reach.address)?);
    if let Some(user) = &reach.user {
        let _ = writeln!(text, "  User {}", plain(user)?);
    }
    if let Some(port) = reach.port {
        let _ = writeln!(text, "  Port {port}");
    }
    if let Some(key) = &reach.key {
        let _ = writeln!(text, "  IdentityFile {}\n  IdentitiesOnly yes", quoted(key)?);
    }
    Ok(())
}

fn hop(reach: &Reach) -> Result<String, HostError> {
    let address = plain(&reach.address)?;
    let user = reach.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
    let port = reach.port.map_or_else(String::new, |port| format!(":{port}"));
    if address.contains(':') { Ok(format!("{user}[{address}]{port}")) } else { Ok(format!("{user}{address}{port}")) }
}

fn odd() -> HostError {
    HostError::Refused("ssh-option".to_owned())
}

/// A word that cannot become an option, a pattern or another line.
fn plain(word: &str) -> Result<&str, HostError> {
    let odd_char = |c: char| c.is_whitespace() || c.is_control() || "\"'*?!,#=%".contains(c);
    if word.is_empty() || word.starts_with('-') || word.contains(odd_char) { Err(odd()) } else { Ok(word) }
}

fn single_line(value: &str) -> Result<&str, HostError> {
    if value.contains(char::is_control) { Err(odd()) } else { Ok(value) }
}

fn quoted(path: &Path) -> Result<String, HostError> {
    let text = path.to_str().ok_or_else(odd)?;
    if text.contains(|c: char| c == '"' || c.is_control()) { Err(odd()) } else { Ok(format!("\"{text}\"")) }
}

/// Whom ssh is told to connect to.
pub fn destination(options: &SshOptions) -> Result<&str, HostError> {
    plain(&options.target.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(address: &str) -> Reach {
        Reach { address: address.to_owned(), user: Some("ops".to_owned()), port: Some(2222), key: None }
    }

    #[test]
    fn folders_of_killed_processes_are_taken_away() {
        // Goal: what nobody holds is gone when the next one begins; what is held, and what is somebody else's, stays.
        let base = tempfile::tempdir().unwrap();
        let held = SshDir::new(Some(base.path())).unwrap();
        let killed = base.path().join("k0rotate-killed");
        let other = base.path().join("other");
        for dir in [&killed, &other] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(IN_USE), "").unwrap();
        }
        let next = SshDir::new(Some(base.path())).unwrap();
        assert!(!killed.exists() && other.exists() && held.path().exists() && next.path().exists());
        assert_eq!(fs::metadata(next.path()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(next);
        assert!(held.path().join(IN_USE).exists());
    }

    #[test]
    fn what_the_inventory_says_stands_before_what_the_user_has() {
        // Goal: the first value wins in ssh_config, so the inventory's must come first.
        let options = SshOptions {
            target: Reach { key: Some(PathBuf::from("/home/u/my key")), ..reach("10.0.0.1") },
            bastions: vec![reach("jump"), reach("fd00::1")],
            include: vec![PathBuf::from("/home/u/.ssh/config")],
            ..SshOptions::default()
        };
        let text = text(&options).unwrap();
        assert!(text.contains("ProxyJump ops@jump:2222,ops@[fd00::1]:2222\n"), "{text}");
        assert!(text.contains("IdentityFile \"/home/u/my key\"\n"), "{text}");
        assert!(text.find("User ops") < text.find("Include"), "{text}");
        assert!(text.contains("StrictHostKeyChecking yes"), "{text}");
    }

    #[test]
    fn words_cannot_become_options() {
        // Goal: an inventory can't smuggle a ProxyCommand into the configuration or the command line.
        for address in ["a\n  ProxyCommand x", "-oProxyCommand=x", "a b", "*", ""] {
            let options = SshOptions { target: reach(address), ..SshOptions::default() };
            assert_eq!(text(&options).unwrap_err(), odd(), "{address}");
        }
        let options = SshOptions { options: vec![("A".into(), "b\nC d".into())], ..SshOptions::default() };
        assert_eq!(text(&options).unwrap_err(), odd());
    }
}
