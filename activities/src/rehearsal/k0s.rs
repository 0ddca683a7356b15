//! k0s and the programs that it runs, written once over [`super::machine::Machine`].
//!
//! Modules in reading order: how it was started; what a controller and a worker do; the programs that they start; the API;
//! the command line.

pub mod setup;

pub mod certs;
pub mod controller;
pub mod stopping;
pub mod worker;

pub mod answer;
pub mod api;
pub mod apiserver;
pub mod client;
pub mod container;
pub mod etcd;
pub mod kcm;
pub mod kubelet;
pub mod leases;
pub mod pods;
pub mod servers;
pub mod times;

pub mod cli;

use super::machine::{Machine, Next};

/// A program with what it keeps in memory.
#[derive(Clone, Debug)]
pub enum Program {
    /// `k0s controller`.
    Controller(Box<controller::Controller>),
    /// `k0s worker`.
    Worker(Box<worker::Main>),
    /// etcd.
    Etcd(etcd::Etcd),
    /// kine on a local file.
    Kine,
    /// kube-apiserver.
    ApiServer(Box<apiserver::ApiServer>),
    /// kube-controller-manager.
    Kcm(Box<kcm::Kcm>),
    /// kube-scheduler.
    Scheduler,
    /// konnectivity-server.
    Konnectivity(servers::Konnectivity),
    /// `k0s api`.
    JoinApi(servers::JoinApi),
    /// containerd.
    Containerd,
    /// The kubelet.
    Kubelet(Box<kubelet::Kubelet>),
    /// containerd-shim: stays when k0s is stopped.
    Shim,
    /// The first process of a container.
    Task(container::Task),
}

impl Program {
    /// Command name (at most 15 bytes) and name of the executable.
    pub fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Controller(_) | Self::Worker(_) | Self::JoinApi(_) => ("k0s", "k0s"),
            Self::Etcd(_) => ("etcd", "etcd"),
            Self::Kine => ("kine", "kine"),
            Self::ApiServer(_) => ("kube-apiserver", "kube-apiserver"),
            Self::Kcm(_) => ("kube-controller", "kube-controller-manager"),
            Self::Scheduler => ("kube-scheduler", "kube-scheduler"),
            Self::Konnectivity(_) => ("konnectivity-se", "konnectivity-server"),
            Self::Containerd => ("containerd", "containerd"),
            Self::Kubelet(_) => ("kubelet", "kubelet"),
            Self::Shim => ("containerd-shim", "containerd-shim-runc-v2"),
            Self::Task(_) => ("container", "container"),
        }
    }

    /// Whether `_K0S_MANAGED=yes` stands in its environment: on all that k0s starts, shims included, but not on k0s itself nor in containers.
    pub fn managed(&self) -> bool {
        !matches!(self, Self::Controller(_) | Self::Worker(_) | Self::Task(_))
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        match self {
            Self::Controller(program) => program.step(m),
            Self::Worker(program) => program.step(m),
            Self::Etcd(program) => program.step(m),
            Self::ApiServer(program) => program.step(m),
            Self::Kcm(program) => program.step(m),
            Self::Konnectivity(program) => program.step(m),
            Self::JoinApi(program) => program.step(m),
            Self::Kubelet(program) => program.step(m),
            Self::Task(program) => program.step(m),
            Self::Kine | Self::Scheduler | Self::Containerd if m.told_to_end() => Next::Exit(0),
            Self::Kine | Self::Scheduler | Self::Containerd | Self::Shim => Next::Never,
        }
    }
}
