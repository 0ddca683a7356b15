//! What k0rotate does to machines: hosts, keys and activities; the only crate that touches either.
//!
//! Modules in reading order.

pub mod activity;
pub mod archive;
pub mod clusters;
pub mod facts;
pub mod fleet;
pub mod guards;
pub mod host;
pub mod identity;
pub mod inventory;
pub mod k0s;
pub mod kube;
pub mod kubeconfig;
pub mod layout;
pub mod pki;
pub mod rehearsal;
pub mod secret;
pub mod token;
pub mod trust;
pub mod vault;
