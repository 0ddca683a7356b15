//! Every code of a failure has an entry in the page of failures, and the page has no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies below the root").to_owned()
}

fn sources(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a source folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs")
            && !name.contains("test")
            && !path.to_string_lossy().contains("rehearsal")
        {
            found.push(fs::read_to_string(&path).expect("a source can be read"));
        }
    }
}

/// Codes that are passed to `Failure::new`, `Failure::refused` and to methods named `refused` and `failure`, outside of tests.
#[derive(Default)]
struct Codes(BTreeSet<String>);

impl Codes {
    fn take(&mut self, argument: Option<&syn::Expr>) {
        if let Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(code), .. })) = argument {
            self.0.insert(code.value());
        }
    }
}

impl<'ast> Visit<'ast> for Codes {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg")) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func {
            let names: Vec<String> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
            if names.iter().rev().nth(1).is_some_and(|name| name == "Failure") {
                self.take(call.args.first());
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "refused" || call.method == "failure" {
            self.take(call.args.first());
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[test]
fn the_page_of_failures_is_that_of_the_code() {
    let page = fs::read_to_string(root().join("docs/failures.md")).expect("the page is there");
    let cells = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let documented: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let mut texts = Vec::new();
    ["engine", "activities", "workflows", "cli"].iter().for_each(|c| sources(&root().join(c).join("src"), &mut texts));
    let mut codes = Codes::default();
    for text in &texts {
        codes.visit_file(&syn::parse_file(text).expect("a source parses"));
    }
    let without_entry: Vec<_> = codes.0.difference(&documented).collect();
    assert!(without_entry.is_empty(), "not in docs/failures.md: {without_entry:?}");
    let unused = documented.iter().filter(|code| !texts.iter().any(|text| text.contains(&format!("\"{code}\""))));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&String>::new(), "in docs/failures.md, and nowhere in the code");
    assert!(codes.0.len() > 50, "the search finds codes at all");
}

#[test]
fn the_page_has_every_code_of_the_command_line() {
    let page = fs::read_to_string(root().join("docs/failures.md")).expect("the page is there");
    let source = fs::read_to_string(root().join("cli/src/error.rs")).expect("the source is there");
    let codes: BTreeSet<&str> = source.split('"').filter(|text| text.starts_with("K0R-")).collect();
    assert!(codes.len() > 10, "the search finds codes at all");
    let without: Vec<_> = codes.iter().filter(|code| !page.contains(&format!("| `{code}` |"))).collect();
    assert!(without.is_empty(), "not in docs/failures.md: {without:?}");
}
