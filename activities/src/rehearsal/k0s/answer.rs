//! What kube-apiserver answers.

use super::api::{Target, list, list_value, merge, patch_json, settle_secret, status};
use super::apiserver::{AUTHENTICATION, Loaded, User, authenticate, publish};
use super::{certs, times};
use crate::pki::sign_token;
use crate::rehearsal::machine::{Call, End, Machine, Verb};
use serde_json::{Value, json};
use std::fmt::Write as _;

type Answer = (u16, Vec<u8>);

/// Authenticates, then answers.
pub fn answer(loaded: &Loaded, m: &mut dyn Machine, call: &Call) -> Answer {
    let Some(user) = authenticate(loaded, m, call) else { return status(401, "Unauthorized", "Unauthorized") };
    let path = call.path.split('?').next().unwrap_or_default();
    match path {
        "/readyz" | "/livez" | "/healthz" => return health(loaded, m, &call.path),
        "/version" | "/version/" => return (200, version(loaded).into_bytes()),
        "/api" => return (200, json!({"kind": "APIVersions", "versions": ["v1"]}).to_string().into_bytes()),
        "/openid/v1/jwks" => return (200, jwks(loaded).to_string().into_bytes()),
        _ => {}
    }
    if m.ms() < loaded.answers_at {
        return status(403, "Forbidden", &format!("{} cannot do this: RBAC is not synced", user.name));
    }
    let Some(target) = Target::read(&call.path) else { return not_found_path() };
    if target.resource == "nodes" && target.sub.starts_with("proxy") {
        return node_proxy(loaded, m, &target);
    }
    if m.store().is_none() {
        return no_store();
    }
    if !may(&user, call.verb, &target) {
        let text = format!("{} is forbidden: User {:?} cannot do this", target.resource, user.name);
        return status(403, "Forbidden", &text);
    }
    match call.verb {
        Verb::Get => get(m, &target),
        Verb::Post => post(loaded, m, &user, &target, &call.body),
        Verb::Put | Verb::Patch | Verb::JsonPatch => change(m, call.verb, &target, &call.body),
        Verb::Delete => delete(loaded, m, &target),
    }
}

/// Enough of RBAC: administrators, nodes and k0s' own components do what they do; others look at themselves.
fn may(user: &User, verb: Verb, target: &Target) -> bool {
    let trusted = ["system:masters", "system:nodes", "system:serviceaccounts:kube-system"];
    if trusted.iter().any(|group| user.is(group)) || user.name.starts_with("system:kube-") {
        return true;
    }
    let asks = target.resource == "selfsubjectreviews" || target.resource == "certificatesigningrequests";
    asks && matches!(verb, Verb::Get | Verb::Post)
}

fn health(loaded: &Loaded, m: &mut dyn Machine, path: &str) -> Answer {
    let synced = m.ms() >= loaded.ready_at;
    let stored = m.store().is_some();
    let verbose = path.contains("verbose");
    let live = path.starts_with("/livez") || synced;
    let mut text = String::new();
    for (name, ok) in
        [("ping", true), ("log", true), ("etcd", stored), ("etcd-readiness", stored), ("informer-sync", synced)]
    {
        let _ = writeln!(
            text,
            "[{}]{name} {}",
            if ok { '+' } else { '-' },
            if ok { "ok" } else { "failed: reason withheld" }
        );
    }
    match (live && stored, verbose) {
        (true, false) => (200, b"ok".to_vec()),
        (true, true) => (200, format!("{text}readyz check passed\n").into_bytes()),
        (false, _) => (500, format!("{text}readyz check failed\n").into_bytes()),
    }
}

fn version(loaded: &Loaded) -> String {
    let plain = loaded.version.split('+').next().unwrap_or_default();
    let minor = plain.split('.').nth(1).unwrap_or_default();
    format!(
        "{{\n  \"major\": \"1\",\n  \"minor\": \"{minor}\",\n  \"gitVersion\": \"{plain}\",\n  \"platform\": \"linux/amd64\"\n}}"
    )
}

