//! k0s' own approver of serving certificates: one request in each round (facts §0.9).

use super::sign::{REQUESTS, SERVING, approve, approved};
use crate::rehearsal::k0s::times;
use crate::rehearsal::machine::Machine;

/// Approves the first request that waits.
pub fn approve_one(m: &mut dyn Machine) {
    let stamp = times::second(m.now());
    let Some(store) = m.store() else { return };
    let waiting = store.below(REQUESTS).into_iter().find(|(_, r)| r["spec"]["signerName"] == SERVING && !approved(r));
    let Some((path, request)) = waiting else { return };
    let mut object = (*request).clone();
    let message = "Auto approving kubelet serving certificate after SubjectAccessReview.";
    approve(&mut object, message, "Autoapproved by K0s CSRApprover", &stamp);
    store.put(&path, object);
}
