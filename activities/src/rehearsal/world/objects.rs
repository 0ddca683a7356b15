//! The replicated store in memory.

use crate::rehearsal::k0s::api::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Arc<Value>>,
    revision: u64,
}

impl Store for Objects {
    fn get(&self, path: &str) -> Option<Arc<Value>> {
        self.objects.get(path).cloned()
    }

    fn below(&self, prefix: &str) -> Vec<(String, Arc<Value>)> {
        let range = self.objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        range.map(|(path, object)| (path.clone(), object.clone())).collect()
    }

    fn put(&mut self, path: &str, mut value: Value) {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert(path.to_owned(), Arc::new(value));
    }

    fn delete(&mut self, path: &str) -> bool {
        self.revision += 1;
        self.objects.remove(path).is_some()
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}
