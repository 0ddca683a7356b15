//! kube-apiserver: what it loaded at its start, and how it judges and answers a request.

/// Trust as loaded at its start.
#[derive(Clone, Debug)]
pub struct Loaded {}
