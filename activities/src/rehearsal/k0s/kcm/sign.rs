//! Approves the kubelets' client requests and signs what is approved.

use crate::pki::{Leaf, Validity, certify};
use crate::rehearsal::k0s::setup::Setup;
use crate::rehearsal::k0s::{certs, times};
use crate::rehearsal::machine::Machine;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Where requests are.
pub const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests/";
/// Signer of client certificates of kubelets; approved by kcm itself.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of serving certificates; approved by k0s, one in ten seconds.
pub const SERVING: &str = "kubernetes.io/kubelet-serving";
const YEAR: i64 = 8760 * 3600;

/// Approves client requests and signs all that are approved. Certificates do not outlive the CA (lab §20).
pub fn approve_and_sign(m: &mut dyn Machine, _setup: &Setup, ca: &str, ca_key: &Secret) {
    let (now, stamp) = (certs::seconds(m), times::second(m.now()));
    let until = crate::pki::read_one(ca.as_bytes()).map_or(now, |info| info.not_after).min(now + YEAR);
    let Some(store) = m.store() else { return };
    for (path, request) in store.below(REQUESTS) {
        if request["status"]["certificate"].is_string() {
            continue;
        }
        let mut object = (*request).clone();
        if request["spec"]["signerName"] == CLIENT && !approved(&request) {
            approve(
                &mut object,
                "Auto approving kubelet client certificate after SubjectAccessReview.",
                "AutoApproved",
                &stamp,
            );
        }
        if approved(&object)
            && let Some(certificate) = sign(&object, ca, ca_key, now, until)
        {
            object["status"]["certificate"] = json!(STANDARD.encode(certificate));
        }
        if object != *request {
            store.put(&path, object);
        }
    }
}

/// Whether a request has been approved.
pub fn approved(request: &Value) -> bool {
    request["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Approved"))
}

/// Marks a request as approved.
pub fn approve(request: &mut Value, message: &str, reason: &str, stamp: &str) {
    request["status"]["conditions"] = json!([{
        "lastTransitionTime": stamp, "lastUpdateTime": stamp, "message": message, "reason": reason,
        "status": "True", "type": "Approved",
    }]);
}

/// The request of the model is the public key, the common name and the names that are asked for, each on a line of its own.
fn sign(request: &Value, ca: &str, ca_key: &Secret, now: i64, until: i64) -> Option<String> {
    let text = STANDARD.decode(request["spec"]["request"].as_str()?).ok()?;
    let asked: Value = serde_json::from_slice(&text).ok()?;
    let serving = request["spec"]["signerName"] == SERVING;
    let sans = asked["sans"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let leaf = Leaf {
        common_name: asked["cn"].as_str()?.to_owned(),
        organization: Some("system:nodes".to_owned()),
        sans: sans.collect(),
        server: serving,
        client: !serving,
        validity: Validity { not_before: now - 300, not_after: until },
    };
    certify(ca, ca_key, &leaf, asked["key"].as_str()?).ok()
}
