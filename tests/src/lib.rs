//! What the acceptance tests share.

pub mod picture;
pub mod tier;
