//! What the acceptance tests share.

pub mod disk;
pub mod enumerate;
pub mod harness;
pub mod lab;
pub mod os_machine;
pub mod tier;
