//! A history as a pass of the workflow's code reads it: the entries of each leg in order, and what is recorded of each step.

use crate::clock::Timestamp;
use crate::event::{Event, Json, LeftWhy, Record, Zone};
use crate::execution::Side;
use crate::ids::{Seq, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that the code asked for and that the history holds at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Phase(String),
    Zone(Zone),
    Step(StepId),
    Wait(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(slug) => write!(f, "phase {slug}"),
            Self::Zone(zone) => write!(f, "zone {zone:?}"),
            Self::Step(step) => write!(f, "step {step}"),
            Self::Wait(name) => write!(f, "wait {name}"),
        }
    }
}

/// What is recorded of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepRecord {
    pub(crate) id: StepId,
    pub(crate) activity: String,
    pub(crate) target: String,
    /// `None` if its target had been left before it could start.
    pub(crate) use_: Option<(Json, Json)>,
    pub(crate) group: Option<String>,
    pub(crate) started: Timestamp,
    /// Where its last attempt was recorded.
    pub(crate) attempt_seq: Seq,
    pub(crate) output: Option<Json>,
}

/// The entries and steps of one leg.
#[derive(Default)]
pub(crate) struct LegBook {
    pub(crate) entries: Vec<(Seq, Entry)>,
    pub(crate) steps: BTreeMap<StepId, StepRecord>,
    wait_ends: BTreeMap<String, Timestamp>,
}

/// The entries and steps of both legs.
#[derive(Default)]
pub(crate) struct Book {
    forward: LegBook,
    back: LegBook,
    is_back: bool,
    left_behind: Vec<(Seq, String)>,
    started: Timestamp,
}

impl Book {
    pub(crate) fn leg(&self, side: Side) -> &LegBook {
        match side {
            Side::Forward => &self.forward,
            Side::Back => &self.back,
        }
    }

    /// When the execution started.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Hosts that were left behind before the place `until`.
    pub(crate) fn left_behind(&self, until: Option<Seq>) -> Vec<String> {
        let before = self.left_behind.iter().filter(|(seq, _)| until.is_none_or(|until| *seq < until));
        before.map(|(_, host)| host.clone()).collect()
    }

    /// What was written: an event that rode is known already, and only gets its place.
    pub(crate) fn written(&mut self, record: &Record) {
        if !rides(&record.event) {
            self.add(record.seq, record.time, &record.event);
        }
    }

    pub(crate) fn add(&mut self, seq: Seq, time: Timestamp, event: &Event) {
        let leg = if self.is_back { &mut self.back } else { &mut self.forward };
        match event {
            Event::ExecutionStarted { .. } => self.started = time,
            Event::PhaseStarted { slug, .. } => leg.entries.push((seq, Entry::Phase(slug.clone()))),
            Event::ZoneEntered { zone, .. } => leg.entries.push((seq, Entry::Zone(*zone))),
            Event::StepStarted { .. } | Event::StepLeft { why: LeftWhy::Earlier(_), .. } => leg.add(seq, time, event),
            Event::StepRetried { step, .. } => {
                if let Some(step) = leg.steps.get_mut(step) {
                    step.attempt_seq = seq;
                }
            }
            Event::StepSucceeded { step, output } => {
                if let Some(step) = leg.steps.get_mut(step) {
                    step.output = Some(output.clone());
                }
            }
            Event::WaitStarted { name, .. } => leg.entries.push((seq, Entry::Wait(name.clone()))),
            Event::WaitEnded { name, .. } => {
                leg.wait_ends.insert(name.clone(), time);
            }
            Event::RollBackStarted { .. } => self.is_back = true,
            Event::LeftBehind { hosts, .. } => {
                self.left_behind.extend(hosts.iter().map(|host| (seq, host.clone())));
            }
            _ => {}
        }
    }
}

/// Events that count as having happened before they are durable.
pub(crate) fn rides(event: &Event) -> bool {
    matches!(
        event,
        Event::PhaseStarted { .. } | Event::ZoneEntered { .. } | Event::StepSucceeded { .. } | Event::StepLeft { .. }
    )
}

