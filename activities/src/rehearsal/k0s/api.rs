//! Objects of the Kubernetes API by their path, and what can be asked of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where objects are kept: etcd or kine. A revision is drawn for each write.
pub trait Store {
    /// The object at a path, for example `/api/v1/namespaces/default/configmaps/x`.
    fn get(&self, path: &str) -> Option<Arc<Value>>;
    /// All objects whose path starts so, by path.
    fn below(&self, prefix: &str) -> Vec<(String, Arc<Value>)>;
    /// Writes an object whole and stamps its resourceVersion.
    fn put(&mut self, path: &str, value: Value);
    /// Removes an object; whether it was there.
    fn delete(&mut self, path: &str) -> bool;
    /// The revision of the last write.
    fn revision(&self) -> u64;
}

/// What a path of the API names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub base: String,
    /// Of a namespaced object.
    pub namespace: Option<String>,
    /// Plural, lower case.
    pub resource: String,
    /// None of a list.
    pub name: Option<String>,
    /// What follows the name.
    pub sub: String,
    /// The query, percent-decoded.
    pub query: Vec<(String, String)>,
}

impl Target {
    /// Reads a path with its query.
    pub fn read(path: &str) -> Option<Self> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.trim_matches('/').split('/');
        let base = match parts.next()? {
            "api" => format!("/api/{}", parts.next()?),
            "apis" => format!("/apis/{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        // "namespaces/x" alone is an object; with more behind it, it is where the object lies.
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["finalize" | "status"]) => {
                (Some((*namespace).to_owned()), rest.to_vec())
            }
            _ => (None, rest),
        };
        let (resource, rest) = rest.split_first()?;
        let (name, sub) = match rest.split_first() {
            Some((name, sub)) => (Some((*name).to_owned()), sub.join("/")),
            None => (None, String::new()),
        };
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(key, value)| (decoded(key), decoded(value))).collect();
        Some(Self { base, namespace, resource: (*resource).to_owned(), name, sub, query })
    }

    /// Where an object of this kind with that name is kept.
    pub fn path(&self, name: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}/{name}", self.base, self.resource),
            None => format!("{}/{}/{name}", self.base, self.resource),
        }
    }

    /// `v1` or `GROUP/VERSION`.
    pub fn api_version(&self) -> String {
        self.base.trim_start_matches("/apis/").trim_start_matches("/api/").to_owned()
    }

    fn asked(&self, key: &str) -> &str {
        self.query.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        if let Some(byte) = hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Objects of this kind, filtered by the query's selectors.
pub fn list(store: &dyn Store, target: &Target) -> Vec<Arc<Value>> {
    let own = target.path("");
    let suffix = format!("/{}/", target.resource);
    let found = if target.namespace.is_some() { store.below(&own) } else { store.below(&target.base) };
    let kind = |path: &str| {
        let below = path.strip_prefix(&target.base)?;
        let parts: Vec<&str> = below.trim_start_matches('/').split('/').collect();
        let resource = if parts.len() == 4 { parts[2] } else { parts[0] };
        (resource == target.resource && below.contains(&suffix)).then_some(())
    };
    let (fields, labels) = (target.asked("fieldSelector"), target.asked("labelSelector"));
    let matching = found.into_iter().filter(|(path, _)| kind(path).is_some()).map(|(_, object)| object);
    matching.filter(|object| fields_match(object, fields) && labels_match(object, labels)).collect()
}

fn fields_match(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        let (field, value, wanted) = match part.split_once("!=") {
            Some((field, value)) => (field, value, false),
            None => part.split_once('=').map_or((part, "", true), |(f, v)| (f, v.trim_start_matches('='), true)),
        };
        let pointer = format!("/{}", field.replace('.', "/"));
        let own = object.pointer(&pointer).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        (own.unwrap_or_default() == value) == wanted
    })
}

/// `a=b`, `a==b`, `a!=b`, `a`, and `a in (b,c)`.
fn labels_match(object: &Value, selector: &str) -> bool {
    let label = |key: &str| object["metadata"]["labels"][key.trim()].as_str();
    if let Some((key, values)) = selector.split_once(" in (") {
        let value = label(key);
        return values.trim_end_matches(')').split(',').any(|v| value == Some(v.trim()));
    }
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once("!=") {
        Some((key, value)) => label(key) != Some(value),
        None => match part.split_once('=') {
            Some((key, value)) => label(key) == Some(value.trim_start_matches('=')),
            None => label(part).is_some(),
        },
    })
}

/// A list as the API answers it.
pub fn list_value(target: &Target, items: &[Arc<Value>], revision: u64) -> Value {
    let kind = items.first().and_then(|item| item["kind"].as_str()).map_or("List".to_owned(), |k| format!("{k}List"));
    json!({ "kind": kind, "apiVersion": target.api_version(), "metadata": {"resourceVersion": revision.to_string()}, "items": items })
}

/// A merge patch (RFC 7396), also good enough for the strategic patches that are used.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(own) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            own.remove(key);
        } else {
            merge(own.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A list of operations (RFC 6902): add, replace, remove and test on members of objects.
pub fn patch_json(target: &mut Value, operations: &Value) -> Option<()> {
    for operation in operations.as_array()? {
        let path = operation["path"].as_str()?;
        let (parent, last) = path.rsplit_once('/')?;
        let last = last.replace("~1", "/").replace("~0", "~");
        if operation["op"] == "test" {
            (target.pointer(path)? == &operation["value"]).then_some(())?;
            continue;
        }
        let parent = target.pointer_mut(parent)?.as_object_mut()?;
        match operation["op"].as_str()? {
            "remove" => drop(parent.remove(&last)?),
            "replace" if !parent.contains_key(&last) => return None,
            "add" | "replace" => drop(parent.insert(last, operation["value"].clone())),
            _ => return None,
        }
    }
    Some(())
}

/// `stringData` becomes `data`, as kube-apiserver stores it.
pub fn settle_secret(object: &mut Value) {
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|o| o.remove("stringData")) else { return };
    for (key, text) in texts {
        object["data"][key] = Value::String(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

/// A status as the API answers with it.
pub fn status(code: u16, reason: &str, message: &str) -> (u16, Vec<u8>) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, body.to_string().into_bytes())
}
