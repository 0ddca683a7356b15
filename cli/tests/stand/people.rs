//! The program as other users of this machine type it; only root can be all of them.

use super::Said;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Users that every Debian has, who never log in.
pub const DAEMON: u32 = 1;
pub const BIN: u32 = 2;
pub const NOBODY: u32 = 65534;

/// See the file's sentence.
pub struct People {
    program: PathBuf,
    dir: PathBuf,
    etc: PathBuf,
}

impl People {
    /// Who can reach what this folder has: the program, the configuration, the socket. None without the right to be them.
    pub fn at(dir: &Path, etc: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root, to ask as somebody else");
            return None;
        }
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
        };
        let program = dir.join("k0rotate");
        copy_program(&program);
        [dir, etc, &etc.join("clusters"), &program].iter().for_each(|path| set(path, 0o755));
        set(&etc.join("config.toml"), 0o644);
        for cluster in std::fs::read_dir(etc.join("clusters")).expect("it is ours").flatten() {
            set(&cluster.path(), 0o644);
        }
        Some(Self { program, dir: dir.to_owned(), etc: etc.to_owned() })
    }

    /// What a user types, with an environment that says they are somebody else.
    pub fn typed(&self, uid: u32, words: &[&str]) -> Said {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .arg("--config-dir")
            .arg(&self.etc)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("USER", "root");
        command.current_dir(&self.dir).stdin(Stdio::null()).uid(uid).gid(uid);
        command.output().expect("the program starts").into()
    }

    /// The same, and the exit status that it must have.
    pub fn ends(&self, uid: u32, words: &[&str], code: i32) -> Said {
        let said = self.typed(uid, words);
        assert_eq!(said.code, Some(code), "{uid} {words:?}: {}{}", said.out, said.err);
        said
    }
}

/// Puts the program here. By another process: what a child of another test inherits of a file that we write keeps it from being started.
fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_k0rotate")).arg(to).status().expect("cp is there");
    assert!(copied.success(), "there is room");
}
