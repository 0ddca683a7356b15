//! The rehearsal fleet: k0s as it behaves, on machines that exist in memory only.
//!
//! Modules in reading order. `machine` is what k0s needs of a machine, `k0s` is k0s written over it, `world` is all machines of a fleet and
//! the time that they live in.

pub mod machine;

pub mod world;

pub mod k0s;

pub mod stage;

pub mod line;

pub mod fleet;

pub mod likeness;
