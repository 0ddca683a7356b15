//! What a rotation takes on fleets of different sizes, phase by phase, in the time of the model.

use crate::harness::Bench;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use std::time::Duration;

/// From the first event to the wait for finalize: each phase's slug and how long it took.
pub struct Took(Vec<(String, Duration)>);

impl Took {
    /// On a fleet of this shape.
    ///
    /// # Panics
    /// Where the rotation does not come to its wait.
    pub fn by(plan: FleetPlan) -> Self {
        let bench = Bench::new(plan);
        let execution = bench.start(&bench.rotate());
        let rest = bench.drive(&execution, None);
        assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");
        let history = bench.history(&execution);
        let began = history.iter().filter_map(|record| match &record.event {
            Event::PhaseStarted { slug, .. } => Some((slug.clone(), record.time)),
            _ => None,
        });
        let began: Vec<_> = began.collect();
        let ends = began.iter().skip(1).map(|(_, at)| *at).chain(history.last().map(|record| record.time));
        Self(began.iter().zip(ends).map(|((slug, at), end)| (slug.clone(), end.since(*at))).collect())
    }

    /// One phase.
    pub fn phase(&self, slug: &str) -> Duration {
        self.0.iter().filter(|(of, _)| of == slug).map(|(_, took)| *took).sum()
    }

    /// All of it.
    pub fn all(&self) -> Duration {
        self.0.iter().map(|(_, took)| *took).sum()
    }

    /// Each phase, in order.
    pub fn phases(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.0.iter().map(|(slug, took)| (slug.as_str(), *took))
    }
}
