//! The proof that what is retired is refused: what was left behind as an operator would, and a controller that signs with a key of its own.

use k0rotate_activities::activity::credentials::{Kind, Verdict};
use k0rotate_activities::activity::prove_old_refused::{Cell, ProveOldRefused};
use k0rotate_activities::host::{Change, Command, OwnerIds};
use k0rotate_activities::pki;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::secret::Secret;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_tests::harness::{Bench, say};
use std::time::Duration;

const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-";

fn with_tokens(plan: FleetPlan) -> FleetPlan {
    FleetPlan { worker_tokens: 1, controller_tokens: 1, ..plan }
}

/// Ids of the join tokens that there are.
fn tokens(bench: &Bench) -> Vec<String> {
    let objects = bench.fleet.stage(|s| s.world.objects());
    objects.iter().filter_map(|(path, _)| path.strip_prefix(TOKENS)).map(str::to_owned).collect()
}

/// The cells of a phase, of all controllers.
fn cells(history: &[Record], phase: &str) -> Vec<Cell> {
    let prefix = format!("{phase}/{}@", ProveOldRefused::NAME);
    let cells = |record: &Record| match &record.event {
        Event::StepSucceeded { step, output } if step.as_str().starts_with(&prefix) => output.decode().ok(),
        _ => None,
    };
    history.iter().filter_map(cells).flat_map(|cells: Vec<Cell>| cells).collect()
}

/// What became of join tokens: of the old one, of the new one, at each controller.
fn join_tokens(bench: &Bench, id: &ExecutionId, phase: &str) -> Vec<(Verdict, Verdict)> {
    let cells = cells(&bench.history(id), phase);
    cells.iter().filter(|cell| cell.kind == Kind::JoinToken).map(|cell| (cell.old, cell.new)).collect()
}

fn rotated(bench: &Bench, keep_token: Vec<String>) -> ExecutionId {
    let mut rotate = bench.rotate();
    rotate.keep_token = keep_token;
    let id = bench.start(&rotate);
    let rest = bench.drive(&id, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    id
}

/// Goal: a join token that was left behind is refused everywhere afterwards, and a new one, which is taken away again, accepted.
#[test]
fn join_tokens_that_were_left_behind_are_shown() {
    use Verdict::{Accepted, Refused};
    let bench = Bench::new(with_tokens(FleetPlan::sized(3, 2)));
    let before = tokens(&bench);
    assert_eq!(before.len(), 2);
    let id = rotated(&bench, Vec::new());
    assert_eq!(join_tokens(&bench, &id, "prove"), [(Refused, Accepted); 3]);
    assert_eq!(tokens(&bench), Vec::<String>::new());
    let back = Bench::of(&bench.image());
    let rest = back.drive(&id, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(tokens(&back), before, "those of the first trust are good again");
    let create = Command::new("/usr/local/bin/k0s", ["token", "create", "--role", "worker"]);
    bench.fleet.stage(|s| s.world.begin("h1", &create));
    bench.fleet.idle(Duration::from_secs(10));
    let minted_since = tokens(&bench);
    assert_eq!(minted_since.len(), 1);
    let rest = bench.drive(&id, Some(say::finalize())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Completed { .. }), "{rest:?}");
    assert_eq!(join_tokens(&bench, &id, "verify-again"), [(Refused, Accepted); 3]);
    assert_eq!(tokens(&bench), minted_since, "what an operator minted under the new trust stays");
}

/// Goal: where there was no token, or the operator keeps the one that there is, nothing is shown and nothing is minted for it.
#[test]
fn join_tokens_that_prove_nothing_are_not_shown() {
    use Verdict::NotShown;
    let bench = Bench::new(FleetPlan::sized(3, 0));
    let id = rotated(&bench, Vec::new());
    assert_eq!(join_tokens(&bench, &id, "prove"), [(NotShown, NotShown); 3]);
    let bench = Bench::new(FleetPlan { worker_tokens: 1, ..FleetPlan::sized(1, 1) });
    let kept = tokens(&bench);
    let id = rotated(&bench, kept.clone());
    assert_eq!(join_tokens(&bench, &id, "prove"), [(NotShown, NotShown)]);
    assert_eq!(tokens(&bench), kept);
}

/// Goal: the record says which controller minted a token and which accepted it.
#[test]
fn who_minted_and_who_accepted_is_recorded() {
    let bench = Bench::new(FleetPlan::sized(3, 0));
    let id = rotated(&bench, Vec::new());
    let history = bench.history(&id);
    let mut pairs: Vec<(String, String)> =
        cells(&history, "prove").into_iter().filter_map(|c| Some((c.minted_by?, c.at))).collect();
    pairs.sort();
    let all = [("h1", "h2"), ("h1", "h3"), ("h2", "h1"), ("h2", "h3"), ("h3", "h1"), ("h3", "h2")];
    assert_eq!(pairs, all.map(|(minter, at)| (minter.to_owned(), at.to_owned())));
    let report = k0rotate::report::markdown(&ExecutionView::of(&history).unwrap().unwrap(), &[]);
    assert!(report.contains("| minted by | shown to | |\n|---|---|---|\n| h1 | h2 | accepted |"), "{report}");
}

/// Goal: a controller that signs with a key of its own, and whose tokens the others refuse, is the one that is named.
#[test]
fn a_controller_that_signs_with_a_key_of_its_own_is_named() {
    let bench = Bench::new(FleetPlan::sized(3, 0));
    let id = rotated(&bench, Vec::new());
    let own = pki::make_service_account(k0rotate_activities::fleet::KeyKind::P256).expect("a key can be made");
    let owner = OwnerIds { uid: 0, gid: 0 };
    let public = Secret::new(own.certificate.into_bytes());
    bench.fleet.stage(|s| {
        for (file, bytes) in [("sa.key", own.key), ("sa.pub", public)] {
            let write = Change::Write { path: format!("/var/lib/k0s/pki/{file}"), bytes, mode: 0o640, owner };
            s.world.apply("h2", &write).expect("there is space");
        }
        s.world.reboot("h2");
    });
    bench.fleet.idle(Duration::from_secs(120));
    let rest = bench.drive(&id, Some(say::finalize())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let history = bench.history(&id);
    let failed = history.iter().filter_map(|r| match &r.event {
        Event::StepFailed { step, failure, .. } => Some(format!("{step} {failure}")),
        _ => None,
    });
    let failed: Vec<String> = failed.collect();
    let of_h2 = failed.iter().find(|f| f.starts_with("verify-again/prove-old-refused@h2 "));
    let of_h2 = of_h2.unwrap_or_else(|| panic!("{failed:?}"));
    assert!(
        of_h2.contains("minted-token-refused") && of_h2.contains("host=h2") && of_h2.contains("by=h1"),
        "{failed:?}"
    );
}
