//! Shows that `docs/runbook.md` has the workflow's phases, in their order.

use k0rotate_workflows::phases::{BACK, FORWARD};
use std::fs;
use std::path::Path;

/// Goal: somebody who reads the page reads the code's phases, none more, none less, in the order in which they are entered.
#[test]
fn the_page_has_the_phases_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix("#### "));
    let found: Vec<String> = headings.map(str::to_owned).collect();
    let phases = FORWARD.iter().chain(&BACK).map(|(slug, title)| format!("{title} (`{slug}`)"));
    assert_eq!(found, phases.collect::<Vec<_>>());
}
