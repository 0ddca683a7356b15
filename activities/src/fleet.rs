//! The environment of all activities: hosts by name, the clock, sealed secrets.

use crate::host::Host;
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::clock::Clock;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a host does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Control plane only.
    Controller,
    /// Control plane and workloads.
    #[serde(rename = "controller+worker")]
    ControllerWorker,
    /// A cluster of one host that none can join.
    Single,
    /// Workloads only.
    Worker,
}

impl Role {
    /// Whether it runs a control plane.
    pub fn is_controller(self) -> bool {
        self != Self::Worker
    }

    /// Whether it runs a kubelet.
    pub fn has_workloads(self) -> bool {
        self != Self::Controller
    }
}

/// A host of the inventory, as a workflow knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The address at which it is asked.
    pub address: String,
}

/// The trust roots of k0s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// `pki/ca.{crt,key}`.
    KubernetesCa,
    /// `pki/etcd/ca.{crt,key}`; managed etcd only.
    EtcdCa,
    /// `pki/front-proxy-ca.{crt,key}`; one a controller.
    FrontProxyCa,
    /// `pki/sa.{key,pub}`.
    ServiceAccount,
}

impl Root {
    /// As the command line and the log write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubernetesCa => "kubernetes-ca",
            Self::EtcdCa => "etcd-ca",
            Self::FrontProxyCa => "front-proxy-ca",
            Self::ServiceAccount => "service-account",
        }
    }
}

/// Keeps secrets sealed; see `vault.rs` for the one that ships.
#[async_trait::async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// Seals and stores; durable when it answers.
    async fn put(&self, secret: &Secret) -> Result<SecretRef, Failure>;
    /// Fetches and opens.
    async fn get(&self, reference: &SecretRef) -> Result<Secret, Failure>;
    /// Takes the sealed copy away, if it is there; durable when it answers.
    async fn remove(&self, reference: &SecretRef) -> Result<(), Failure>;
    /// All that are there.
    async fn all(&self) -> Result<Vec<SecretRef>, Failure>;
}

/// What activities reach. One value lives as long as one drive.
pub struct Fleet {
    /// Hosts by their name in the inventory.
    pub hosts: BTreeMap<String, Arc<dyn Host>>,
    /// What the inventory says of them today; an execution of last week may know others.
    pub members: Vec<Member>,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// New keys, old credentials kept for the proof, tokens: sealed.
    pub secrets: Arc<dyn Secrets>,
    /// `user@machine`, for marks.
    pub by: String,
    /// Keys of the shape that k0s makes (RSA-2048), or P-256, which is made faster, on the rehearsal fleet.
    pub keys: KeyKind,
}

/// The algorithm of new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// As k0s makes them.
    Rsa2048,
    /// For the rehearsal fleet.
    P256,
}
