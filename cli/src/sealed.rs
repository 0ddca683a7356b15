//! Whether the identity at hand opens what an execution sealed: a way that cannot be gone to its end is not begun.

use crate::error::Error;
use crate::report::outputs;
use crate::runtime::Runtime;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::snapshot_host::{Snapshot, SnapshotHost};
use k0rotate_activities::trust::{NewTrust, SecretRef};
use k0rotate_engine::view::ExecutionView;

/// Opens one small secret of each kind that was sealed so far. Nothing was changed if it says no.
pub async fn opens(runtime: &Runtime, view: &ExecutionView) -> Result<(), Error> {
    for sealed in samples(view) {
        if let Err(failure) = runtime.fleet.secrets.get(&sealed).await
            && failure.code == "secret-not-opened"
        {
            let what = format!("it does not open what {} sealed; use the one that it was started with", view.execution);
            return Err(Error::Identity(what));
        }
    }
    Ok(())
}

fn samples(view: &ExecutionView) -> Vec<SecretRef> {
    let snapshots = outputs::<SnapshotHost, Snapshot>(view).into_iter().map(|(_, snapshot)| snapshot.manifest);
    let made = outputs::<MakeTrust, NewTrust>(view).into_iter();
    let keys = made
        .filter_map(|(_, trust)| Some(trust.shared.into_values().chain(trust.front_proxy.into_values()).next()?.key));
    snapshots.take(1).chain(keys.take(1)).collect()
}
