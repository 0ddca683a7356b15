//! The activities, one file each, in the order of the runbook, each after what it shares with others.

pub mod common;

pub mod unit;

pub mod files;

pub mod made;

pub mod host_facts;

pub mod overrides;

mod look_host;

pub mod check_host;

pub mod cluster_facts;

pub mod check_cluster;

pub mod hold_cluster;

pub mod back_up_cluster;

pub mod snapshot_host;

pub mod credentials;

pub mod keep_credentials;

pub mod make_trust;

pub mod copy_keys;

pub mod revoke_join_tokens;

pub mod stop;

pub mod wipe;

pub mod put_back;

pub mod look_again;
pub mod reach_host;

pub mod copy_old_keys;

pub mod start_controller;

pub mod check_controller;

pub mod check_control_plane;

pub mod node;

pub mod rejoin_node;

pub mod pods;

pub mod refresh_trust_holders;

pub mod reboot_host;

pub mod check_node;

pub mod invalidate_token;

pub mod remove_leftovers;

pub mod refresh_client_cas;

pub mod remint_tokens;

pub mod mint_token;

pub mod prove_old_refused;

pub mod check_logs;

pub mod destroy_old_keys;

pub mod destroy_sealed;

pub mod release_host;

pub mod release_left;

pub mod borrow_marks;

pub mod list_tokens;

pub mod take_over_kept;

#[cfg(test)]
mod down_tests;
#[cfg(test)]
mod free_tests;
#[cfg(test)]
mod look_tests;
#[cfg(test)]
mod testing;
