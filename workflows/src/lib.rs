//! The runbooks: what is done to a cluster, in which order, and what a failure means where; they touch the world through the engine alone.
//!
//! Modules in reading order. Without `std`, so that no clock, file, thread or process can be named here.

#![no_std]

extern crate alloc;

pub mod cluster;
pub mod phases;
pub mod rejoin;
pub mod rotate;
pub mod waves;
