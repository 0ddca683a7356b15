//! The verb `plan`: what a rotation would do, what is down how long, who must be told, and the digest that `rotate --plan` insists on.
//!
//! Modules in reading order. Everything here looks; nothing on any host is changed.

pub mod model;

pub mod forecast;

pub mod digest;

pub mod affected;

pub mod result;

pub mod text;
