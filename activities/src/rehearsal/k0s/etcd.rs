//! etcd and kine: the store's process, its certificates as loaded at its start, and how it ends.

use super::client::{load_pool, load_shown};
use super::setup::Setup;
use crate::rehearsal::machine::{Listener, Machine, Ms, Next, Service};
use std::sync::Arc;

/// From its start until it answers clients.
const ANSWERS: Ms = 500;
/// How long a leader without anybody to hand over to waits before it ends (lab §30).
const WAITS_FOR_NOBODY: Ms = 7000;

/// The process.
#[derive(Clone, Debug)]
pub struct Etcd {
    setup: Arc<Setup>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    New,
    PeersOnly,
    Runs,
    /// Told to end, at that time.
    Ending(Ms),
    /// Ends for good after the next step.
    Gone,
}

impl Etcd {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { setup: setup.clone(), state: State::New }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if let State::Gone = self.state {
            return Next::Exit(0);
        }
        if let State::Ending(since) = self.state {
            return self.wait_for_nobody(m, since);
        }
        if m.told_to_end() {
            return self.end(m);
        }
        match self.state {
            State::New => {
                if !self.serve(m, 2380, "etcd/peer") {
                    return Next::Exit(1);
                }
                self.state = State::PeersOnly;
                Next::After(ANSWERS)
            }
            State::PeersOnly => {
                if !self.serve(m, 2379, "etcd/server") {
                    return Next::Exit(1);
                }
                self.state = State::Runs;
                Next::Never
            }
            _ => Next::Never,
        }
    }

    fn serve(&self, m: &mut dyn Machine, port: u16, leaf: &str) -> bool {
        let chain = load_shown(m, &self.setup.pki(&format!("{leaf}.crt")), &self.setup.pki(&format!("{leaf}.key")));
        let (Some(chain), Some(ca)) = (chain, load_pool(m, &self.setup.pki("etcd/ca.crt"))) else { return false };
        m.listen(port, Listener { pid: m.me(), chain, client_ca: Some(ca), service: Service::Etcd });
        true
    }

    /// A follower ends at once. A leader hands over first, which needs somebody to be there; see [`Machine::hand_over`].
    fn end(&mut self, m: &mut dyn Machine) -> Next {
        if m.members().len() > 1 && !m.hand_over() {
            self.state = State::Ending(m.ms());
            return self.wait_for_nobody(m, m.ms());
        }
        self.state = State::Gone;
        Next::After(100)
    }

    /// From 1.35 on k0s gives up on it after 5 s, and it was found running long after that (lab §5.1).
    fn wait_for_nobody(&self, m: &dyn Machine, since: Ms) -> Next {
        if self.setup.minor >= 35 {
            return Next::Never;
        }
        match (since + WAITS_FOR_NOBODY).saturating_sub(m.ms()) {
            0 => Next::Exit(0),
            left => Next::After(left),
        }
    }
}
