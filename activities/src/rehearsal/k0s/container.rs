//! Containers: they run on while k0s is stopped, and keep what they loaded at their start.

use super::client::load_pool;
use crate::rehearsal::machine::{Call, Machine, Ms, Next, Pool};

/// Where containerd keeps a folder for each task.
pub const TASKS: &str = "/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io";

/// From its start until a konnectivity agent first dials, and between tries.
const FIRST_DIAL: Ms = 1000;
const DIAL_EVERY: Ms = 3000;

/// PID 1 of a container. SIGTERM does nothing to it (lab §29).
#[derive(Clone, Debug)]
pub struct Task {
    /// Set for a konnectivity agent.
    agent: Option<Agent>,
}

#[derive(Clone, Debug)]
struct Agent {
    node: String,
    server: String,
    /// Folder of the projected volume.
    volume: String,
    loaded: Option<Pool>,
    started: bool,
}

impl Task {
    /// Anything whose trust does not matter here.
    pub fn other() -> Self {
        Self { agent: None }
    }

    /// A konnectivity agent: it takes the CA once, at its start, and dials every server.
    pub fn agent(node: &str, server: &str, volume: &str) -> Self {
        let agent = Agent {
            node: node.to_owned(),
            server: server.to_owned(),
            volume: volume.to_owned(),
            loaded: None,
            started: false,
        };
        Self { agent: Some(agent) }
    }

    /// Node, server and volume of an agent: what another process needs to run it.
    pub fn as_agent(&self) -> Option<(&str, &str, &str)> {
        self.agent.as_ref().map(|agent| (agent.node.as_str(), agent.server.as_str(), agent.volume.as_str()))
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        let Some(agent) = &mut self.agent else { return Next::Never };
        if !agent.started {
            agent.started = true;
            agent.loaded = load_pool(m, &format!("{}/ca.crt", agent.volume));
            return Next::After(FIRST_DIAL);
        }
        let token = m.read(&format!("{}/token", agent.volume));
        let call = Call {
            address: format!("{}:8132", agent.server),
            trust: Some(agent.loaded.clone().unwrap_or_else(|| Pool::from([]))),
            bearer: token.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            ..Call::default()
        };
        while m.tunnel(&call, &agent.node) {}
        Next::After(DIAL_EVERY)
    }
}
