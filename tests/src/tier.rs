//! How much is run, and how a test that cannot run says so.

use std::fs::OpenOptions;
use std::io::Write;

/// `tests/run` sets it to `fast` or `full`; anything else is the tier that CI runs.
pub const TIER: &str = "K0ROTATE_TIER";
/// A file in which every skipped test leaves a line; `tests/run` counts them.
pub const SKIPS: &str = "K0ROTATE_SKIPS";
/// Set where every test must run: a skip fails.
pub const NO_SKIPS: &str = "K0ROTATE_NO_SKIPS";

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// At most three minutes: the smallest enumeration.
    Fast,
    /// What CI runs.
    Normal,
    /// Before an issue is resolved.
    Full,
}

/// The tier of this run.
pub fn tier() -> Tier {
    match std::env::var(TIER).as_deref() {
        Ok("fast") => Tier::Fast,
        Ok("full") => Tier::Full,
        _ => Tier::Normal,
    }
}

/// Says that the test that calls it cannot run here; the caller returns at once. Fails where nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os(NO_SKIPS).is_none(), "{test} must run here but would be skipped: {why}");
    eprintln!("skipped: {why}: {test}");
    let Some(path) = std::env::var_os(SKIPS) else { return };
    let line = format!("{why}: {test}\n");
    let written =
        OpenOptions::new().create(true).append(true).open(path).and_then(|mut f| f.write_all(line.as_bytes()));
    written.expect("the file of skips is writable");
}

/// Says that the test is not of this tier; not a skip, since it was not asked for.
pub fn not_in(needed: Tier) -> bool {
    tier() < needed
}

/// Whether we are root on Debian, where machines can be booted.
pub fn can_boot_machines() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let debian = std::fs::read_to_string("/etc/os-release").is_ok_and(|t| t.contains("ID=debian"));
    root && debian
}
