//! Drives executions: runs the workflow's code again from the top until it rests, and takes an operator's words.

pub(crate) mod attempt;
pub(crate) mod decide;
pub(crate) mod desk;
mod engine;
mod fences;
pub(crate) mod group;
mod group_end;
mod holding;
pub(crate) mod journal;
pub(crate) mod member;
mod pass;
pub(crate) mod rest;
mod settle;
mod stops;
mod words;

pub use engine::{Engine, Start};
pub use rest::{Interruption, Parked, Rest};
pub use words::{Refused, Word};
