//! Documents that must say what the code says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies below the root");
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn variants(source: &str, name: &str) -> BTreeMap<String, Vec<String>> {
    let file = syn::parse_file(source).expect("the source parses");
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(e) if e.ident == name => Some(e),
        _ => None,
    });
    let fields = |v: &syn::Variant| v.fields.iter().filter_map(|f| f.ident.as_ref().map(ToString::to_string)).collect();
    found.expect("the enum is there").variants.iter().map(|v| (v.ident.to_string(), fields(v))).collect()
}

/// The words between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_of_events_is_that_of_the_code() {
    let page = read("docs/events.md");
    let rows = page.lines().filter(|l| l.starts_with("| `"));
    let documented: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (quoted(cells[1]).remove(0), quoted(cells[2]))
        })
        .collect();
    assert_eq!(documented, variants(&read("engine/src/event.rs"), "Event"));
}

/// Rows of the tables of a part of a page that begin with a name.
fn rows_below<'a>(page: &'a str, title: &str) -> impl Iterator<Item = &'a str> {
    let part = page.lines().skip_while(move |line| *line != title).skip(1).take_while(|line| !line.starts_with("## "));
    part.filter(|line| line.starts_with("| `"))
}

/// Goal: each metric has its row, in the order of the code, with its kind, unit, name on the page, attributes and what it says; no row is of another.
#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let page = read("docs/telemetry.md");
    let documented: Vec<Vec<String>> = rows_below(&page, "## Metrics")
        .map(|row| row.split('|').skip(1).take(6).map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let code = |text: &str| format!("`{text}`");
    let row = |metric: &&k0rotate::telemetry::metrics::names::Metric| {
        let attributes: Vec<String> = metric.attributes.iter().map(|name| code(name)).collect();
        let kind = metric.kind.name().to_owned();
        vec![
            code(metric.name),
            kind,
            code(metric.unit),
            code(metric.page),
            attributes.join(" "),
            metric.what.to_owned(),
        ]
    };
    assert_eq!(documented, k0rotate::telemetry::metrics::names::ALL.iter().map(row).collect::<Vec<_>>());
    let known = k0rotate::telemetry::names::ALL;
    let all = k0rotate::telemetry::metrics::names::ALL;
    let unknown = all.iter().flat_map(|metric| metric.attributes).filter(|name| !known.contains(name));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// Goal: each name in traces has its row, in the order of the code, and no row is of another name.
#[test]
fn the_page_of_telemetry_is_that_of_the_code() {
    let page = read("docs/telemetry.md");
    let rows = rows_below(&page, "## Names");
    let documented: Vec<String> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap_or_default())).collect();
    assert_eq!(documented, k0rotate::telemetry::names::ALL);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let pages = ["README.md", "docs/architecture.md", "docs/telemetry.md", "docs/audit.md", "docs/decisions/README.md"];
    for page in pages {
        let folder = Path::new(page).parent().expect("a page lies in a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a root");
        for target in read(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let local = !target.contains("://") && !target.starts_with('#');
            let file = target.split('#').next().unwrap_or_default();
            assert!(!local || root.join(folder).join(file).exists(), "{page} links to {target}");
        }
    }
}