fn jwks(loaded: &Loaded) -> Value {
    let prints = crate::pki::public_key_fingerprints(&loaded.sa_pub).unwrap_or_default();
    let keys: Vec<Value> = prints.iter().map(|print| json!({"use": "sig", "kid": kid(print)})).collect();
    json!({ "keys": keys })
}

/// The key id as Kubernetes derives it: base64url of the fingerprint's bytes.
fn kid(hex: &str) -> String {
    use base64::Engine;
    let byte = |at: usize| hex.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or_default();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Through an agent (its own node's first, else any: `destHost,defaultRoute,default`), then to the kubelet over TLS both ways.
fn node_proxy(loaded: &Loaded, m: &mut dyn Machine, target: &Target) -> Answer {
    let node = target.name.clone().unwrap_or_default();
    let Some(store) = m.store() else { return no_store() };
    let Some(object) = store.get(&format!("/api/v1/nodes/{node}")) else { return not_found(target) };
    if loaded.konnectivity && !m.tunnelled() {
        return unreachable("No agent available");
    }
    let address = object["status"]["addresses"][0]["address"].as_str().unwrap_or_default();
    let call = Call {
        address: format!("{address}:10250"),
        path: format!("/{}", target.sub.trim_start_matches("proxy").trim_start_matches('/')),
        trust: Some(loaded.kubelet_ca.clone()),
        shows: loaded.kubelet_client.clone(),
        ..Call::default()
    };
    match m.dial(&call).end {
        End::Answer(401, _) => {
            status(401, "Unauthorized", "the server has asked for the client to provide credentials")
        }
        End::Answer(code, body) => (code, body),
        End::Refused => unreachable(&format!("dial tcp {address}:10250: connect: connection refused")),
        End::NotTrusted(why) => unreachable(&format!("tls: failed to verify certificate: x509: {why}")),
        _ => unreachable("context deadline exceeded"),
    }
}

fn unreachable(why: &str) -> Answer {
    status(503, "ServiceUnavailable", &format!("error trying to reach service: {why}"))
}

/// Also where etcd goes away while a request is answered: what cannot be looked for is not known to be missing.
fn no_store() -> Answer {
    status(504, "Timeout", "etcdserver: request timed out")
}

fn not_found_path() -> Answer {
    status(404, "NotFound", "the server could not find the requested resource")
}

fn not_found(target: &Target) -> Answer {
    let group = target.base.strip_prefix("/apis/").and_then(|rest| rest.split('/').next());
    let resource = group.map_or_else(|| target.resource.clone(), |group| format!("{}.{group}", target.resource));
    let name = target.name.as_deref().unwrap_or_default();
    status(404, "NotFound", &format!("{resource} {name:?} not found"))
}

fn get(m: &mut dyn Machine, target: &Target) -> Answer {
    let Some(store) = m.store() else { return no_store() };
    let Some(name) = &target.name else {
        let items = list(store, target);
        return (200, list_value(target, &items, store.revision()).to_string().into_bytes());
    };
    store.get(&target.path(name)).map_or_else(|| not_found(target), |object| (200, object.to_string().into_bytes()))
}

fn post(loaded: &Loaded, m: &mut dyn Machine, user: &User, target: &Target, body: &[u8]) -> Answer {
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        return status(400, "BadRequest", "the object provided is unrecognized");
    };
    if target.sub == "token" {
        return token(loaded, m, target, &object);
    }
    if target.resource == "selfsubjectreviews" {
        object["status"] = json!({"userInfo": {"username": user.name, "groups": user.groups}});
        return (201, object.to_string().into_bytes());
    }
    let uid = uuid(m);
    let meta = &mut object["metadata"];
    if let Some(prefix) = meta["generateName"].as_str().filter(|_| meta["name"].is_null()).map(str::to_owned) {
        meta["name"] = json!(format!("{prefix}{}", m.word(5)));
    }
    meta["uid"] = json!(uid);
    meta["creationTimestamp"] = json!(times::second(m.now()));
    if let Some(namespace) = &target.namespace {
        meta["namespace"] = json!(namespace);
    }
    let name = meta["name"].as_str().unwrap_or_default().to_owned();
    if target.resource == "certificatesigningrequests" {
        object["spec"]["username"] = json!(user.name);
        object["spec"]["groups"] = json!(user.groups);
        object["status"] = json!({});
    }
    settle_secret(&mut object);
    let path = target.path(&name);
    let Some(store) = m.store() else { return no_store() };
    if store.get(&path).is_some() {
        return status(409, "AlreadyExists", &format!("{} {name:?} already exists", target.resource));
    }
    store.put(&path, object);
    (201, store.get(&path).map(|o| o.to_string()).unwrap_or_default().into_bytes())
}

fn change(m: &mut dyn Machine, verb: Verb, target: &Target, body: &[u8]) -> Answer {
    let Ok(change) = serde_json::from_slice::<Value>(body) else {
        return status(400, "BadRequest", "the object provided is unrecognized");
    };
    let name = target.name.clone().unwrap_or_default();
    let path = target.path(&name);
    let Some(store) = m.store() else { return no_store() };
    let Some(old) = store.get(&path) else { return not_found(target) };
    let mut object = (*old).clone();
    match verb {
        Verb::Put => {
            let version = &change["metadata"]["resourceVersion"];
            if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
                return status(
                    409,
                    "Conflict",
                    "the object has been modified; please apply your changes to the latest version and try again",
                );
            }
            object = change;
            for kept in ["uid", "creationTimestamp"] {
                object["metadata"][kept] = old["metadata"][kept].clone();
            }
        }
        Verb::JsonPatch if patch_json(&mut object, &change).is_none() => {
            return status(422, "Invalid", "the server rejected our request due to an error in our request");
        }
        Verb::JsonPatch => {}
        _ => merge(&mut object, &change),
    }
    settle_secret(&mut object);
    if object != *old {
        store.put(&path, object);
    }
    (200, store.get(&path).map(|o| o.to_string()).unwrap_or_default().into_bytes())
}

