//! konnectivity-server and k0s' join API: servers of which only the handshake matters here.

use super::client::{load_pool, load_shown};
use super::setup::Setup;
use crate::rehearsal::machine::{Listener, Machine, Next, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// konnectivity-server, :8132.
#[derive(Clone, Debug)]
pub struct Konnectivity {
    setup: Arc<Setup>,
    serves: bool,
}

/// `k0s api`, :9443.
#[derive(Clone, Debug)]
pub struct JoinApi {
    setup: Arc<Setup>,
    serves: bool,
}

impl Konnectivity {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { setup: setup.clone(), serves: false }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        step(m, &self.setup, &mut self.serves, (8132, "server", Service::Konnectivity(BTreeMap::new())))
    }
}

impl JoinApi {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { setup: setup.clone(), serves: false }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        step(m, &self.setup, &mut self.serves, (9443, "k0s-api", Service::Handshake))
    }
}

fn step(m: &mut dyn Machine, setup: &Setup, serves: &mut bool, (port, leaf, service): (u16, &str, Service)) -> Next {
    if m.told_to_end() {
        return Next::Exit(0);
    }
    if *serves {
        return Next::Never;
    }
    let chain = load_shown(m, &setup.pki(&format!("{leaf}.crt")), &setup.pki(&format!("{leaf}.key")));
    let (Some(chain), Some(_)) = (chain, load_pool(m, &setup.pki("ca.crt"))) else { return Next::Exit(1) };
    m.listen(port, Listener { pid: m.me(), chain, client_ca: None, service });
    *serves = true;
    Next::Never
}
