//! A YAML document as a tree whose every key and value knows its line in the file.

use super::envsubst::Substituted;
use super::problem::{Code, Problem};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// A file, before and after substitution.
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub original: &'a str,
    pub substituted: Substituted,
}

impl Source<'_> {
    /// A problem at a line of the substituted text.
    pub fn problem(&self, code: Code, line: usize, what: impl Into<String>) -> Problem {
        Problem::at(code, self.file, self.original, self.line(line), what)
    }

    /// The line in the file of a line of the substituted text.
    pub fn line(&self, line: usize) -> usize {
        self.substituted.lines.get(line.saturating_sub(1)).copied().unwrap_or(line)
    }
}

/// A value and where it stands (line of the substituted text, from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    /// As it is written, quotes taken off.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

impl Node {
    /// The value of a key, if this is a mapping that has it and it is not null.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|e| e.key == key).map(|e| &e.value).filter(|n| n.value != Value::Null)
    }

    /// The text, if this is a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if this is a list.
    pub fn list(&self) -> &[Node] {
        match &self.value {
            Value::List(members) => members,
            _ => &[],
        }
    }
}

/// Reads all documents of a file; empty ones are passed over.
pub(super) fn documents(source: &Source) -> Result<Vec<Node>, Problem> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    let text = &source.substituted.text;
    let raw: Vec<Spanned<Raw>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| syntax(source, &error))?;
    Ok(raw.into_iter().map(|r| r.into_node(text)).filter(|n| n.value != Value::Null).collect())
}

/// The parser's own words may hold a value, so only the kind of the error is told.
fn syntax(source: &Source, error: &serde_saphyr::Error) -> Problem {
    let line = error.location().map_or(1, |l| usize::try_from(l.line()).unwrap_or(1));
    let text = error.to_string().to_lowercase();
    let what = if text.contains("duplicate") {
        "the same key stands twice in one mapping"
    } else if text.contains("alias") || text.contains("anchor") {
        "an alias without its anchor, or one that goes too deep"
    } else {
        "this is not YAML"
    };
    source.problem(Code::Syntax, line, what)
}

/// What serde hands over; numbers and booleans are read again from the text, so that nothing of them is lost.
enum Raw {
    Null,
    Text(String),
    Bare,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

trait IntoNode {
    fn into_node(self, text: &str) -> Node;
}

impl IntoNode for Spanned<Raw> {
    fn into_node(self, text: &str) -> Node {
        let (at, line) = (self.defined, line(self.referenced));
        let value = match self.value {
            Raw::Null => Value::Null,
            Raw::Text(t) => Value::Scalar(t),
            Raw::Bare => Value::Scalar(written(text, at)),
            Raw::List(members) => Value::List(members.into_iter().map(|m| m.into_node(text)).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        line: self::line(key.referenced),
                        key: key.value,
                        value: value.into_node(text),
                    })
                    .collect(),
            ),
        };
        Node { line, value }
    }
}

fn line(at: Location) -> usize {
    usize::try_from(at.line()).unwrap_or(1).max(1)
}

/// The text of a bare scalar.
fn written(text: &str, at: Location) -> String {
    let (offset, len) = (at.span().offset(), at.span().len());
    let (skip, take) = (usize::try_from(offset).unwrap_or(0), usize::try_from(len).unwrap_or(0));
    text.chars().skip(skip).take(take).collect::<String>().trim().to_owned()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = seq.next_element()? {
            members.push(member);
        }
        Ok(Raw::List(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
