//! What can be typed after `fleet`.

use super::Sure;
use clap::{Args, Subcommand};
use k0rotate_workflows::waves::Size;

/// Of `fleet`.
#[derive(Debug, Subcommand)]
pub enum FleetVerb {
    /// Replace the trust of many clusters of the daemon, in waves; goes on in the daemon.
    Rotate(FleetRotateArgs),
    /// All fleets, and where each is.
    List,
    /// Each cluster of a fleet: where it is, how long its API was away, and what comes next.
    Show(FleetArgs),
    /// Begin no further cluster; what runs goes on.
    Pause(FleetWordArgs),
    /// Go on after a pause, or where as many have failed as may: then as many more may.
    Resume(FleetWordArgs),
    /// Finalize all of its rotations that wait for it: their old keys are destroyed, no way back after that.
    Finalize(FleetWordArgs),
}

/// Of `fleet rotate`.
#[derive(Args, Debug)]
pub struct FleetRotateArgs {
    /// Labels that a cluster must have, all of them: `env=prod,site=fra`.
    #[arg(long, value_name = "LABELS")]
    pub selector: String,
    /// How many clusters each wave has; `rest` takes all that are left.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "1,rest")]
    pub waves: Vec<Size>,
    /// At so many that are stuck, went back or were refused no new one begins.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_failed: u32,
    /// Rotations under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub at_once: u32,
    /// How it is confirmed.
    #[command(flatten)]
    pub sure: Sure,
}

/// A fleet to look at.
#[derive(Args, Debug)]
pub struct FleetArgs {
    /// Its id, or a unique beginning of it; by default the last one.
    pub fleet: Option<String>,
}

/// A fleet, and a word about it.
#[derive(Args, Debug)]
pub struct FleetWordArgs {
    /// Its id, or a unique beginning of it; by default the last one.
    pub fleet: Option<String>,
    /// How it is confirmed.
    #[command(flatten)]
    pub sure: Sure,
}
