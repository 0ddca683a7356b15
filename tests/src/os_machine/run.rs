//! The stand-in's command line: k0s itself, its subcommands, and the processes of containers.

use super::OsMachine;
use super::seed::{self, VERSION};
use k0rotate_activities::fleet::KeyKind;
use k0rotate_activities::k0s::flag;
use k0rotate_activities::rehearsal::k0s::Program;
use k0rotate_activities::rehearsal::k0s::cli::{self, Outcome};
use k0rotate_activities::rehearsal::k0s::container::Task;
use k0rotate_activities::rehearsal::k0s::controller::Controller;
use k0rotate_activities::rehearsal::k0s::setup::Setup;
use k0rotate_activities::rehearsal::k0s::worker;
use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;

/// Set for the process of a container: what runs in it.
pub const TASK: &str = "K0S_STANDIN_TASK";

/// A container's program as a text.
pub fn task_text(task: &Task) -> String {
    task.as_agent().map_or_else(String::new, |(node, server, volume)| format!("{node}\n{server}\n{volume}"))
}

/// The first process of a container. SIGTERM does nothing to it.
pub fn container(text: &str) -> i32 {
    let task = match text.split('\n').collect::<Vec<_>>()[..] {
        [node, server, volume] => Task::agent(node, server, volume),
        _ => Task::other(),
    };
    OsMachine::here("/var/lib/k0s").drive_main(Program::Task(task))
}

/// `k0s ARGS…`; its exit status.
pub fn run(args: &[String]) -> i32 {
    let data = flag(args, "data-dir").unwrap_or("/var/lib/k0s").to_owned();
    let mut machine = OsMachine::here(&data);
    let main = matches!(args.get(1).map(String::as_str), Some("controller" | "worker"));
    if !main || args.iter().any(|arg| arg == "--init-only") {
        return subcommand(&mut machine, &args[1..]);
    }
    let setup = Arc::new(Setup::of(&machine, VERSION, args, KeyKind::P256));
    let program = if setup.controller {
        seed::give_objects(&data);
        Program::Controller(Box::new(Controller::new(&setup)))
    } else {
        Program::Worker(Box::new(worker::Main::new(&setup)))
    };
    machine.drive_main(program)
}

fn subcommand(machine: &mut OsMachine, args: &[String]) -> i32 {
    let mut stdin = Vec::new();
    if args.iter().any(|arg| arg == "-") && !std::io::stdin().is_terminal() {
        let _ = std::io::stdin().read_to_end(&mut stdin);
    }
    match cli::run(machine, VERSION, args, &stdin) {
        Outcome::Done(output) => {
            let _ = std::io::stdout().write_all(&output.stdout);
            let _ = std::io::stderr().write_all(&output.stderr);
            output.status
        }
        Outcome::Waits(said) => {
            let _ = std::io::stderr().write_all(&said);
            loop {
                std::thread::park();
            }
        }
        Outcome::Unknown => {
            eprintln!("standin: unknown command: k0s {}", args.join(" "));
            127
        }
    }
}
