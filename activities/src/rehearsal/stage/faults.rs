//! What goes wrong on a rehearsal fleet, change by change.

use crate::host::Fence;
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A fault of one change; changes are counted from 1 over the whole fleet, in the order in which they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine refuses it: nothing is changed, the list ends.
    Refuse,
    /// It is carried out by half, the list ends there and the link is lost.
    Tear,
    /// The link is lost before it begins; it lands so much later, if the mark still lets it.
    Delay(Duration),
    /// It is carried out, and the rest of the list; the link is lost before the answer.
    LoseReply,
    /// The client ends just before it; what was begun goes on.
    CrashBefore,
    /// The client ends just after it; what was begun goes on.
    CrashAfter,
    /// The link is cut for so long, before it begins; what was begun goes on.
    Cut(Duration),
    /// The machine loses its power before it and is given it back after so long (`None`: never).
    PowerCut(Option<Duration>),
}

/// A link between us and a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// When it is given back; `None`: never.
    pub back: Option<Timestamp>,
}

impl Link {
    /// Whether it is away.
    pub fn is_cut(&self, now: Timestamp) -> bool {
        self.back.is_none_or(|back| now < back)
    }

    /// When it comes back.
    pub fn due(&self) -> Option<Timestamp> {
        self.back
    }
}

/// What is planned to go wrong, and what was counted.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// By the number of the change.
    pub plan: BTreeMap<u64, Fault>,
    /// Links that are or were cut.
    pub links: BTreeMap<String, Link>,
    /// Machines that get their power back later.
    pub power_back: BTreeMap<String, Timestamp>,
    /// Changes so far.
    pub changes: u64,
    /// What each change was, for reports: `host kind path`.
    pub log: Vec<String>,
    /// Who made each of them.
    pub by: Vec<Fence>,
    /// Questions of clients so far, those about the time included.
    pub questions: u64,
    /// The client ends at the question of this number: it is answered, and the answer never heard.
    pub crash_at_question: Option<u64>,
    /// Once so many changes were carried out, time stands until this is taken away; looks are answered meanwhile.
    pub stand_at: Option<u64>,
    /// A planned crash of the client has come: whoever drives must drop what it does.
    pub crashed: bool,
    /// Until when a client may drive; then it crashes. Where nobody is waited for it would look for ever at what never comes.
    pub client_until: Option<Timestamp>,
}

impl Faults {
    /// Whether time stands.
    pub fn stands(&self) -> bool {
        self.stand_at.is_some_and(|at| self.changes >= at)
    }

    /// Nothing that is planned happens any more.
    pub fn forget_plans(&mut self) {
        self.plan.clear();
        self.crash_at_question = None;
        self.crashed = false;
    }

    /// Counts a question; a planned end of the client may have come with it.
    pub fn count_question(&mut self) {
        self.questions += 1;
        if self.crash_at_question.take_if(|at| *at <= self.questions).is_some() {
            self.crashed = true;
        }
    }

    /// Counts a change and says what goes wrong with it.
    pub fn count(&mut self, what: String, by: &Fence) -> Option<Fault> {
        self.changes += 1;
        self.log.push(what);
        self.by.push(by.clone());
        self.plan.remove(&self.changes)
    }

    /// Whether a client has driven for as long as it may.
    pub fn outlived(&self, now: Timestamp) -> bool {
        self.client_until.is_some_and(|until| now >= until)
    }
}
