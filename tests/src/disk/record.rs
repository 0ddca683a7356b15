//! Runs programs under strace and keeps what they did below one directory.

use super::calls::{self, Arg, Call};
use super::{Change, Disk, Kept, Node};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// All that changes files or makes them durable, and what moves the offset of a descriptor. `sync_file_range` is not among
/// them: it neither flushes a disk's cache nor writes a file's metadata, so it makes nothing durable.
const TRACED: &str = "openat,open,creat,pwrite64,write,writev,pwritev,pwritev2,copy_file_range,sendfile,splice,ftruncate,truncate,\
                      fallocate,lseek,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
                      unlink,unlinkat,rmdir,mkdir,mkdirat,msync";

/// What was done, and what was said meanwhile.
#[derive(Default)]
pub struct Recorded {
    /// Below the directory.
    pub disk: Disk,
    /// Each line of standard output, and when it was out.
    pub said: Vec<(usize, String)>,
    /// When the last call had ended.
    pub end: usize,
    /// What is not yet a line.
    line: String,
    /// The offset of each descriptor.
    offsets: HashMap<i64, usize>,
}

/// Whether a process can be traced here.
pub fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    let tried = strace.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Runs these programs one after another; `None` where nothing can be traced. The directory is there and empty.
pub fn record(root: &Path, programs: &mut [Command]) -> Option<Recorded> {
    if !can_trace() {
        return None;
    }
    let mut recorded = Recorded::default();
    recorded.disk.nodes.push(Kept { is_dir: true, ..Kept::default() });
    for program in programs {
        let log = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-xx", "-s", "4194304", "-e", &format!("trace={TRACED}"), "-o"]).arg(log.path());
        strace.arg(program.get_program()).args(program.get_args());
        strace.envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let output = strace.output().expect("strace was there a moment ago");
        let text = fs::read_to_string(log.path()).expect("strace writes plain text");
        recorded.add(&root.to_string_lossy(), &text);
        assert!(!recorded.said.is_empty(), "the program said nothing: {}", String::from_utf8_lossy(&output.stderr));
    }
    Some(recorded)
}

impl Recorded {
    /// When each sync of a file that is there at the end, by its path below the root, had started and ended.
    pub fn syncs(&self, path: &str) -> &[(usize, usize)] {
        &self.disk.nodes[self.node(path).expect("the file is there")].syncs
    }

    /// Adds what the next program did.
    fn add(&mut self, root: &str, text: &str) {
        let before = self.end;
        self.offsets.clear();
        for mut call in calls::read(text) {
            call.lines = (before + call.lines.0, before + call.lines.1);
            self.end = call.lines.1 + 1;
            self.take(root, &call);
        }
    }

    fn take(&mut self, root: &str, call: &Call) {
        let at = call.lines.1;
        let below = |n: usize| call.args.get(n).and_then(|a| a.path().strip_prefix(root).map(str::to_owned));
        match call.name.as_str() {
            "write" if call.args[0].number() == 1 => self.say(at, &call.args[1]),
            "openat" => self.open(root, call),
            "lseek" => {
                self.offsets.insert(fd(&call.args[0]), usize::try_from(call.result).expect("not negative"));
            }
            "copy_file_range" => {
                self.copy(at, [below(2), below(0)], [fd(&call.args[2]), fd(&call.args[0])], call.result);
            }
            "sendfile" => self.copy(at, [below(0), below(1)], [fd(&call.args[0]), fd(&call.args[1])], call.result),
            "unlinkat" => {
                let folder = call.args[0].path();
                let path = format!("{folder}/{}", call.args[1].path());
                path.strip_prefix(root).inspect(|path| self.name(at, &[(path, None)]));
            }
            _ => {
                if let Some(path) = below(0) {
                    self.change(call, &path, below(1).as_deref());
                }
            }
        }
    }

