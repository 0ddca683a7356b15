//! Shows that the model behaves as a real k0s was measured to.

use super::*;
use crate::secret::Secret;
use std::time::Duration;

mod certificates;
mod cluster;
mod commands;
mod crashes;
mod rotation;
mod workers;

/// Runs a command line; words are separated by single spaces.
fn run(world: &mut World, host: &str, line: &str) -> Output {
    run_command(world, host, line, Vec::new(), Duration::from_secs(30))
}

fn run_command(world: &mut World, host: &str, line: &str, stdin: Vec<u8>, deadline: Duration) -> Output {
    let mut words = line.split(' ').map(str::to_owned);
    let program = words.next().unwrap();
    let command = Command::new(&program, words).stdin(Secret::new(stdin)).deadline(deadline);
    let ticket = world.begin(host, &command);
    loop {
        if let Some(output) = world.take(ticket) {
            assert_ne!(output.status, 127, "{}", output.err_text());
            return output;
        }
        let due = world.next_due().expect("the command is due");
        world.advance_to(due);
    }
}

/// The same, which must end well; what it printed.
fn ok(world: &mut World, host: &str, line: &str) -> String {
    let output = run(world, host, line);
    assert!(output.ok(), "{host} $ {line}: {} {}", output.text(), output.err_text());
    output.text()
}

/// Begins commands on several hosts at once and waits until all have ended.
fn all(world: &mut World, hosts: &[&str], line: &str) {
    let tickets: Vec<Ticket> = hosts
        .iter()
        .map(|host| {
            let mut words = line.split(' ').map(str::to_owned);
            let program = words.next().unwrap();
            world.begin(host, &Command::new(&program, words).deadline(Duration::from_secs(120)))
        })
        .collect();
    for ticket in tickets {
        while world.take(ticket).is_none() {
            let due = world.next_due().expect("the command is due");
            world.advance_to(due);
        }
    }
}

fn pass(world: &mut World, seconds: f64) {
    let to = world.now().plus(Duration::from_secs_f64(seconds));
    world.advance_to(to);
}

/// Lets time pass until it holds; how long that took.
fn until(world: &mut World, limit: u64, mut holds: impl FnMut(&mut World) -> bool) -> Duration {
    let begun = world.now();
    while !holds(world) {
        assert!(world.now().since(begun) < Duration::from_secs(limit), "it did not come to hold within {limit} s");
        pass(world, 0.1);
    }
    world.now().since(begun)
}

fn ready(world: &mut World, host: &str) -> bool {
    run(world, host, "k0s kubectl get --raw /readyz").text() == "ok"
}

fn text(world: &World, host: &str, path: &str) -> String {
    String::from_utf8_lossy(&world.read(host, path).unwrap_or_default()).into_owned()
}

fn write(world: &mut World, host: &str, path: &str, bytes: &[u8]) {
    let (path, bytes) = (path.to_owned(), Secret::new(bytes.to_vec()));
    world.apply(host, &Change::Write { path, bytes, mode: 0o644, owner: ROOT }).unwrap();
}

fn remove(world: &mut World, host: &str, path: &str) {
    world.apply(host, &Change::Remove { path: path.to_owned() }).unwrap();
}

fn journal(world: &mut World, host: &str, unit: &str) -> String {
    ok(world, host, &format!("journalctl -u {unit}"))
}

const PKI: &str = "/var/lib/k0s/pki";

/// A new CA and its key, PEM.
fn new_ca(name: &str, world: &World) -> crate::pki::Issued {
    let now = i64::try_from(world.now().0 / 1000).unwrap();
    crate::pki::make_ca(name, crate::fleet::KeyKind::P256, crate::pki::Validity::from_now(now, 1_000_000)).unwrap()
}

/// Names of the processes of k0s on a host, shims left out.
fn left(world: &World, host: &str) -> Vec<String> {
    world.processes(host).into_iter().filter(|p| !p.is_shim()).map(|p| p.comm).collect()
}
