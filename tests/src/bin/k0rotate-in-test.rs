//! The binary `k0rotate` as tests run it: cargo builds it anew with them, under a name of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    k0rotate::main()
}
