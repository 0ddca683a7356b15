//! The activities, one file each, in the order of the runbook; `common` and `unit` hold what they share.

pub mod common;
pub mod unit;

pub mod stop;

pub mod start_controller;

pub mod check_controller;

pub mod check_control_plane;
