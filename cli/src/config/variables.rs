//! The environment file: the variables of inventories, as systemd's `EnvironmentFile=` has them, one `NAME=VALUE` a line.

use super::file::Problem;
use super::text;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads it. What is wrong is said without the line's text: a value may be a secret.
pub fn read(file: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let text = text(file).map_err(|why| Problem::of(file, why))?;
    let mut variables = BTreeMap::new();
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = variable(line).ok_or_else(|| Problem::at(file, at, "is not of the form NAME=VALUE"))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
        return None;
    }
    let value = value.trim();
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c));
    let value = match quote {
        Some(quote) => value.strip_prefix(quote)?.strip_suffix(quote)?,
        None => value,
    };
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    //! Shows which lines are taken.

    use super::read;

    /// Goal: quotes and comments are as systemd's; a line that is none is told by its number, and not quoted.
    #[test]
    fn lines_are_taken() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("env");
        std::fs::write(&file, "# one\nA=1\n B = x\nC=\"a b\"\n\nD='='\nE=\n").expect("it is ours");
        let refused = read(&file).expect_err("a name has no space");
        assert_eq!((refused.line, refused.what.contains('x')), (Some(3), false));
        std::fs::write(&file, "# one\nA=1\nC=\"a b\"\n\nD='='\nE=\n").expect("it is ours");
        let all = read(&file).expect("all are of the form");
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(all, [("A", "1"), ("C", "a b"), ("D", "="), ("E", "")]);
    }
}
