//! What the acceptance tests share.

pub mod contract;
pub mod course;
pub mod crew;
pub mod disk;
pub mod ends;
pub mod enumerate;
pub mod gap;
pub mod harness;
pub mod lab;
pub mod made;
pub mod offline;
pub mod os_machine;
pub mod reasons;
pub mod rejoining;
pub mod secrets;
pub mod size;
pub mod tier;