/// `extension-apiserver-authentication` is there again within 0.1 s (lab §4).
fn delete(loaded: &Loaded, m: &mut dyn Machine, target: &Target) -> Answer {
    let path = target.path(target.name.as_deref().unwrap_or_default());
    let Some(store) = m.store() else { return no_store() };
    let Some(old) = store.get(&path) else { return not_found(target) };
    store.delete(&path);
    if path == AUTHENTICATION {
        publish(loaded, store);
    }
    (200, old.to_string().into_bytes())
}

/// TokenRequest: the token is signed with the key that was loaded at the start, whatever `sa.pub` says (lab §9).
fn token(loaded: &Loaded, m: &mut dyn Machine, target: &Target, request: &Value) -> Answer {
    let (namespace, name) = (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default());
    let Some(store) = m.store() else { return no_store() };
    let Some(account) = store.get(&target.path(&name)) else { return not_found(target) };
    let now = certs::seconds(m);
    let lives = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let audiences = match request["spec"]["audiences"].as_array() {
        Some(some) if !some.is_empty() => json!(some),
        _ => json!(["https://kubernetes.default.svc"]),
    };
    let mut own = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}});
    let bound = &request["spec"]["boundObjectRef"];
    if bound["kind"] == "Pod" {
        own["pod"] = json!({"name": bound["name"], "uid": bound["uid"]});
    }
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": audiences, "iat": now, "nbf": now, "exp": now + lives, "jti": uuid(m), "kubernetes.io": own,
    });
    let Ok(token) = sign_token(&loaded.sa_key, &claims) else { return status(500, "InternalError", "signing failed") };
    let token = String::from_utf8_lossy(token.expose()).into_owned();
    let mut answer = request.clone();
    answer["status"] = json!({"token": token, "expirationTimestamp": times::second(m.now().plus(std::time::Duration::from_secs(u64::try_from(lives).unwrap_or(0))))});
    (201, answer.to_string().into_bytes())
}

fn uuid(m: &mut dyn Machine) -> String {
    let mut part = |length: usize| {
        m.word(length).bytes().map(|b| char::from_digit(u32::from(b) % 16, 16).unwrap_or('0')).collect::<String>()
    };
    format!("{}-{}-4{}-a{}-{}", part(8), part(4), part(3), part(3), part(12))
}
