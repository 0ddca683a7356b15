//! Times as Kubernetes and systemd write them.

use k0rotate_engine::clock::Timestamp;

/// In UTC.
fn zoned(t: Timestamp) -> jiff::Timestamp {
    let millis = i64::try_from(t.0).unwrap_or(0);
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// `2026-11-24T02:36:21Z`.
pub fn second(t: Timestamp) -> String {
    zoned(t).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-24T02:36:21.619126Z`, of Leases.
pub fn micro(t: Timestamp) -> String {
    zoned(t).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// `2026-11-24-02-24-56`, in names of the kubelet's files.
pub fn dashed(t: Timestamp) -> String {
    zoned(t).strftime("%Y-%m-%d-%H-%M-%S").to_string()
}

/// `Tue 2026-11-24 02:25:16 UTC`, of systemd.
pub fn systemd(t: Timestamp) -> String {
    zoned(t).strftime("%a %Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2026-11-24T02:36:21+0000`, of journalctl.
pub fn journal(t: Timestamp) -> String {
    zoned(t).strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

/// Milliseconds since the epoch of a time as Kubernetes writes it.
pub fn millis(text: &str) -> Option<u64> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(parsed.as_millisecond()).ok()
}