    fn change(&mut self, call: &Call, path: &str, other: Option<&str>) {
        let at = call.lines.1;
        match (call.name.as_str(), &call.args[..]) {
            ("write", [file, Arg::Text(bytes), ..]) => {
                let offset = self.advance(fd(file), bytes.len());
                self.done(at, path, Change::Write(offset, bytes.clone()));
            }
            ("pwrite64", [_, Arg::Text(bytes), _, offset]) => {
                self.done(at, path, Change::Write(offset.number(), bytes.clone()));
            }
            ("ftruncate", [_, len]) => self.done(at, path, Change::Length(len.number())),
            ("fsync" | "fdatasync", _) => {
                let node = self.node(path).expect("what is synced is there");
                self.disk.nodes[node].syncs.push((call.lines.0, at));
            }
            ("mkdir", _) => {
                let node = self.make(true);
                self.name(at, &[(path, Some(node))]);
            }
            ("unlink" | "rmdir", _) => self.name(at, &[(path, None)]),
            ("rename", _) => {
                let node = self.node(path).expect("what is renamed is there");
                self.name(at, &[(path, None), (other.expect("it stays below the root"), Some(node))]);
            }
            _ => panic!("a call that this record does not understand: {call:?}"),
        }
    }

    /// Makes the file, if it is not there, and empties it, if that was asked for.
    fn open(&mut self, root: &str, call: &Call) {
        self.offsets.insert(call.result, 0);
        let path = call.args[1].path();
        let (Some(path), Arg::Word(flags)) = (path.strip_prefix(root), &call.args[2]) else { return };
        assert!(!flags.contains("O_APPEND") && !flags.contains("O_TMPFILE"), "not understood: {call:?}");
        let at = call.lines.1;
        if flags.contains("O_CREAT") && self.node(path).is_none() {
            let node = self.make(false);
            self.name(at, &[(path, Some(node))]);
        } else if flags.contains("O_TRUNC") {
            self.done(at, path, Change::Length(0));
        }
    }

    fn copy(&mut self, at: usize, [to, from]: [Option<String>; 2], [out, into]: [i64; 2], len: i64) {
        let len = usize::try_from(len).expect("not negative");
        let (source, target) = (self.advance(into, len), self.advance(out, len));
        let (Some(to), Some(from)) = (to, from) else { return };
        let from = self.node(&from).expect("what is copied is there");
        let bytes = self.disk.nodes[from].bytes()[source..source + len].to_vec();
        self.done(at, &to, Change::Write(target, bytes));
    }

    /// The offset before.
    fn advance(&mut self, fd: i64, by: usize) -> usize {
        let offset = self.offsets.entry(fd).or_default();
        *offset += by;
        *offset - by
    }

    fn done(&mut self, at: usize, path: &str, change: Change) {
        let node = self.node(path).unwrap_or_else(|| panic!("what is changed is there: {path}"));
        self.disk.nodes[node].changes.push((at, change));
    }

    /// All paths are in one directory.
    fn name(&mut self, at: usize, paths: &[(&str, Option<Node>)]) {
        let split = |path: &str| path.rsplit_once('/').map(|(dir, name)| (dir.to_owned(), name.to_owned()));
        let split: Vec<_> = paths.iter().map(|(path, node)| (split(path).expect("below the root"), *node)).collect();
        let dir = split[0].0.0.clone();
        assert!(split.iter().all(|((other, _), _)| *other == dir), "a rename between directories: {paths:?}");
        let names = split.into_iter().map(|((_, name), node)| (name, node)).collect();
        let node = self.node(&dir).expect("a name is given in a directory that is there");
        self.disk.nodes[node].changes.push((at, Change::Names(names)));
    }

    fn make(&mut self, is_dir: bool) -> Node {
        self.disk.nodes.push(Kept { is_dir, ..Kept::default() });
        self.disk.nodes.len() - 1
    }

    fn node(&self, path: &str) -> Option<Node> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(0, |node, name| self.disk.nodes[node].names(name))
    }

    fn say(&mut self, at: usize, text: &Arg) {
        self.line += &text.path();
        while let Some((line, rest)) = self.line.split_once('\n') {
            self.said.push((at, line.to_owned()));
            self.line = rest.to_owned();
        }
    }
}

fn fd(arg: &Arg) -> i64 {
    match arg {
        Arg::Fd(fd, _) => *fd,
        other => panic!("not a descriptor: {other:?}"),
    }
}
