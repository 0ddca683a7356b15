//! How a controller ends: Leases given back, components ended in the reverse order, etcd last (lab §30).

use super::controller::Controller;
use super::setup::{RUN, Setup};
use crate::rehearsal::machine::{Machine, Ms, Next};

/// How long it tries to give its Leases back to an API server that has no quorum behind it.
const GIVES_UP_LEASES: Ms = 25_000;
/// From 1.35 on a component that does not end within this is left behind (facts §2.3).
const GIVES_UP_COMPONENT: Ms = 5000;
/// From the first component's end to the API server's and to etcd's.
const API_AFTER: Ms = 500;
const STORE_AFTER: Ms = 1000;

/// A controller that ends.
#[derive(Clone, Debug)]
pub struct Stopping {
    since: Ms,
    components_since: Option<Ms>,
    store_since: Option<Ms>,
    status: i32,
}

impl Stopping {
    /// Begins now; `status` is what the process will end with.
    pub fn new(m: &dyn Machine, status: i32) -> Self {
        Self { since: m.ms(), components_since: None, store_since: None, status }
    }

    /// Does what is due.
    pub(super) fn step(&mut self, m: &mut dyn Machine, setup: &Setup, controller: &mut Controller) -> Next {
        let Some(components_since) = self.components_since else {
            return self.give_back(m, controller);
        };
        let passed = m.ms() - components_since;
        if passed < API_AFTER {
            return Next::After(API_AFTER - passed);
        }
        end(m, controller, &["kube-apiserver", "konnectivity"]);
        if passed < STORE_AFTER {
            return Next::After(STORE_AFTER - passed);
        }
        let store_since = *self.store_since.get_or_insert(m.ms());
        end(m, controller, &["etcd", "kine"]);
        let store = controller.children.iter().find(|child| matches!(child.name, "etcd" | "kine"));
        if store.is_some_and(|child| m.alive(child.pid)) {
            let gives_up = setup.minor >= 35 && m.ms() >= store_since + GIVES_UP_COMPONENT;
            if !gives_up {
                return Next::After(50);
            }
            m.log("level=error msg=\"Error while terminating process\" component=etcd error=\"timed out after 5s while waiting for the process to terminate\"");
        }
        clean(m);
        Next::Exit(self.status)
    }

    fn give_back(&mut self, m: &mut dyn Machine, controller: &mut Controller) -> Next {
        let held = controller.leases.iter().any(|lease| lease.held);
        let api = controller.children.iter().any(|child| child.name == "kube-apiserver" && m.alive(child.pid));
        if held && api && m.store().is_none() && m.ms() < self.since + GIVES_UP_LEASES {
            return Next::After(250);
        }
        // Who is refused by the own API server cannot give anything back (lab §15).
        if held && controller.accepted(m) {
            let now = m.now();
            if let Some(store) = m.store() {
                controller.leases.iter_mut().for_each(|lease| lease.release(store, now));
            }
        }
        for pid in controller.worker_pids() {
            m.signal(pid, 15);
        }
        end(m, controller, &["kube-scheduler", "kube-controller-manager", "k0s-control-api"]);
        self.components_since = Some(m.ms());
        Next::After(API_AFTER)
    }
}

fn end(m: &mut dyn Machine, controller: &Controller, names: &[&str]) {
    for child in controller.children.iter().filter(|child| names.contains(&child.name)) {
        m.signal(child.pid, 15);
    }
}

/// What a clean end leaves of /run/k0s: the lock, and empty folders (lab §16).
pub fn clean(m: &mut dyn Machine) {
    for name in m.list(RUN) {
        let kept = name == "k0s.yaml.lock" || matches!(name.as_str(), "containerd" | "kubelet" | "konnectivity-server");
        if !kept {
            m.remove(&format!("{RUN}/{name}"));
        }
    }
    m.remove(&format!("{RUN}/konnectivity-server/konnectivity-server.sock"));
}
