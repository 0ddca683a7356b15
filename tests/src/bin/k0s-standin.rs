//! The stand-in for k0s in the lab: the model of k0s on a real machine.

use k0rotate_tests::os_machine::{self, STANDS, TASK};
use std::process::exit;

fn main() {
    if std::env::var_os(STANDS).is_some() {
        os_machine::stand();
    }
    if let Ok(task) = std::env::var(TASK) {
        exit(os_machine::container(&task));
    }
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("standin-balance") => {
            os_machine::balance(&args[2], &args[3..]).unwrap_or_else(|e| panic!("the balancer can't serve: {e}"));
        }
        Some("standin-seed") => os_machine::seed(&args[2], &args[3]),
        _ => exit(os_machine::run(&args)),
    }
}
