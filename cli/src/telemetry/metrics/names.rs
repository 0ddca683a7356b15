//! Every metric: its name, unit and attributes, and what it is called on the page; docs/telemetry.md has the same table.

use crate::telemetry::names;

/// What a metric's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from the start of the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Values by size, from the start of the process.
    Histogram,
}

impl Kind {
    /// As the page calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// See the file's sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// In OTLP.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// As UCUM writes it.
    pub unit: &'static str,
    /// On the page for Prometheus.
    pub page: &'static str,
    /// What tells its series apart; on the page with `_` for each `.`.
    pub attributes: &'static [&'static str],
    /// For people.
    pub what: &'static str,
}

/// Executions by state.
pub const EXECUTIONS: Metric = Metric {
    name: "k0rotate.executions",
    kind: Kind::Gauge,
    unit: "{execution}",
    page: "k0rotate_executions",
    attributes: &[names::CLUSTER, names::PIPELINE, names::STATE],
    what: "executions in each state",
};

/// How long steps took.
pub const STEPS: Metric = Metric {
    name: "k0rotate.step.duration",
    kind: Kind::Histogram,
    unit: "s",
    page: "k0rotate_step_duration_seconds",
    attributes: &[names::TASK, names::STEP_OUTCOME],
    what: "how long steps took, from their intent to their result",
};

/// Attempts.
pub const ATTEMPTS: Metric = Metric {
    name: "k0rotate.attempts",
    kind: Kind::Counter,
    unit: "{attempt}",
    page: "k0rotate_attempts_total",
    attributes: &[names::TASK, names::ATTEMPT_OUTCOME],
    what: "attempts of steps that have ended",
};

/// Stays in zones that are over.
pub const ZONES: Metric = Metric {
    name: "k0rotate.zone.duration",
    kind: Kind::Histogram,
    unit: "s",
    page: "k0rotate_zone_duration_seconds",
    attributes: &[names::ZONE],
    what: "how long executions were in a zone that they have left",
};

/// Stays in zones that go on.
pub const STAY: Metric = Metric {
    name: "k0rotate.zone.stay",
    kind: Kind::Gauge,
    unit: "s",
    page: "k0rotate_zone_stay_seconds",
    attributes: &[names::CLUSTER, names::ZONE],
    what: "how long an execution that has not ended is in its zone by now; in `down` the API is away",
};

/// When certificates end.
pub const EXPIRY: Metric = Metric {
    name: "k0rotate.certificate.expiry",
    kind: Kind::Gauge,
    unit: "s",
    page: "k0rotate_certificate_expiry_seconds",
    attributes: &[names::CLUSTER, names::ROOT, names::HOST, names::CERTIFICATE],
    what: "when the first certificate of a root on a host ends, in seconds since 1970",
};

/// When they were looked at.
pub const LOOKED_AT: Metric = Metric {
    name: "k0rotate.certificate.looked_at",
    kind: Kind::Gauge,
    unit: "s",
    page: "k0rotate_certificate_looked_at_seconds",
    attributes: &[names::CLUSTER],
    what: "when the daemon last looked at a cluster's certificates, in seconds since 1970; 0 if it never did",
};

/// How large stores are.
pub const SIZE: Metric = Metric {
    name: "k0rotate.store.size",
    kind: Kind::Gauge,
    unit: "By",
    page: "k0rotate_store_size_bytes",
    attributes: &[names::CLUSTER],
    what: "files of the event log and what is sealed beside it",
};

/// How long commits take.
pub const COMMITS: Metric = Metric {
    name: "k0rotate.store.commit.duration",
    kind: Kind::Histogram,
    unit: "s",
    page: "k0rotate_store_commit_duration_seconds",
    attributes: &[],
    what: "how long it took until events were durable",
};

/// All of them, in the order of the table.
pub const ALL: [&Metric; 9] = [&EXECUTIONS, &STEPS, &ATTEMPTS, &ZONES, &STAY, &EXPIRY, &LOOKED_AT, &SIZE, &COMMITS];
