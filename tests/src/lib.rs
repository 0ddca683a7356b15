//! What the acceptance tests share.

pub mod enumerate;
pub mod harness;
pub mod lab;
pub mod os_machine;
pub mod tier;
