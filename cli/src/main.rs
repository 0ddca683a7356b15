//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    k0rotate::main()
}
