//! What can be typed after `demo`.

use clap::Args;

/// Of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Controllers and workers.
    #[arg(long, default_value = "3+2", value_name = "C+W")]
    pub hosts: String,
    /// Kill the tool at points drawn from this seed and resume it, then compare the end with that of an undisturbed run.
    #[arg(long, value_name = "SEED")]
    pub chaos: Option<u64>,
    /// Leave the fleet running, with a k0sctl.yaml on which all verbs work.
    #[arg(long, conflicts_with = "chaos")]
    pub shell: bool,
}
