//! Finds the files that `-c` names: each as it is, or by `*` and `?` in any part of its path.

use crate::error::Error;
use std::path::{Component, Path, PathBuf};

/// Files in the order in which they were given; those of one pattern by name.
pub fn expand(given: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut all: Vec<PathBuf> = Vec::new();
    for pattern in given {
        let found = if is_plain(pattern) { vec![pattern.clone()] } else { matching(pattern) };
        if found.is_empty() {
            return Err(Error::File(pattern.display().to_string(), "no file is called so".into()));
        }
        all.extend(found);
    }
    let mut once = Vec::new();
    for file in all {
        if !once.contains(&file) {
            once.push(file);
        }
    }
    Ok(once)
}

/// A file that is there is meant as it is, whatever its name.
fn is_plain(pattern: &Path) -> bool {
    !pattern.to_string_lossy().contains(['*', '?']) || pattern.exists()
}

fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        found = match part {
            Component::Normal(_) if name.contains(['*', '?']) => {
                found.iter().flat_map(|dir| inside(dir, &name)).collect()
            }
            _ => found.into_iter().map(|dir| dir.join(part)).collect(),
        };
    }
    found.retain(|file| file.is_file());
    found
}

fn inside(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // As in a shell: what begins with a dot is not meant by a star.
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with('.') == pattern.starts_with('.') && is_like(name, pattern)).collect();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

fn is_like(name: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| is_like(&name[at..], rest.as_str()))
        }
        Some(c) => {
            let mut left = name.chars();
            left.next().is_some_and(|first| c == '?' || c == first) && is_like(left.as_str(), rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows what patterns mean.

    use super::*;

    /// Goal: stars and question marks in any part, files by name, each once, in the order given; nothing found is an error.
    #[test]
    fn patterns_are_expanded() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        for name in ["b/k0sctl.yaml", "a/k0sctl.yaml", "a/more.yaml", "a/.hidden.yaml", "a/notes.txt"] {
            std::fs::create_dir_all(at(name).parent().expect("it has one")).expect("it is ours");
            std::fs::write(at(name), "").expect("it is ours");
        }
        let expand = |given: &[&str]| expand(&given.iter().map(|name| at(name)).collect::<Vec<_>>());
        let all = expand(&["?/*.yaml", "a/more.yaml"]).expect("they are there");
        assert_eq!(all, [at("a/k0sctl.yaml"), at("a/more.yaml"), at("b/k0sctl.yaml")]);
        assert_eq!(expand(&["b/none.yaml"]).expect("read later"), [at("b/none.yaml")]);
        assert!(expand(&["c/*.yaml"]).is_err());
    }
}