impl LegBook {
    fn add(&mut self, seq: Seq, time: Timestamp, event: &Event) {
        let record = match event {
            Event::StepStarted { step, activity, target, input, before, group, .. } => StepRecord {
                id: step.clone(),
                activity: activity.clone(),
                target: target.clone(),
                use_: Some((input.clone(), before.clone())),
                group: group.clone(),
                started: time,
                attempt_seq: seq,
                output: None,
            },
            Event::StepLeft { step, target, .. } => StepRecord {
                id: step.clone(),
                activity: String::new(),
                target: target.clone(),
                use_: None,
                group: None,
                // It rode, so its time was not known when the code went on: it must not count later either.
                started: Timestamp::default(),
                attempt_seq: seq,
                output: None,
            },
            _ => return,
        };
        self.entries.push((seq, Entry::Step(record.id.clone())));
        self.steps.insert(record.id.clone(), record);
    }

    /// Steps in the order in which they were recorded.
    pub(crate) fn in_order(&self) -> impl DoubleEndedIterator<Item = (Seq, &StepRecord)> {
        self.entries.iter().filter_map(|(seq, entry)| match entry {
            Entry::Step(id) => self.steps.get(id).map(|step| (*seq, step)),
            _ => None,
        })
    }
}

/// How far a pass of the code has come in its leg.
pub(crate) struct Pass {
    pub(crate) side: Side,
    cursor: usize,
    used: BTreeSet<String>,
    pub(crate) phase: Option<String>,
    /// The zone at this place; the state's may be further.
    pub(crate) zone: Zone,
    pub(crate) left: Vec<String>,
    pub(crate) time: Timestamp,
}

/// Why the code does not fit to the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    UsedTwice(String),
    Other { recorded: String, asked: String },
}

impl Pass {
    pub(crate) fn new(side: Side, zone: Zone, time: Timestamp) -> Self {
        Self { side, cursor: 0, used: BTreeSet::new(), phase: None, zone, left: Vec::new(), time }
    }

    /// Whether all that is recorded of the leg was visited.
    pub(crate) fn at_end(&self, book: &Book) -> bool {
        self.cursor == book.leg(self.side).entries.len()
    }

    /// What was asked for live is recorded now.
    pub(crate) fn skip_to_end(&mut self, book: &Book) {
        self.cursor = book.leg(self.side).entries.len();
    }

    /// The place of the next entry that was not visited.
    pub(crate) fn next_seq(&self, book: &Book) -> Option<Seq> {
        book.leg(self.side).entries.get(self.cursor).map(|(seq, _)| *seq)
    }

    /// The next entry that was not visited.
    pub(crate) fn next<'b>(&self, book: &'b Book) -> Option<&'b Entry> {
        book.leg(self.side).entries.get(self.cursor).map(|(_, entry)| entry)
    }

    /// True if it is recorded here, false if it is new.
    pub(crate) fn visit(&mut self, book: &Book, entry: &Entry) -> Result<bool, Unfit> {
        match self.next(book) {
            None => Ok(false),
            Some(recorded) if recorded == entry => {
                self.cursor += 1;
                self.passed(book, entry);
                Ok(true)
            }
            Some(recorded) => Err(Unfit::Other { recorded: recorded.to_string(), asked: entry.to_string() }),
        }
    }

    /// A name may be used once in a pass.
    pub(crate) fn use_name(&mut self, name: String) -> Result<(), Unfit> {
        if self.used.insert(name.clone()) { Ok(()) } else { Err(Unfit::UsedTwice(name)) }
    }

    /// Visits the members of a group as far as they are recorded. Members are recorded in the order in which they could start,
    /// so within a group any order fits; a member that is not recorded is new, and then nothing may stand behind.
    pub(crate) fn visit_group(&mut self, book: &Book, ids: &BTreeSet<StepId>) -> Result<BTreeSet<StepId>, Unfit> {
        let mut visited = BTreeSet::new();
        while let Some(Entry::Step(id)) = self.next(book) {
            if !ids.contains(id) {
                break;
            }
            visited.insert(id.clone());
            self.cursor += 1;
            self.passed(book, &Entry::Step(id.clone()));
        }
        let new = ids.iter().find(|id| !visited.contains(id));
        match (new, self.next(book)) {
            (Some(new), Some(recorded)) => {
                Err(Unfit::Other { recorded: recorded.to_string(), asked: format!("step {new}") })
            }
            _ => Ok(visited),
        }
    }

    fn passed(&mut self, book: &Book, entry: &Entry) {
        let leg = book.leg(self.side);
        match entry {
            Entry::Phase(slug) => self.phase = Some(slug.clone()),
            Entry::Zone(zone) => self.zone = *zone,
            Entry::Step(id) => self.time = self.time.max(leg.steps.get(id).map_or(self.time, |s| s.started)),
            Entry::Wait(name) => self.time = self.time.max(leg.wait_ends.get(name).copied().unwrap_or(self.time)),
        }
    }
}
