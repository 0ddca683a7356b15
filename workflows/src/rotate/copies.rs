//! Which sealed copies serve nobody once a rotation has ended, one way or the other.

use super::Rotate;
use crate::phases;
use alloc::vec::Vec;
use k0rotate_activities::activity::back_up_cluster::BackUpCluster;
use k0rotate_activities::activity::destroy_sealed::DestroySealed;
use k0rotate_activities::activity::keep_credentials::{KeepCredentials, KeptTrust};
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::revoke_join_tokens::RevokeJoinTokens;
use k0rotate_activities::activity::snapshot_host::SnapshotHost;
use k0rotate_activities::fleet::Fleet;
use k0rotate_activities::trust::SecretRef;
use k0rotate_engine::cx::Cx;
use k0rotate_engine::workflow::Halt;

/// At the end of the way forward: everything that holds the first trust. The new keys stay, for hosts that are let in later.
pub(super) fn of_first_trust(cx: &Cx<Fleet>) -> Vec<SecretRef> {
    let snapshots = cx.recorded_all::<SnapshotHost>(phases::BACK_UP.0).into_iter().filter_map(|step| step.output);
    let snapshots = snapshots.flat_map(|snapshot| [snapshot.sealed, snapshot.manifest]);
    backups(cx, phases::BACK_UP.0).chain(snapshots).chain(kept(cx)).collect()
}

/// At the end of the way back: everything that holds the new trust. The backup and the snapshots of the first stay: it is in use.
pub(super) fn of_new_trust<'a>(
    rotate: &Rotate,
    cx: &Cx<Fleet>,
    remembered: impl Iterator<Item = &'a KeptTrust>,
) -> Vec<SecretRef> {
    let made = cx.recorded::<MakeTrust>(phases::MAKE_TRUST.0, "cluster").and_then(|step| step.output);
    let made = made.map(|trust| trust.shared.into_values().chain(trust.front_proxy.into_values()));
    let keys = made.into_iter().flatten().map(|pair| pair.key);
    let brought = rotate.own_cas.values().filter_map(|own| own.key.clone());
    let remembered = remembered.flat_map(|kept| &kept.credentials).map(|kept| kept.sealed.clone());
    let backups = [phases::PROVE, phases::VERIFY_AGAIN].into_iter().flat_map(|phase| backups(cx, phase.0));
    keys.chain(brought).chain(remembered).chain(backups).chain(kept(cx)).collect()
}

/// Destroys them; nothing happens if there are none.
pub(super) async fn destroy(cx: &mut Cx<Fleet>, copies: &[SecretRef]) -> Result<(), Halt> {
    for step in DestroySealed::all(copies) {
        cx.run(step).await?;
    }
    Ok(())
}

fn backups(cx: &Cx<Fleet>, phase: &str) -> impl Iterator<Item = SecretRef> {
    let backup = cx.recorded::<BackUpCluster>(phase, "cluster").and_then(|step| step.output);
    backup.map(|backup| backup.sealed).into_iter()
}

/// Credentials and join tokens of the first trust: good for nothing after the one end, and good for too much after the other.
fn kept(cx: &Cx<Fleet>) -> impl Iterator<Item = SecretRef> {
    let kept = cx.recorded_all::<KeepCredentials>(phases::BACK_UP.0).into_iter().filter_map(|step| step.output);
    let tokens =
        cx.recorded::<RevokeJoinTokens>(phases::REVOKE_TOKENS.0, "cluster").and_then(|step| step.before?.sealed);
    kept.flat_map(|kept| kept.credentials).map(|kept| kept.sealed).chain(tokens)
}
