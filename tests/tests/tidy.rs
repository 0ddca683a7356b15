//! The house rules that a machine can hold: sizes, first sentences, directions, words and who may name what.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::spanned::Spanned;
use syn::visit::Visit;

const MAX_FUNCTION_LINES: usize = 70;
const MAX_FILE_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies below the root").to_owned()
}

/// Every file that git tracks or would track, relative to the root.
fn tracked() -> Vec<String> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let text = String::from_utf8(out.stdout).expect("paths are UTF-8");
    let files: Vec<String> = text.lines().filter(|f| root().join(f).is_file()).map(str::to_owned).collect();
    assert!(files.len() > 20, "git listed only {} files", files.len());
    files
}

fn rust_files() -> Vec<(String, String)> {
    let files = tracked().into_iter().filter(|f| Path::new(f).extension().is_some_and(|e| e == "rs"));
    files.map(|f| (f.clone(), fs::read_to_string(root().join(&f)).expect("a tracked file is readable"))).collect()
}

fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short() {
    let too_long = rust_files().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > MAX_FILE_LINES).then(|| format!("{path}: {lines} lines"))
    });
    report("a file has at most 400 lines", &too_long.collect::<Vec<_>>());
}

struct Functions {
    path: String,
    long: Vec<String>,
}

impl Functions {
    fn look(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line + 1 - span.start().line;
        if lines > MAX_FUNCTION_LINES {
            self.long.push(format!("{}:{} {name}: {lines} lines", self.path, span.start().line));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.look(&f.sig.ident, &f.block);
        syn::visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.look(&f.sig.ident, &f.block);
        syn::visit::visit_impl_item_fn(self, f);
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.look(&f.sig.ident, block);
        }
        syn::visit::visit_trait_item_fn(self, f);
    }
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (path, text) in rust_files() {
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut functions = Functions { path, long: Vec::new() };
        functions.visit_file(&file);
        long.append(&mut functions.long);
    }
    report("a function has at most 70 lines", &long);
}

#[test]
fn files_begin_with_their_sentence() {
    let without = rust_files().into_iter().filter(|(_, text)| {
        let first = text.lines().next().unwrap_or_default();
        !(first.starts_with("//! ") && first.len() > 12)
    });
    report("a file begins with one //! sentence", &without.map(|(path, _)| path).collect::<Vec<_>>());
}

/// Who alone may name a crate: (how it is named in code, path prefixes).
const NAMED_ONLY_BY: [(&str, &[&str]); 12] = [
    ("sled::", &["engine/src/log/sled"]),
    ("openssh::", &["activities/src/host/ssh"]),
    ("rcgen::", &["activities/src/pki"]),
    ("x509_parser::", &["activities/src/pki"]),
    ("clap::", &["cli/"]),
    ("clap_complete::", &["cli/"]),
    ("opentelemetry::", &["cli/src/telemetry", "cli/tests/"]),
    ("opentelemetry_otlp::", &["cli/src/telemetry"]),
    ("opentelemetry_prometheus::", &["cli/src/telemetry/metrics"]),
    ("opentelemetry_sdk::", &["cli/src/telemetry"]),
    ("prometheus::", &["cli/src/telemetry/metrics"]),
    ("tracing_opentelemetry::", &["cli/src/telemetry"]),
];

#[test]
fn crates_are_named_where_they_belong() {
    let mut found = Vec::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| !path.starts_with("tests/")) {
        for (name, owners) in NAMED_ONLY_BY {
            let owned = owners.iter().any(|prefix| path.starts_with(prefix));
            let names = text.lines().any(|l| !l.trim_start().starts_with("//") && names_crate(l, name));
            if names && !owned {
                found.push(format!("{path} names {name}"));
            }
        }
    }
    report("only its owner names a crate", &found);
}

/// Whether `name` (`sled::`) stands in the line as the first part of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Which crates of ours a crate may depend on.
const DIRECTIONS: [(&str, &[&str]); 4] = [
    ("engine", &[]),
    ("activities", &["k0rotate-engine"]),
    ("workflows", &["k0rotate-engine", "k0rotate-activities"]),
    ("cli", &["k0rotate-engine", "k0rotate-activities", "k0rotate-workflows"]),
];

