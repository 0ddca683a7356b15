//! Objects of the Kubernetes API by their path.

use serde_json::Value;
use std::sync::Arc;

/// Where objects are kept: etcd or kine. A revision is drawn for each write.
pub trait Store {
    /// The object at a path, for example `/api/v1/namespaces/default/configmaps/x`.
    fn get(&self, path: &str) -> Option<Arc<Value>>;
    /// All objects, by path.
    fn all(&self) -> Vec<(String, Arc<Value>)>;
    /// Objects whose path starts so.
    fn below(&self, prefix: &str) -> Vec<(String, Arc<Value>)>;
    /// Writes an object whole and stamps its resourceVersion.
    fn put(&mut self, path: &str, value: Value);
    /// Removes an object.
    fn delete(&mut self, path: &str) -> bool;
    /// The revision of the last write.
    fn revision(&self) -> u64;
}
