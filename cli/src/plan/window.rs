//! Whether a window has room for what is expected of both ways.

use super::forecast::Forecast;
use super::text::about;
use crate::render::rfc3339;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{RollBackCause, Zone};
use k0rotate_engine::execution::Side;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::time::Duration;

/// From when and until when the controllers may be stopped.
pub type Between = (Timestamp, Timestamp);

/// A rotation that waits for the first of these windows, the next one first, that has room for what is expected of both ways; for the last
/// of them if none has. One that is open may have too little left.
pub fn within(rotate: Rotate, windows: &[Between], forecast: Option<&Forecast>, now: Timestamp) -> Rotate {
    let at = |(from, until): &Between| Rotate { not_before: Some(*from), not_after: Some(*until), ..rotate.clone() };
    let fits = |rotate: &Rotate| match forecast.and_then(|forecast| Window::of(rotate, forecast, now)) {
        Some(window) => window.fits(),
        None => rotate.not_after.is_some_and(|until| now.plus(Duration::from_secs(rotate.room_seconds)) <= until),
    };
    windows.iter().map(at).find(fits).or_else(|| windows.last().map(at)).unwrap_or(rotate)
}

/// Until when the window was that a rotation missed: it was taken back for that, or can only be.
pub fn missed(view: &ExecutionView, now: Timestamp) -> Option<Timestamp> {
    let rotate: Rotate = view.input.decode().ok().filter(|_| view.workflow == "rotate")?;
    let until = rotate.not_after?;
    let over = now.plus(Duration::from_secs(rotate.room_seconds)) > until;
    let waits = view.state.side() == Side::Forward && view.state.zone() == Zone::Free && !view.state.status.ended();
    (was_missed(view) || (waits && over)).then_some(until)
}

/// Whether it was taken back because its window had passed.
pub fn was_missed(view: &ExecutionView) -> bool {
    match &view.roll_back {
        Some((RollBackCause::WindowPassed, _)) => true,
        Some((RollBackCause::Asked { reason, .. }, _)) => reason.starts_with(MISSED),
        _ => false,
    }
}

/// Why a rotation is taken back whose window passed while it waited for an approval.
pub fn missed_reason(until: Timestamp) -> String {
    format!("{MISSED}: until {} nobody had approved", rfc3339(until))
}

const MISSED: &str = "the window has passed";

/// A window that ends, beside the forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The last moment at which the controllers are stopped, milliseconds since the epoch: later, both ways might not end in time.
    pub stop_by: Timestamp,
    /// When they are expected to be, if it is started now.
    pub stop_at: Timestamp,
    /// What both ways are expected to take from then on, seconds.
    pub room_seconds: u64,
}

impl Window {
    /// That of a rotation started now; `None` where no end was set.
    pub fn of(rotate: &Rotate, forecast: &Forecast, now: Timestamp) -> Option<Self> {
        let until = rotate.not_after?;
        let room_seconds = forecast.room().as_secs() + 1;
        let free = forecast.forward.total_ms.saturating_sub(forecast.forward.from_down_ms);
        let prepared = now.plus(Duration::from_millis(free));
        Some(Self {
            stop_by: Timestamp(until.0.saturating_sub(room_seconds * 1000)),
            stop_at: rotate.not_before.map_or(prepared, |from| from.max(prepared)),
            room_seconds,
        })
    }

    /// Whether they are stopped at all.
    pub fn fits(&self) -> bool {
        self.stop_at <= self.stop_by
    }

    /// In a line of the plan.
    pub fn sentence(&self) -> String {
        let (by, at, room) = (rfc3339(self.stop_by), rfc3339(self.stop_at), about(self.room_seconds * 1000));
        format!(
            "Window: both ways take {room}, so that the controllers must be stopped by {by}; they are expected to be at {at}."
        )
    }

    /// What somebody should know of one that is too short.
    pub fn too_short(&self) -> Option<String> {
        let room = about(self.room_seconds * 1000);
        (!self.fits()).then(|| {
            format!("the window has no room for {room} of both ways: a rotation that is started now is refused")
        })
    }
}
