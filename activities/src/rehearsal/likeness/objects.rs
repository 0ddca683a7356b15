//! The objects that a rotation touches, as they are alike in two fleets: by whose trust they hold, not by random content.

use super::{Known, Places, Root};
use crate::kube::SecretHead;
use crate::pki;
use crate::rehearsal::k0s::pods;
use crate::rehearsal::world::World;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What comes and goes by itself.
const FLEETING: [&str; 3] = ["/pods/", "/leases/", "/certificatesigningrequests/"];
/// Places that belong to no host.
const CLUSTER: &str = "cluster";

/// Objects and members of etcd, by host (where one is meant) and path.
pub(super) fn places(world: &World, known: &Known) -> Places {
    let now = i64::try_from(world.now().0).unwrap_or(i64::MAX);
    let mut places = Places::new();
    let objects = world.objects();
    for (path, object) in objects.iter().filter(|(path, _)| !FLEETING.iter().any(|part| path.contains(part))) {
        let mut put = |host: &str, path: String, what: String| places.insert((host.to_owned(), path), what);
        let of_host = ["/nodes/", "/controlnodes/", "/etcdmembers/"].iter().any(|part| path.contains(part));
        let host = path.rsplit('/').next().filter(|_| of_host).unwrap_or(CLUSTER);
        put(host, path.clone(), what(path, object, known, now));
        // Each controller adds its own: of one that was left there may be another, or none.
        for (owner, key, ca) in cas(object, known) {
            put(&owner, format!("{path} {key}: {ca}"), "there".to_owned());
        }
    }
    for (name, peer) in world.members() {
        places.insert((name.clone(), "a member of etcd".to_owned()), peer.clone());
    }
    places
}

fn what(path: &str, object: &Value, known: &Known, now: i64) -> String {
    if path.contains("/nodes/") {
        return if pods::ready(object) { "a Node that is ready" } else { "a Node that is not ready" }.to_owned();
    }
    if path.contains("/controlnodes/") {
        return format!("a ControlNode of {}", object["status"]);
    }
    match object["type"].as_str() {
        Some("bootstrap.kubernetes.io/token") => join_token(object, now),
        Some("kubernetes.io/service-account-token") => legacy_token(object, known, now),
        _ => "there".to_owned(),
    }
}

/// What it may be used for, until when, and whether it is the same: by a hash, for it is a secret.
fn join_token(object: &Value, now: i64) -> String {
    let Some(head) = SecretHead::read(object) else { return "a join token that cannot be read".to_owned() };
    let hash = pki::sha256_hex(object["data"]["token-secret"].as_str().unwrap_or_default().as_bytes());
    let lives = if head.lives(now) { "good" } else { "run out" };
    format!("a join token {} for {} until {:?}, {lives}", &hash[..8], head.usages.join(" "), head.expires)
}

fn legacy_token(object: &Value, known: &Known, now: i64) -> String {
    let token = STANDARD.decode(object["data"]["token"].as_str().unwrap_or_default()).unwrap_or_default();
    let token = Secret::new(token);
    let signs = |root: &Root| {
        root.public_key.as_ref().is_some_and(|key| pki::verify_token(&token, key.as_bytes(), now / 1000).is_ok())
    };
    match known.0.iter().find(|(_, root)| signs(root)) {
        Some((generation, root)) => format!("a token of the {generation} {}", root.name),
        None => "a token of nobody".to_owned(),
    }
}

/// CAs in an object's data: whose, in which field, and which.
fn cas(object: &Value, known: &Known) -> Vec<(String, String, String)> {
    let fields = object["data"].as_object().into_iter().flatten();
    let pems = fields.filter_map(|(key, text)| Some((key, text.as_str().filter(|t| t.contains("BEGIN CERTIFICATE"))?)));
    let of = |(key, pem): (&String, &str)| {
        let all = pki::read_certificates(pem.as_bytes()).unwrap_or_default();
        let names: Vec<String> = all.iter().map(|certificate| known.certificate(certificate)).collect();
        names.into_iter().map(|name| (owner(&name), key.clone(), name)).collect::<Vec<_>>()
    };
    pems.flat_map(of).collect()
}

/// The controller whose own root it is.
fn owner(name: &str) -> String {
    name.rsplit_once("front-proxy-ca of ").map_or(CLUSTER, |(_, host)| host).to_owned()
}

#[cfg(test)]
mod tests {
    use crate::rehearsal::likeness::{First, Likeness};
    use crate::rehearsal::world::{FleetPlan, World};
    use std::time::Duration;

    /// A change of a world, and what is then told of it.
    type Told = (&'static str, fn(&mut World));

    fn delete(world: &mut World, wanted: &str) {
        let path = world.objects().into_iter().map(|(path, _)| path).find(|path| path.contains(wanted));
        world.delete_object(&path.expect("there is such an object"));
    }

    fn let_pass(world: &mut World, seconds: u64) {
        world.advance_to(world.now().plus(Duration::from_secs(seconds)));
    }

    /// Goal: what a rotation could leave in the API is seen, each by itself, and nothing where nothing was changed.
    #[test]
    fn what_differs_is_told() {
        let plan = FleetPlan { worker_tokens: 1, controller_tokens: 1, ..FleetPlan::sized(3, 1) };
        let world = World::new(&plan);
        let first = First::of(&world);
        let before = Likeness::of(&world, &first);
        let told: [Told; 5] = [
            ("nothing instead of a join token", |w| delete(w, "/bootstrap-token-")),
            ("ci-1-token: nothing instead of a token of the old service-account", |w| delete(w, "/secrets/ci-1-token")),
            ("controlnodes/h1: nothing instead of a ControlNode", |w| delete(w, "/controlnodes/h1")),
            ("nodes/h4: a Node that is not ready instead of a Node that is ready", |w| {
                w.power_off("h4");
                let_pass(w, 120);
            }),
            ("kube-root-ca.crt ca.crt: the old kubernetes-ca: nothing instead of there", |w| {
                ["h1", "h2", "h3"].iter().for_each(|host| w.power_off(host));
                delete(w, "/configmaps/kube-root-ca.crt");
            }),
        ];
        for (wanted, change) in told {
            let mut changed = world.clone();
            change(&mut changed);
            let found = before.object_differences(&Likeness::of(&changed, &first));
            assert!(found.iter().any(|told| told.contains(wanted)), "{wanted}: {found:?}");
        }
        let mut later = world.clone();
        let_pass(&mut later, 3600);
        assert_eq!(before.object_differences(&Likeness::of(&later, &first)), Vec::<String>::new());
    }
}
