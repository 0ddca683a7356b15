//! What the service manager is told: ready, reloading, alive, ending. Without one it is told to nobody.

use sd_notify::NotifyState;
use std::time::Duration;

/// How much longer an end may take, each time it is asked for.
pub const MORE: Duration = Duration::from_secs(10);

/// That it serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// That it reads the configuration anew; `ready` ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// That it lives; to be told twice in this time.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often it must be told that it lives; none if nobody wants to know.
pub fn watched_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// That it ends, and may take a while longer.
pub fn ending() {
    let more = u32::try_from(MORE.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(more)]);
}

fn tell(state: &[NotifyState]) {
    // Who started us may have gone; that changes nothing.
    let _ = sd_notify::notify(state);
}
