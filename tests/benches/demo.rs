//! What the demo takes of a machine: time on the wall, and memory at the most; see docs/performance.md.

use k0rotate::args::DemoArgs;
use k0rotate::exit::Exit;
use std::time::{Duration, Instant};

/// The bars, which a release build must keep; other builds are slower.
const LONGEST: Duration = Duration::from_secs(30);
const MOST_KILOBYTES: u64 = 100_000;

fn main() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let args = DemoArgs { hosts: "3+2".to_owned(), chaos: None, shell: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let begun = Instant::now();
    let end = runtime.block_on(k0rotate::demo::run(&args, state.path())).expect("it needs no more than a folder");
    let took = begun.elapsed();
    assert_eq!(end, Exit::Done);
    let kilobytes = most_kilobytes();
    println!("| | measured | bar |\n|---|---|---|");
    println!("| wall | {:.2} s | {} s |", took.as_secs_f64(), LONGEST.as_secs());
    println!("| memory at the most | {} MB | {} MB |", kilobytes / 1000, MOST_KILOBYTES / 1000);
    if took > LONGEST || kilobytes > MOST_KILOBYTES {
        std::process::exit(1);
    }
}

/// The most that this process had in memory, as Linux counts it.
fn most_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench runs on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}