#[test]
fn crates_depend_in_one_direction() {
    let mut found = Vec::new();
    for (package, allowed) in DIRECTIONS {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        for line in manifest.lines().filter(|l| l.starts_with("k0rotate")) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&name) {
                found.push(format!("{package} depends on {name}"));
            }
        }
    }
    report("dependencies between our crates go one way", &found);
}

#[test]
fn the_engine_knows_nothing_of_hosts() {
    let words = ["ssh", "k0s", "kubelet", "certificate", "etcd"];
    let mut found = Vec::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| path.starts_with("engine/src")) {
        for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let lower = line.to_lowercase();
            let hit = words.iter().find(|w| lower.split(|c: char| !c.is_alphanumeric()).any(|part| part == **w));
            if let Some(word) = hit {
                found.push(format!("{path}:{} says {word}", at + 1));
            }
        }
    }
    report("the engine knows nothing of ssh, k0s or certificates", &found);
}

/// Words that the glossary replaced, as they would stand in names of types and functions.
const OTHER_WORDS: [&str; 6] = ["abort", "cancel", "compensation", "compensate", "saga", "job"];

#[derive(Default)]
struct Names(Vec<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.0.push(f.sig.ident.to_string());
        syn::visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.0.push(f.sig.ident.to_string());
    }

    fn visit_item_struct(&mut self, s: &'ast syn::ItemStruct) {
        self.0.push(s.ident.to_string());
    }

    fn visit_item_enum(&mut self, e: &'ast syn::ItemEnum) {
        self.0.push(e.ident.to_string());
        self.0.extend(e.variants.iter().map(|v| v.ident.to_string()));
    }
}

#[test]
fn one_word_a_thing() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let mut names = Names::default();
        names.visit_file(&syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}")));
        for name in names.0 {
            let lower = name.to_lowercase();
            found.extend(OTHER_WORDS.iter().filter(|w| lower.contains(**w)).map(|w| format!("{path}: {name} ({w})")));
        }
    }
    report("the glossary has another word for it", &found);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let mut found = Vec::new();
    let paths_of_a_machine =
        ["/wo", "/fa"].map(|start| format!("{start}{}", if start == "/wo" { "rk/" } else { "rm/" }));
    for path in tracked() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (at, line) in text.lines().enumerate() {
            let shared = format!("../{}/", "shared");
            if paths_of_a_machine.iter().any(|p| stands_alone(line, p)) || line.contains(&shared) {
                found.push(format!("{path}:{}", at + 1));
            }
        }
    }
    report("no path of one machine, nothing beside the repository", &found);
}

fn stands_alone(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/)}".contains(c))
    })
}

#[test]
fn the_top_level_is_as_agreed() {
    let allowed = [
        ".ci",
        ".gitignore",
        ".rustfmt.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "activities",
        "cli",
        "clippy.toml",
        "deny.toml",
        "docs",
        "engine",
        "tests",
        "workflows",
    ];
    let mut tops: Vec<String> = tracked().iter().filter_map(|f| f.split('/').next().map(str::to_owned)).collect();
    tops.dedup();
    let others: Vec<String> = tops.into_iter().filter(|t| !allowed.contains(&t.as_str())).collect();
    report("nothing else at the top level", &others);
}

/// Goal: each deliberate bug can be applied to the code of today: only the longest tier would miss it else.
#[test]
fn deliberate_bugs_can_be_applied() {
    let is_patch = |file: &String| Path::new(file).extension().is_some_and(|e| e == "patch");
    let patches: Vec<String> = tracked().into_iter().filter(is_patch).collect();
    assert!(patches.len() >= 15, "{patches:?}");
    let applies = |patch: &&String| {
        let checked = Command::new("git").args(["apply", "--check", patch]).current_dir(root()).status();
        checked.expect("git is there").success()
    };
    let stale: Vec<String> = patches.iter().filter(|patch| !applies(patch)).cloned().collect();
    report("a deliberate bug no longer applies", &stale);
}
