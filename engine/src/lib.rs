//! The engine of k0rotate: durable workflows on an event log. It knows nothing of hosts, k0s or certificates.
//!
//! Modules in reading order.

pub mod activity;
mod book;
pub mod clock;
pub mod cx;
pub mod drive;
mod erased;
pub mod event;
pub mod execution;
pub mod export;
pub mod failure;
pub mod ids;
pub mod log;
pub mod registry;
pub mod trying;
pub mod view;
pub mod workflow;
