//! When what was done: a line for each phase, then one for each host in each phase that worked on hosts.

use crate::render::{clock_of, rfc3339, seconds};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::execution::{Side, StepStatus};
use k0rotate_engine::view::{ExecutionView, PhaseView, StepView};
use std::fmt::Write;

/// More hosts than this are counted in the line of a phase; each has its own below.
const NAMED: usize = 8;
/// What a step is about that is about no host.
const CLUSTER: &str = "cluster";

/// Both tables.
pub fn timeline(view: &ExecutionView) -> String {
    let mut text = "## Timeline\n\n| began | phase | hosts | took |\n|---|---|---|---|\n".to_owned();
    let mut by_host = String::new();
    for (at, phase) in view.phases.iter().enumerate() {
        let next = view.phases.get(at + 1).map_or(view.last, |next| next.started);
        let ended = phase.steps.iter().filter_map(|s| s.ended).max().unwrap_or(next);
        let (title, took) = (title(phase), seconds(ended.since(phase.started)));
        let _ = writeln!(text, "| {} | {title} | {} | {took} |", rfc3339(phase.started), hosts(phase));
        for host in targets(phase).into_iter().filter(|target| *target != CLUSTER) {
            let _ = writeln!(by_host, "| {title} | {}", line(phase, host));
        }
    }
    if !by_host.is_empty() {
        let _ =
            write!(text, "\n### By host\n\n| phase | host | began | took | end |\n|---|---|---|---|---|\n{by_host}");
    }
    text
}

fn title(phase: &PhaseView) -> String {
    let side = if phase.side == Side::Back { "back: " } else { "" };
    format!("{side}{}", phase.title)
}

/// Of all its steps, in the order in which the first of each started.
fn targets(phase: &PhaseView) -> Vec<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for step in &phase.steps {
        if !seen.contains(&step.target.as_str()) {
            seen.push(&step.target);
        }
    }
    seen
}

fn hosts(phase: &PhaseView) -> String {
    let done = |target: &&str| phase.steps.iter().any(|s| s.target == **target && s.status == StepStatus::Done);
    let seen: Vec<&str> = targets(phase).into_iter().filter(done).collect();
    if seen.len() > NAMED { format!("{} hosts", seen.len()) } else { seen.join(" ") }
}

/// The rest of a host's line in a phase.
fn line(phase: &PhaseView, host: &str) -> String {
    let steps: Vec<&StepView> = phase.steps.iter().filter(|step| step.target == host).collect();
    let began = steps.iter().map(|step| step.started).min().unwrap_or(Timestamp(0));
    let ended = steps.iter().filter_map(|step| step.ended).max();
    let took = ended.map_or_else(|| "–".to_owned(), |ended| seconds(ended.since(began)));
    format!("{host} | {} | {took} | {} |", clock_of(began), end(&steps))
}

/// The worst of its steps: a word for people.
fn end(steps: &[&StepView]) -> &'static str {
    let any = |wanted: &dyn Fn(StepStatus) -> bool| steps.iter().any(|step| wanted(step.status));
    if any(&|status| matches!(status, StepStatus::Failed(_))) {
        "failed"
    } else if any(&|status| status == StepStatus::Left) {
        "left"
    } else if any(&|status| status == StepStatus::Open) {
        "open"
    } else {
        "ok"
    }
}

#[cfg(test)]
mod tests {
    //! Shows both tables of a history made by hand.

    use super::timeline;
    use k0rotate_engine::clock::Timestamp;
    use k0rotate_engine::event::{Event, Json, LeftWhy, Record};
    use k0rotate_engine::failure::{Effect, Failure};
    use k0rotate_engine::ids::{ExecutionId, Incarnation, StepId};
    use k0rotate_engine::view::ExecutionView;

    fn json() -> Json {
        Json("null".to_owned())
    }

    fn started(activity: &str, target: &str) -> Event {
        let (step, activity, target) = (StepId::of("x", activity, target), activity.to_owned(), target.to_owned());
        Event::StepStarted { step, activity, target, input: json(), before: json(), group: None, undo: false }
    }

    fn done(activity: &str, target: &str) -> Event {
        Event::StepSucceeded { step: StepId::of("x", activity, target), output: json() }
    }

    fn view(events: Vec<(u64, Event)>) -> ExecutionView {
        let id = |second: u64, event: Event, seq: u64| Record {
            execution: ExecutionId::new("e"),
            seq,
            time: Timestamp(second * 1000),
            incarnation: Incarnation::new("i"),
            event,
        };
        let records: Vec<Record> = (0..).zip(events).map(|(seq, (second, event))| id(second, event, seq)).collect();
        ExecutionView::of(&records).expect("it is legal").expect("it is not empty")
    }

    fn begin() -> (u64, Event) {
        let text = |text: &str| text.to_owned();
        let start = Event::ExecutionStarted {
            workflow: text("rotate"),
            version: 1,
            subject: text("c"),
            input: json(),
            by: text("me"),
            reason: text(""),
            trace_id: text("t"),
        };
        (0, start)
    }

    /// Goal: each host has a line with its own time and end in a phase that works on hosts; a step about the cluster has none.
    #[test]
    fn a_line_for_each_host() {
        let phase = |slug: &str| Event::PhaseStarted { slug: slug.to_owned(), title: format!("Do {slug}") };
        let left = Event::StepLeft {
            step: StepId::of("x", "rejoin", "w2"),
            target: "w2".to_owned(),
            why: LeftWhy::Failure { failure: Failure::new("host-unreachable"), effect: Effect::Absent },
        };
        let text = timeline(&view(vec![
            begin(),
            (1, phase("one")),
            (1, started("make", "cluster")),
            (2, done("make", "cluster")),
            (3, phase("two")),
            (3, started("rejoin", "w1")),
            (4, started("rejoin", "w2")),
            (8, done("rejoin", "w1")),
            (10, left),
        ]));
        for line in [
            "| 1970-01-01T00:00:01Z | Do one | cluster | 1.0 s |",
            "| 1970-01-01T00:00:03Z | Do two | w1 | 7.0 s |",
            "| Do two | w1 | 00:00:03 | 5.0 s | ok |",
            "| Do two | w2 | 00:00:04 | 6.0 s | left |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("| Do one | cluster |\n") && text.matches("| cluster |").count() == 1, "{text}");
    }

    /// Goal: of fifty hosts the line of the phase has the number, and each has its own line.
    #[test]
    fn fifty_hosts_stay_readable() {
        let hosts: Vec<String> = (1..=50).map(|i| format!("w{i}")).collect();
        let mut events = vec![begin(), (1, Event::PhaseStarted { slug: "two".into(), title: "Do two".into() })];
        events.extend(hosts.iter().map(|host| (1, started("rejoin", host))));
        events.extend(hosts.iter().map(|host| (2, done("rejoin", host))));
        let text = timeline(&view(events));
        assert!(text.contains("| Do two | 50 hosts | 1.0 s |"), "{text}");
        assert_eq!(text.matches("| 1.0 s | ok |").count(), 50);
    }
}
