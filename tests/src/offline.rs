//! Three ways to stop and start a lab's control plane, measured one after the other: bare, the documented replacement of CAs by hand, and
//! `k0rotate rotate`.

mod by_hand;
mod clients;

use crate::lab::Lab;
use crate::lab::fleet::Machines;
use crate::lab::tool::Tool;
use clients::Clients;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Controllers and workers of the lab.
pub const FLEET: (usize, usize) = (3, 2);

/// What one way took.
#[derive(Debug)]
pub struct Figures {
    /// Its name.
    pub way: &'static str,
    /// For how long the balancer's address had no API behind it, from the last answer before to the first after.
    pub balancer: Duration,
    /// The same of the controller that was away for longest.
    pub controller: Duration,
    /// From its first command until every k0s says that it runs and every node answers through every controller.
    pub wall: Duration,
    /// SSH connections to the host that got the most.
    pub connections: usize,
    /// Commands to the host that got the most.
    pub commands: usize,
    /// Kinds of roots of before that are still in place.
    pub still_there: BTreeSet<String>,
}

impl fmt::Display for Figures {
    /// A row of the table of [`HEAD`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |d: &Duration| format!("{:.1} s", d.as_secs_f64());
        let there: Vec<&str> = self.still_there.iter().map(String::as_str).collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(" ") };
        let (balancer, controller, wall) = (seconds(&self.balancer), seconds(&self.controller), seconds(&self.wall));
        let Self { way, connections, commands, .. } = self;
        write!(f, "| {way} | {balancer} | {controller} | {wall} | {connections} | {commands} | {there} |")
    }
}

/// The head of the table.
pub const HEAD: &str = "| way | no API at the balancer | at the slowest controller | until all nodes answer | SSH connections, most of a host | commands, most of a host | roots of before in place |
|---|---|---|---|---|---|---|";

/// Goes all three ways on a lab of [`FLEET`] that has just booted.
///
/// # Panics
/// If one of them does not end well.
pub async fn measure(lab: &Lab, binary: &Path) -> Vec<Figures> {
    let machines = Machines::new(lab, FLEET.0, FLEET.1);
    machines.healthy().await;
    let tool = Tool::new(lab, binary);
    let hand = by_hand::Hand::new(lab, FLEET);
    vec![
        one(lab, &machines, "bare stop and start", async || hand.bare()).await,
        one(lab, &machines, "the documented way, by hand", async || hand.documented()).await,
        one(lab, &machines, "k0rotate rotate", async || {
            tool.exits(&["rotate", "--yes", "--reason", "a bench"], 0);
        })
        .await,
    ]
}

async fn one(lab: &Lab, machines: &Machines<'_>, way: &'static str, go: impl AsyncFnOnce()) -> Figures {
    let (roots, before) = (machines.roots().await, counted(lab));
    let clients = Clients::start(FLEET.0);
    let begun = Instant::now();
    go().await;
    // What our own looks cost is none of its.
    let after = counted(lab);
    machines.healthy().await;
    let wall = begun.elapsed();
    let (balancer, controller) = clients.end();
    let now = machines.roots().await;
    let kind = |(_, path, _): &(String, String, String)| path.trim_start_matches("/var/lib/k0s/pki/").to_owned();
    let still_there = roots.intersection(&now).map(kind).collect();
    let most = |of: fn(&Count) -> usize| before.iter().zip(&after).map(|(b, a)| of(a) - of(b)).max().unwrap_or(0);
    // One of them is the second count's own.
    let connections = most(|count| count.connections) - 1;
    let commands = most(|count| count.commands).max(connections);
    Figures { way, balancer, controller, wall, connections, commands, still_there }
}

/// What a host's journal holds.
struct Count {
    connections: usize,
    commands: usize,
}

/// One for each host. Commands of a user who is not root are counted by sudo; root's are one for each connection.
fn counted(lab: &Lab) -> Vec<Count> {
    const JOURNAL: &str = "journalctl -q -o cat | grep -c";
    let both = format!("echo $({JOURNAL} 'Accepted publickey') $({JOURNAL} 'COMMAND=')");
    let one = |n: usize| {
        let said = lab.ask(&["ssh", &n.to_string(), &both]);
        let numbers = said.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (connections, commands) = numbers.unwrap_or_else(|| panic!("h{n} counts {said}"));
        Count { connections, commands }
    };
    (1..=FLEET.0 + FLEET.1).map(one).collect()
}
