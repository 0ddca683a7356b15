//! What the acceptance tests share.

pub mod lab;
pub mod picture;
pub mod tier;
