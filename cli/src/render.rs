//! What people and programs are shown.

pub mod live;
pub mod screen;

use jiff::Timestamp as Instant;
use k0rotate_engine::clock::Timestamp;
use std::time::Duration;

/// A time in RFC 3339, UTC, to the second.
pub fn rfc3339(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    Instant::from_second(seconds).map_or_else(|_| "?".to_owned(), |instant| instant.to_string())
}

/// The time of day, UTC.
pub fn clock_of(at: Timestamp) -> String {
    rfc3339(at).get(11..19).unwrap_or("?").to_owned()
}

/// A duration for people: `0.3 s`, `9.1 s`, `2 m 05 s`, `3 h 10 m`.
pub fn seconds(d: Duration) -> String {
    let whole = d.as_secs();
    match whole {
        0..60 => format!("{}.{} s", whole, d.subsec_millis() / 100),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
    }
}
