//! The cluster's objects in a real etcd, through its JSON gateway.

use super::dial;
use super::tls::Keys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k0rotate_activities::rehearsal::k0s::api::Store;
use k0rotate_activities::rehearsal::machine::{Call, End, Pool, Shown, Verb};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands before every path.
const PREFIX: &str = "/registry";
/// The first key behind all of ours.
const END: &str = "/registry0";

/// How etcd of this machine is asked.
#[derive(Clone)]
pub struct Access {
    /// `127.0.0.1:2379`.
    pub address: String,
    /// Whom we trust.
    pub trust: Pool,
    /// What we show.
    pub shows: Shown,
}

/// The objects as they were when last looked at.
pub struct EtcdStore {
    keys: Arc<Keys>,
    access: Access,
    revision: u64,
    objects: BTreeMap<String, (u64, Arc<Value>)>,
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|s| s.parse().ok()).or_else(|| value.as_u64()).unwrap_or(0)
}

impl EtcdStore {
    /// Nothing was looked at yet.
    pub fn new(keys: Arc<Keys>, access: Access) -> Self {
        Self { keys, access, revision: 0, objects: BTreeMap::new() }
    }

    fn ask(&self, path: &str, body: &Value) -> Option<Value> {
        let call = Call {
            address: self.access.address.clone(),
            verb: Verb::Post,
            path: path.to_owned(),
            body: body.to_string().into_bytes(),
            trust: Some(self.access.trust.clone()),
            shows: Some(self.access.shows.clone()),
            ..Call::default()
        };
        match dial::dial(&self.keys, &call).end {
            End::Answer(200, body) => serde_json::from_slice(&body).ok(),
            _ => None,
        }
    }

    /// Fetches what changed; `None` if etcd does not answer or has no quorum.
    pub fn refresh(&mut self) -> Option<()> {
        let (key, end) = (BASE64.encode(PREFIX), BASE64.encode(END));
        let since = self.revision + 1;
        let mut seen =
            self.ask("/v3/kv/range", &json!({"key": key, "range_end": end, "min_mod_revision": since.to_string()}))?;
        // A deletion leaves nothing to fetch, only a smaller number.
        self.take(&seen);
        if number(&seen["count"]) != self.objects.len() as u64 {
            seen = self.ask("/v3/kv/range", &json!({"key": key, "range_end": end}))?;
            self.objects.clear();
            self.take(&seen);
        }
        Some(())
    }

    fn take(&mut self, seen: &Value) {
        for kv in seen["kvs"].as_array().into_iter().flatten() {
            let text = |field: &str| BASE64.decode(kv[field].as_str().unwrap_or_default()).unwrap_or_default();
            let path = String::from_utf8_lossy(&text("key")).trim_start_matches(PREFIX).to_owned();
            let Ok(mut object) = serde_json::from_slice::<Value>(&text("value")) else { continue };
            let revision = number(&kv["mod_revision"]);
            if revision < self.objects.get(&path).map_or(0, |(known, _)| *known) {
                continue;
            }
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
            self.objects.insert(path, (revision, Arc::new(object)));
        }
        self.revision = self.revision.max(number(&seen["header"]["revision"]));
    }

    /// Members by name, with their peer URLs.
    pub fn members(&self) -> Option<Vec<(String, String)>> {
        let seen = self.ask("/v3/cluster/member/list", &json!({}))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = seen["members"].as_array()?.iter();
        let mut members: Vec<_> = members.map(|m| (text(&m["name"]), text(&m["peerURLs"][0]))).collect();
        members.sort();
        Some(members)
    }
}

impl Store for EtcdStore {
    fn get(&self, path: &str) -> Option<Arc<Value>> {
        self.objects.get(path).map(|(_, object)| object.clone())
    }

    fn below(&self, prefix: &str) -> Vec<(String, Arc<Value>)> {
        let from = self.objects.range(prefix.to_owned()..);
        from.take_while(|(path, _)| path.starts_with(prefix)).map(|(path, (_, o))| (path.clone(), o.clone())).collect()
    }

    /// A Lease is only written over what was seen: of two who want it one wins.
    fn put(&mut self, path: &str, mut value: Value) {
        if let Some(meta) = value["metadata"].as_object_mut() {
            meta.remove("resourceVersion");
        }
        let key = BASE64.encode(format!("{PREFIX}{path}"));
        let write = json!({"requestPut": {"key": key, "value": BASE64.encode(value.to_string())}});
        let seen = self.objects.get(path).map_or(0, |(revision, _)| *revision);
        let compare = json!([{"key": key, "target": "MOD", "result": "EQUAL", "modRevision": seen.to_string()}]);
        let compare = if path.contains("/leases/") { compare } else { json!([]) };
        let done = self.ask("/v3/kv/txn", &json!({"compare": compare, "success": [write]}));
        let Some(done) = done.filter(|d| d["succeeded"] == true) else { return };
        let revision = number(&done["header"]["revision"]);
        value["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.objects.insert(path.to_owned(), (revision, Arc::new(value)));
    }

    fn delete(&mut self, path: &str) -> bool {
        let key = BASE64.encode(format!("{PREFIX}{path}"));
        self.objects.remove(path);
        self.ask("/v3/kv/deleterange", &json!({"key": key})).is_some_and(|d| number(&d["deleted"]) > 0)
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}
