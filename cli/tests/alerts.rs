//! The alert rules for Prometheus: each name in them is one that the page has.

use k0rotate::telemetry::metrics::measured::STATES;
use k0rotate::telemetry::metrics::names::{ALL, Kind};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let text = include_str!("../../docs/alerts.yaml");
    let file: File = serde_saphyr::from_str(text).expect("it is a file of rules");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// Words of an expression or a text that are names of ours, or of attributes.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| ["k0rotate_", "k8s_", "cicd_", "host_"].iter().any(|start| word.starts_with(start));
    words.filter(ours).map(str::to_owned).collect()
}

/// As the page names its series: a histogram has several.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for metric in ALL {
        let labels: BTreeSet<String> = metric.attributes.iter().map(|name| name.replace('.', "_")).collect();
        let suffixes: &[&str] = if metric.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        all.extend(suffixes.iter().map(|suffix| (format!("{}{suffix}", metric.page), labels.clone())));
    }
    all
}

/// Goal: five rules, each about one metric that there is, with labels that it has and values that these take; what they say names no other.
#[test]
fn rules_name_what_there_is() {
    let (rules, series) = (rules(), series());
    assert_eq!(rules.len(), 5);
    for rule in rules {
        let used = names(&rule.expr);
        let about: Vec<&String> = used.iter().filter(|name| series.contains_key(*name)).collect();
        let [about] = about[..] else { panic!("{}: {about:?}", rule.alert) };
        let labels = &series[about];
        let mut said = names(&rule.annotations.values().cloned().collect::<String>());
        said.extend(used.iter().filter(|name| *name != about).cloned());
        let unknown: Vec<&String> = said.iter().filter(|name| !labels.contains(*name)).collect();
        assert!(unknown.is_empty(), "{}: {about} has no {unknown:?}", rule.alert);
        // A label that was summed away cannot be told.
        let kept = rule.expr.split_once("by (").and_then(|(_, rest)| rest.split_once(')')).map(|(kept, _)| names(kept));
        let told = names(&rule.annotations.values().cloned().collect::<String>());
        assert!(told.is_subset(&kept.unwrap_or_default()), "{}: {told:?}", rule.alert);
        assert!(["warning", "critical"].contains(&rule.labels["severity"].as_str()));
        assert!(rule.annotations.contains_key("summary") && rule.annotations.contains_key("description"));
        for (label, values) in [("k0rotate_state", &STATES[..]), ("k0rotate_zone", &["free", "down", "held", "final"])]
        {
            let asked = rule.expr.split_once(&format!("{label}=\"")).and_then(|(_, rest)| rest.split_once('"'));
            assert!(asked.is_none_or(|(value, _)| values.contains(&value)), "{}: {label} {asked:?}", rule.alert);
        }
    }
}
