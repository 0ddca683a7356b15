//! Lines of strace (`-f -y -xx`) as system calls.

use std::collections::HashMap;

/// One system call that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments; quotes are kept around texts.
    pub args: Vec<Arg>,
    /// What it returned.
    pub result: i64,
    /// The lines at which it started and ended.
    pub lines: (usize, usize),
}

/// One argument.
#[derive(Debug, PartialEq, Eq)]
pub enum Arg {
    /// A descriptor and the path that it stood for.
    Fd(i64, String),
    /// A text.
    Text(Vec<u8>),
    /// A number, a flag or anything else, as it was printed.
    Word(String),
}

impl Arg {
    /// The path of a descriptor or a text.
    pub fn path(&self) -> String {
        match self {
            Self::Fd(_, path) => path.clone(),
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Word(word) => word.clone(),
        }
    }

    /// The number of a descriptor or a number.
    pub fn number(&self) -> usize {
        let number = match self {
            Self::Fd(fd, _) => usize::try_from(*fd).ok(),
            Self::Word(word) => word.parse().ok(),
            Self::Text(_) => None,
        };
        number.unwrap_or_else(|| panic!("not a number: {self:?}"))
    }
}

/// Reads a whole record; calls are in the order in which they ended.
pub fn read(text: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, (at, first.to_owned()));
        } else if let Some((_, second)) = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")) {
            let (start, first) = begun.remove(thread).expect("a call that is resumed was begun");
            calls.extend(call(&(first + second), (start, at)));
        } else {
            calls.extend(call(rest, (at, at)));
        }
    }
    calls
}

/// A call that failed, a signal or an exit is none.
fn call(text: &str, lines: (usize, usize)) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, result) = rest.rsplit_once(" = ")?;
    let args = args.trim_end().strip_suffix(')')?;
    let result = result.split(['<', ' ']).next()?.parse().ok().filter(|r| *r >= 0)?;
    Some(Call { name: name.to_owned(), args: split(args).iter().map(|a| arg(a)).collect(), result, lines })
}

/// With `-xx` no text holds a comma.
fn split(args: &str) -> Vec<&str> {
    args.split(", ").collect()
}

fn arg(text: &str) -> Arg {
    if let Some(quoted) = text.strip_prefix('"') {
        return Arg::Text(bytes(quoted.strip_suffix('"').expect("a text is recorded whole: raise strace's -s")));
    }
    match text.split_once('<') {
        Some((fd, path)) => {
            let path = String::from_utf8_lossy(&bytes(path.trim_end_matches("(deleted)").trim_end_matches('>'))).into();
            let path = if text.ends_with("(deleted)") { String::new() } else { path };
            Arg::Fd(fd.parse().unwrap_or(-1), path)
        }
        None => Arg::Word(text.to_owned()),
    }
}

/// `\x61\x62` as bytes.
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |h: &str| u8::from_str_radix(h, 16).unwrap_or_else(|_| panic!("not two hex digits: {h}"));
    hex.split("\\x").skip(1).map(byte).collect()
}

#[cfg(test)]
mod tests {
    //! Shows that lines of strace are read as they are meant.

    use super::*;

    /// Goal: a call that is cut in two by another thread's counts from its start to its end, and a failed one not at all.
    #[test]
    fn calls_are_read() {
        let text = "7 fdatasync(3<\\x2f\\x61> <unfinished ...>\n8 pwrite64(4<\\x2f\\x62>, \"\\x68\\x22\", 2, 100) = 2\n\
                    7 <... fdatasync resumed>) = 0\n8 openat(AT_FDCWD<\\x2f>, \"\\x63\", O_RDONLY) = -1 ENOENT (No such file)\n\
                    8 openat(AT_FDCWD<\\x2f>, \"\\x63\", O_RDONLY) = 5<\\x2f\\x63>\n8 +++ exited with 0 +++\n";
        let calls = read(text);
        let seen: Vec<_> = calls.iter().map(|c| (c.name.as_str(), c.result, c.lines)).collect();
        assert_eq!(seen, [("pwrite64", 2, (1, 1)), ("fdatasync", 0, (0, 2)), ("openat", 5, (4, 4))]);
        assert_eq!(calls[0].args[0], Arg::Fd(4, "/b".into()));
        assert_eq!(calls[0].args[1], Arg::Text(b"h\"".to_vec()));
        assert_eq!(calls[0].args[3].number(), 100);
        assert_eq!(calls[2].args[1].path(), "c");
    }
}
