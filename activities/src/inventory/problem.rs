//! What is wrong with an inventory: a code, the place in the file, and what to do.

use std::fmt;

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is not YAML.
    Syntax,
    /// A variable's braces are open.
    Variable,
    /// Not exactly one cluster, or not of the version we know.
    Document,
    /// A key that k0sctl does not know.
    UnknownKey,
    /// A value of the wrong kind, or a missing one.
    Value,
    /// A key that we will not act upon.
    Refused,
    /// Hosts contradict each other.
    Hosts,
    /// A host that cannot be reached by SSH must be left behind.
    NotReachable,
}

/// One problem, in the words of the file as it stands on disk: a substituted value is never quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// File as it was named.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// That line.
    pub quote: String,
    /// What is wrong.
    pub what: String,
    /// What to do, if there is something to say.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a line of a file's own text.
    pub(super) fn at(code: Code, file: &str, text: &str, line: usize, what: impl Into<String>) -> Self {
        let quote = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        Self { code, file: file.to_owned(), line, quote: shown(quote), what: what.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A line as it may be shown: what looks like a password or a token ends at its colon.
fn shown(line: &str) -> String {
    let lower = line.to_lowercase();
    let hides = ["pass", "secret", "token", "data:"].iter().any(|word| lower.contains(word));
    match line.split_once(':') {
        Some((key, _)) if hides => format!("{key}: …"),
        _ => line.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)?;
        if !self.quote.trim().is_empty() {
            write!(f, "\n  {:>4} | {}", self.line, self.quote)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}
