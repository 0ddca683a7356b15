//! The commands that are printed as next steps: complete, with the flags that were given, and as a shell takes them.

use crate::args::Global;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Verbs that work on hosts, which stand in the inventory alone.
const NEED_INVENTORY: [&str; 11] = [
    "inspect",
    "plan",
    "rotate",
    "pause",
    "resume",
    "rollback",
    "finalize",
    "approve",
    "decline",
    "leave-behind",
    "rejoin",
];

/// See the file's sentence.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Commands {
    inventory: Vec<String>,
    others: Vec<String>,
    /// Whether the inventory of what they are about is known; else they have a place for it.
    known: bool,
}

impl Commands {
    /// With the flags of the command that prints them.
    pub fn of(global: &Global) -> Self {
        let flag = |name: &str, path: &Path| [name.to_owned(), quoted(&path.display().to_string())];
        let others = [
            ("--config-dir", &global.config_dir),
            ("--socket", &global.socket),
            ("--state-dir", &global.state_dir),
            ("--identity", &global.identity),
        ];
        let others = others.into_iter().filter_map(|(name, path)| Some(flag(name, path.as_ref()?)));
        let embedded = global.embedded.then(|| "--embedded".to_owned());
        Self {
            inventory: global.config.iter().flat_map(|file| flag("-c", file)).collect(),
            others: others.flatten().chain(embedded).collect(),
            known: true,
        }
    }

    /// The same about a cluster that was found without its inventory.
    #[must_use]
    pub fn without_inventory(self) -> Self {
        Self { known: false, ..self }
    }

    /// `k0rotate VERB WORDS FLAGS`.
    pub fn verb(&self, verb: &str, words: &[&str]) -> String {
        let mut line = vec!["k0rotate".to_owned(), verb.to_owned()];
        line.extend(words.iter().map(|word| quoted(word)));
        line.extend(self.flags(verb));
        line.join(" ")
    }

    /// The flags that say which cluster, which store and which identity are meant.
    pub fn flags(&self, verb: &str) -> Vec<String> {
        let inventory = if self.known {
            self.inventory.clone()
        } else if NEED_INVENTORY.contains(&verb) {
            vec!["-c".to_owned(), "INVENTORY".to_owned()]
        } else {
            Vec::new()
        };
        inventory.into_iter().chain(self.others.clone()).collect()
    }
}

/// As a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    //! Shows what is printed to be copied.

    use super::Commands;
    use crate::args::Cli;
    use clap::Parser;

    fn commands(words: &[&str]) -> Commands {
        let words = [&["k0rotate", "list"], words].concat();
        Commands::of(&Cli::try_parse_from(words).expect("it can be typed").global)
    }

    /// Goal: only flags that were given are repeated, and a shell takes each as one word.
    #[test]
    fn flags_are_repeated_and_quoted() {
        assert_eq!(commands(&[]).verb("resume", &["01J"]), "k0rotate resume 01J");
        let given = commands(&["-c", "my clusters/a.yaml", "-c", "b*.yaml", "--state-dir", "/s", "--identity", "it's"]);
        let flags = "-c 'my clusters/a.yaml' -c 'b*.yaml' --state-dir /s --identity 'it'\\''s'";
        assert_eq!(given.verb("show", &[]), format!("k0rotate show {flags}"));
    }

    /// Goal: where the inventory is not known, what needs it has a place for it, and what does not has none.
    #[test]
    fn an_unknown_inventory_has_a_place() {
        let found = commands(&["--state-dir", "/s"]).without_inventory();
        assert_eq!(found.verb("resume", &["01J"]), "k0rotate resume 01J -c INVENTORY --state-dir /s");
        assert_eq!(found.verb("report", &["01J"]), "k0rotate report 01J --state-dir /s");
    }
}
