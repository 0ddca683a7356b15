//! The page of metrics as Prometheus reads it: fetched over HTTP, and held against the rules of its text format.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A value of a series.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// See the file's sentence.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Each family with its kind.
    pub families: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// The page, if somebody answers there.
pub fn get(at: SocketAddr) -> Option<Page> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    Some(Page::read(body))
}

impl Page {
    /// Reads the text; what breaks the format is an error.
    pub fn read(text: &str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
        let (mut page, mut helped) = (Self::default(), Vec::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, what) = rest.split_once(' ').expect("a name and a text");
                assert!(!what.is_empty() && !helped.contains(&name.to_owned()), "{line}");
                helped.push(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(helped.last().map(String::as_str), Some(name), "help comes first");
                assert!(page.families.insert(name.to_owned(), kind.to_owned()).is_none(), "a family stands once");
            } else {
                page.samples.push(sample(line));
            }
        }
        page.check();
        page
    }

    /// Samples stand below a family of theirs, no series twice, and histograms add up.
    fn check(&self) {
        let mut seen = Vec::new();
        for sample in &self.samples {
            let family = |suffix: &str| sample.name.strip_suffix(suffix).and_then(|name| self.families.get(name));
            let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| family(suffix));
            let known = self.families.contains_key(&sample.name) || parts.into_iter().any(|kind| kind == "histogram");
            assert!(known, "{sample:?} is of no family");
            let series = (sample.name.clone(), sample.labels.clone());
            assert!(!seen.contains(&series), "{series:?} stands twice");
            seen.push(series);
        }
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            for count in self.samples.iter().filter(|sample| sample.name == format!("{name}_count")) {
                let is_of = |sample: &&Sample| {
                    let mut labels = sample.labels.clone();
                    labels.remove("le");
                    sample.name == format!("{name}_bucket") && labels == count.labels
                };
                let buckets: Vec<&Sample> = self.samples.iter().filter(is_of).collect();
                assert!(buckets.is_sorted_by(|a, b| a.value <= b.value), "{name} is cumulative");
                let last = buckets.last().expect("it has buckets");
                assert_eq!((last.labels["le"].as_str(), last.value), ("+Inf", count.value));
            }
        }
    }

    /// Samples of a name that have these labels.
    pub fn of(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has =
            |sample: &Sample, (label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|of| of == value);
        let fits = |sample: &&Sample| sample.name == name && labels.iter().all(|label| has(sample, label));
        self.samples.iter().filter(fits).collect()
    }

    /// Their sum.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).iter().map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("labels end"))),
        None => (series, BTreeMap::new()),
    };
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
    let value = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

fn labels(mut text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label and its value");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        let mut end = 0;
        while !rest[end..].starts_with('"') {
            end +=
                if rest[end..].starts_with('\\') { 2 } else { rest[end..].chars().next().expect("it ends").len_utf8() };
        }
        assert!(all.insert(name.to_owned(), rest[..end].to_owned()).is_none(), "{name} stands once");
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
    all
}
