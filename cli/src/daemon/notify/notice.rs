//! What a person is told: an event of a history that matters to somebody who does not look on, or what happened outside of all histories.

use crate::audit::Entry;
use crate::break_glass::ABOUT;
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_workflows::rotate::APPROVAL;
use k0rotate_workflows::waves::LIMIT;
use serde::Serialize;

/// The only format so far.
const FORMAT: u32 = 1;

/// See the file's sentence. docs/daemon.md has its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    format: u32,
    /// When, UTC.
    pub time: String,
    /// Of which cluster.
    pub cluster: String,
    /// What happened: the name of an event, or of what is none.
    pub what: String,
    /// The same as a sentence.
    pub says: String,
    /// On whose word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why, as they said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whom it concerns before all others: who may approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Of an event: where it stands, and what the audit says of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub event: Option<Place>,
}

/// Where an event stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the audit's")]
pub struct Place {
    pub execution: ExecutionId,
    pub workflow: String,
    pub event: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    pub trace_id: String,
}

impl Notice {
    /// Of what is in no history.
    pub fn new(cluster: &str, what: &str, says: String) -> Self {
        let (cluster, what) = (cluster.to_owned(), what.to_owned());
        Self {
            format: FORMAT,
            time: jiff::Timestamp::now().to_string(),
            cluster,
            what,
            says,
            who: None,
            why: None,
            to: Vec::new(),
            event: None,
        }
    }

    /// The same on somebody's word.
    #[must_use]
    pub fn by(self, who: String) -> Self {
        Self { who: Some(who), ..self }
    }

    /// The same for those that it concerns before all others.
    #[must_use]
    pub fn to(self, to: &[String]) -> Self {
        Self { to: to.to_vec(), ..self }
    }

    /// Of an event, as the audit has it; none if nobody needs to know.
    pub fn of(entry: Entry, approvers: &[String]) -> Option<Self> {
        let says = says(&entry)?;
        let about = entry.about.as_deref().unwrap_or_default();
        let to = if [ABOUT, APPROVAL].contains(&about) { approvers.to_vec() } else { Vec::new() };
        let who = Some(entry.who).filter(|who| !who.is_empty());
        let (cluster, what, why) = (entry.cluster, entry.what, entry.why);
        let event = Place {
            execution: entry.execution,
            workflow: entry.workflow,
            event: entry.event,
            about: entry.about,
            host: entry.host,
            failure: entry.failure,
            plan: entry.plan,
            trace_id: entry.trace_id,
        };
        Some(Self { format: FORMAT, time: entry.time, cluster, what, says, who, why, to, event: Some(event) })
    }
}

/// What an event says to a person; none if it says nothing that they must know.
fn says(entry: &Entry) -> Option<String> {
    let Entry { cluster, workflow, who, .. } = entry;
    let why = entry.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
    let failure = entry.failure.as_deref().unwrap_or_default();
    let host = entry.host.as_deref().unwrap_or_default();
    let said = match (entry.what.as_str(), entry.about.as_deref().unwrap_or_default()) {
        ("execution-started", ABOUT) => {
            let skipped = entry.outcome.as_ref().map_or_else(String::new, |skipped| format!(" ({skipped})"));
            format!("BREAK-GLASS: {who} replaces all roots, for the keys leaked{skipped}{why}")
        }
        ("execution-started", _) => format!("{who} asked for it{why}"),
        ("wait-started", "window") => "waits for its window; nothing is stopped yet".to_owned(),
        ("wait-started", about) if about.starts_with(LIMIT) => {
            "as many have failed as may: no new one begins".to_owned()
        }
        ("wait-started", about) => format!("waits for {about}"),
        ("wait-ended", "window") => "its window has begun".to_owned(),
        ("wait-ended", about) => format!("{who} said {about}{why}"),
        ("zone-entered", "down") => "the API is down: the controllers are stopped".to_owned(),
        ("zone-entered", "held") => "the API is up, and the control plane is verified".to_owned(),
        ("stuck", _) => format!("needs somebody: {failure}"),
        ("resumed", _) => format!("{who} lets it go on{why}"),
        ("roll-back-started", ABOUT) => format!("goes back TO THE LEAKED TRUST{why}"),
        ("roll-back-started", _) => format!("goes back{why}"),
        ("left-behind", _) => format!("{who} leaves {host} behind{why}"),
        ("step-left", _) if !failure.is_empty() => format!("goes on without {host}: {failure}"),
        ("adopted", _) => format!("{who} took it over{why}"),
        ("completed" | "rolled-back", about) => {
            let end = match (entry.what.as_str(), about) {
                ("completed", _) => "has ended",
                (_, ABOUT) => "is back: THE LEAKED TRUST IS IN USE",
                _ => "is back at the first trust",
            };
            entry.host.as_ref().map_or_else(|| end.to_owned(), |without| format!("{end}, {without}"))
        }
        _ => return None,
    };
    Some(format!("{workflow} of {cluster}: {said}"))
}
