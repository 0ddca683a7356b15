//! Substitution of variables exactly as k0sctl does it, with a map from each line of the result to its line in the file.
//!
//! k0sctl hands the whole file, comments included, to `a8m/envsubst` (relaxed: an unset variable is empty). This is that
//! program's lexer and parser, its oddities kept: a default that mixes text and variables is taken as text.

use super::problem::{Code, Problem};
use std::collections::BTreeMap;

/// A file after substitution.
#[derive(Debug)]
pub(super) struct Substituted {
    /// Its text.
    pub text: String,
    /// Line in the file of each line of the text, both from 1.
    pub lines: Vec<usize>,
    /// Variables that were not set and have no default, with their line.
    pub unset: Vec<(String, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Plus,
    Dash,
    Equals,
    ColonEquals,
    ColonDash,
    ColonPlus,
    Variable,
    Open,
    Close,
    Unclosed,
    End,
}

#[derive(Clone, Debug)]
struct Item {
    kind: Kind,
    at: usize,
    text: String,
}

/// Replaces the variables of a file from an explicit map.
pub(super) fn substitute(file: &str, text: &str, env: &BTreeMap<String, String>) -> Result<Substituted, Problem> {
    let items = Lexer::new(text).run();
    let mut out = Output { text: String::new(), lines: vec![1], unset: Vec::new() };
    let mut at = 0;
    while at < items.len() {
        let item = &items[at];
        let line = line_of(text, item.at);
        at += 1;
        match item.kind {
            Kind::End => break,
            Kind::Unclosed => return Err(unclosed(file, text, line)),
            Kind::Variable => out.variable(item.text.trim_start_matches('$'), line, env),
            Kind::Open if items.get(at).is_some_and(|i| i.kind == Kind::Variable) => {
                let name = items[at].text.clone();
                let (operator, default) =
                    expression(&items, &mut at).map_err(|item| unclosed(file, text, line_of(text, item.at)))?;
                out.expression(&name, operator, default.as_ref(), line, env);
            }
            _ => out.literal(&item.text, line),
        }
    }
    Ok(Substituted { text: out.text, lines: out.lines, unset: out.unset })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

fn unclosed(file: &str, text: &str, line: usize) -> Problem {
    Problem::at(Code::Variable, file, text, line, "`${` without its closing brace on the same line")
        .help("close it, or write `$$` for a dollar sign; k0sctl substitutes in comments too")
}

/// What stands after the operator: another variable or a text.
enum Default {
    Variable(String),
    Text(String),
}

/// Reads from the variable's name to its closing brace.
fn expression(items: &[Item], at: &mut usize) -> Result<(Option<Kind>, Option<Default>), Item> {
    let (mut operator, mut default) = (None, None);
    *at += 1;
    while let Some(item) = items.get(*at) {
        *at += 1;
        match item.kind {
            Kind::Close => break,
            Kind::Unclosed | Kind::End => return Err(item.clone()),
            Kind::Variable => default = Some(Default::Variable(item.text.trim_start_matches('$').to_owned())),
            Kind::Text => {
                let mut text = item.text.clone();
                while let Some(next) = items.get(*at) {
                    if matches!(next.kind, Kind::Close | Kind::Unclosed | Kind::End) {
                        break;
                    }
                    text.push_str(&next.text);
                    *at += 1;
                }
                default = Some(Default::Text(text));
            }
            kind => operator = Some(kind),
        }
    }
    Ok((operator, default))
}

struct Output {
    text: String,
    lines: Vec<usize>,
    unset: Vec<(String, usize)>,
}

impl Output {
    /// Text of the file itself: its line breaks are the file's.
    fn literal(&mut self, text: &str, mut line: usize) {
        for c in text.chars() {
            self.text.push(c);
            if c == '\n' {
                line += 1;
                self.lines.push(line);
            }
        }
    }

    /// A value: whatever line breaks it has, it stands on one line of the file.
    fn value(&mut self, text: &str, line: usize) {
        self.text.push_str(text);
        self.lines.extend(text.chars().filter(|c| *c == '\n').map(|_| line));
    }

    fn variable(&mut self, name: &str, line: usize, env: &BTreeMap<String, String>) {
        match env.get(name) {
            Some(value) => self.value(value, line),
            None => self.unset.push((name.to_owned(), line)),
        }
    }

    fn expression(
        &mut self,
        name: &str,
        operator: Option<Kind>,
        default: Option<&Default>,
        line: usize,
        env: &BTreeMap<String, String>,
    ) {
        let set = env.get(name);
        let instead = match operator {
            Some(Kind::ColonDash | Kind::ColonEquals) => set.is_none_or(String::is_empty),
            Some(Kind::Plus | Kind::ColonPlus) if default.is_some() && set.is_none() => return,
            Some(Kind::Plus | Kind::ColonPlus) => set.is_some(),
            Some(_) => set.is_none(),
            None => false,
        };
        match default {
            Some(Default::Text(text)) if instead => self.value(text, line),
            Some(Default::Variable(other)) if instead => self.variable(other, line, env),
            _ => self.variable(name, line, env),
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    Text,
    Variable,
    Operator,
    Substitution,
    Done,
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    start: usize,
    last: usize,
    depth: usize,
    items: Vec<Item>,
}

impl<'a> Lexer<'a> {
    fn new(input: &'a str) -> Self {
        Self { input, at: 0, start: 0, last: 0, depth: 0, items: Vec::new() }
    }

    fn run(mut self) -> Vec<Item> {
        let mut state = State::Text;
        loop {
            state = match state {
                State::Text => self.text(),
                State::Variable => self.variable(),
                State::Operator => self.operator(),
                State::Substitution => self.substitution(),
                State::Done => return self.items,
            };
        }
    }

    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn emit(&mut self, kind: Kind) {
        self.items.push(Item { kind, at: self.start, text: self.input[self.start..self.at].to_owned() });
        self.last = self.start;
        self.start = self.at;
    }

    fn text(&mut self) -> State {
        while let Some(c) = self.next() {
            if c != '$' {
                continue;
            }
            self.at -= 1;
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            self.at += 1;
            match self.peek() {
                Some('$') => {
                    self.start = self.at;
                    self.next();
                    self.emit(Kind::Text);
                }
                Some('{') => {
                    self.next();
                    self.depth += 1;
                    self.emit(Kind::Open);
                    return State::Operator;
                }
                Some(c) if word(c) => return State::Variable,
                _ => {}
            }
        }
        if self.at > self.start {
            self.emit(Kind::Text);
        }
        self.emit(Kind::End);
        State::Done
    }

    fn variable(&mut self) -> State {
        while self.peek().is_some_and(word) {
            self.next();
        }
        if matches!(&self.input[self.start..self.at], "_" | "$_") {
            return State::Text;
        }
        self.emit(Kind::Variable);
        if self.depth > 0 { State::Operator } else { State::Text }
    }

    fn close(&mut self) -> State {
        self.depth = self.depth.saturating_sub(1);
        self.emit(Kind::Close);
        State::Text
    }

    fn unclosed(&mut self) -> State {
        self.emit(Kind::Unclosed);
        State::Done
    }

    fn after_open(&self) -> bool {
        self.input[self.last..].starts_with("${")
    }

    fn operator(&mut self) -> State {
        match self.next() {
            Some('}') => return self.close(),
            None | Some('\r' | '\n') => return self.unclosed(),
            Some(c) if word(c) && self.after_open() => return State::Variable,
            Some('+') => self.emit(Kind::Plus),
            Some('-') => self.emit(Kind::Dash),
            Some('=') => self.emit(Kind::Equals),
            Some(':') => match self.next() {
                Some('-') => self.emit(Kind::ColonDash),
                Some('=') => self.emit(Kind::ColonEquals),
                Some('+') => self.emit(Kind::ColonPlus),
                _ => {}
            },
            Some(_) => {}
        }
        State::Substitution
    }

    fn substitution(&mut self) -> State {
        match self.next() {
            Some('}') => self.close(),
            None | Some('\r' | '\n') => self.unclosed(),
            Some(c) if c == '$' || (word(c) && self.after_open()) => State::Variable,
            Some(_) => {
                self.emit(Kind::Text);
                State::Substitution
            }
        }
    }
}

fn word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        [("A", "a"), ("EMPTY", ""), ("TWO", "x\ny"), ("B", "b")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn each_documented_form_gives_what_k0sctl_gives() {
        // Goal: the table of a8m/envsubst's README, and its known oddities, hold here.
        let table = [
            ("$A ${A} x$A.", "a a xa."),
            ("$NO|${NO}|", "||"),
            ("${NO-d} ${NO:-d} ${EMPTY-d} ${EMPTY:-d}", "d d  d"),
            ("${NO=d} ${NO:=d} ${EMPTY:=d}", "d d d"),
            ("${A+o} ${NO+o}| ${A:+o} ${NO:+o}|", "o | o |"),
            ("${NO:-$B} ${NO-$B}", "b b"),
            ("$$A $$ {", "$A $ {"),
            ("$(date) $- 5$", "$(date) $- 5$"),
            ("${NO:-10.0.0.1:6443/x y}", "10.0.0.1:6443/x y"),
            ("${NO:-x$B}", "x$B"),
            ("${A:-}|${NO:-}|", "a||"),
            ("$_ x", "$_ x"),
        ];
        for (text, wanted) in table {
            assert_eq!(substitute("f", text, &env()).expect(text).text, wanted, "{text}");
        }
    }

    #[test]
    fn lines_are_those_of_the_file() {
        // Goal: a value with a line break does not move the lines after it.
        let got = substitute("f", "one\n$TWO\nthree\n", &env()).expect("it is sound");
        assert_eq!(got.text, "one\nx\ny\nthree\n");
        assert_eq!(got.lines, [1, 2, 2, 3, 4]);
    }

    #[test]
    fn an_open_brace_is_refused_with_its_line() {
        // Goal: the reader finds the place, comments included.
        let problem = substitute("f", "a: 1\n# ${A\nb: 2\n", &env()).expect_err("it is open");
        assert_eq!(problem.line, 2);
    }

    #[test]
    fn what_was_not_set_is_told() {
        // Goal: an empty address from a forgotten variable can be explained.
        let got = substitute("f", "a\n$NO ${NO2:-d} ${NO3}", &env()).expect("it is sound");
        assert_eq!(got.unset, [("NO".to_owned(), 2), ("NO3".to_owned(), 2)]);
    }
}
