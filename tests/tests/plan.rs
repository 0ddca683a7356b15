//! The forecast of a plan against what the same rotation then takes, and the digest against what changes and what does not.

use k0rotate::plan::back::{self, Then};
use k0rotate::plan::digest::digest;
use k0rotate::plan::forecast::{Forecast, NoForecast};
use k0rotate::plan::look::Eyes;
use k0rotate::plan::{self, text};
use k0rotate::survey::Survey;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::facts::{ClusterFacts, HostFacts, Storage};
use k0rotate_activities::fleet::{Role, Root};
use k0rotate_activities::inventory::Inventory;
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_engine::activity::Activity;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_tests::harness::{Bench, block_on, say};
use k0rotate_workflows::rotate::Rotate;
use serde::de::DeserializeOwned;
use std::time::Duration;

fn topologies() -> Vec<(&'static str, FleetPlan)> {
    use Role::{Controller, ControllerWorker, Single};
    vec![
        ("1+0", FleetPlan::of(&[("c1", Controller)])),
        ("single", FleetPlan::of(&[("s1", Single)])),
        ("controller+worker", FleetPlan::of(&[("cw1", ControllerWorker)])),
        ("3+2", FleetPlan::sized(3, 2)),
    ]
}

/// What the steps of an activity found.
fn found<A: Activity, O: DeserializeOwned>(bench: &Bench, execution: &ExecutionId) -> Vec<O> {
    let prefix = format!("check-hosts/{}@", A::NAME);
    let outputs = bench.history(execution).into_iter().filter_map(move |record| match record.event {
        Event::StepSucceeded { step, output } if step.as_str().starts_with(&prefix) => output.decode().ok(),
        _ => None,
    });
    outputs.collect()
}

/// A rotation to its wait, what its looks found, and the API's gap.
fn rotated(plan: FleetPlan) -> (Bench, ExecutionId, Vec<HostFacts>, ClusterFacts) {
    let bench = Bench::new(plan);
    let execution = bench.start(&bench.rotate());
    bench.drive(&execution, None).expect("nothing crashes it");
    let mut facts = found::<CheckHost, HostFacts>(&bench, &execution);
    facts.sort_by(|a, b| a.host.name.cmp(&b.host.name));
    let cluster = found::<CheckCluster, ClusterFacts>(&bench, &execution).remove(0);
    (bench, execution, facts, cluster)
}

fn gap(bench: &Bench) -> Duration {
    bench.fleet.stage(|stage| stage.world.api_gap())
}

/// Goal: what is forecast for the API, there and back, is what the same rotation of the same fleet takes.
#[test]
fn the_forecast_comes_true() {
    for (name, plan) in topologies() {
        let (bench, execution, facts, cluster) = rotated(plan);
        let forecast = block_on(Forecast::of(&facts, &cluster, &bench.rotate())).expect("the model knows it");
        let forward = gap(&bench);
        bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
        let back = gap(&bench).saturating_sub(forward);
        let near = |expected: u64, real: Duration| {
            let (expected, real) = (i128::from(expected), i128::try_from(real.as_millis()).unwrap());
            (expected - real).abs() <= real / 10
        };
        assert!(near(forecast.forward.api_down_ms, forward), "{name}: {forward:?} {:?}", forecast.forward);
        assert!(near(forecast.back.api_down_ms, back), "{name}: {back:?} {:?}", forecast.back);
        assert!(forecast.forward.api_down_ms > 0 && forecast.forward.down_ms >= forecast.forward.api_down_ms, "{name}");
        let slugs: Vec<&str> = forecast.forward.phases.iter().map(|p| p.slug.as_str()).collect();
        assert!(slugs.contains(&"stop") && slugs.last() == Some(&"prove"), "{name}: {slugs:?}");
        let race = forecast.api_down_worst_ms;
        assert_eq!(race.is_some(), bench.plan.hosts.len() > 1, "{name}");
        assert!(race.is_none_or(|worst| worst > forecast.forward.api_down_ms), "{name}: {race:?}");
        let down: Vec<&str> =
            forecast.forward.phases.iter().filter(|p| p.zone == "down").map(|p| p.slug.as_str()).collect();
        assert_eq!(down, ["stop", "swap", "start"], "{name}");
    }
}

/// Goal: what the model has nothing like is said, never guessed.
#[test]
fn a_datastore_that_is_not_modelled_has_no_forecast() {
    let (bench, _, mut facts, cluster) = rotated(FleetPlan::of(&[("c1", Role::Controller)]));
    facts[0].storage = Some(Storage::KineRemote);
    let none = block_on(Forecast::of(&facts, &cluster, &bench.rotate())).unwrap_err();
    assert!(matches!(none, NoForecast::NotModelled(_)));
    assert_eq!(none.to_string(), "the model has no kine on a database server, as c1 has it");
}

/// A k0sctl.yaml of a bench, without some of its hosts.
fn inventory(bench: &Bench, without: &[&str]) -> Inventory {
    let hosts = bench.plan.hosts.iter().filter(|host| !without.contains(&host.name.as_str())).cloned();
    inventory_of(&hosts.collect::<Vec<_>>())
}

fn inventory_of(hosts: &[PlannedHost]) -> Inventory {
    let mut text =
        "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nmetadata: {name: prod-3}\nspec:\n  hosts:\n"
            .to_owned();
    for host in hosts {
        let role = serde_json::to_value(host.role).expect("a role is a word");
        let (role, name, address) = (role.as_str().expect("a role is a word"), &host.name, &host.address);
        let line =
            format!("    - {{role: {role}, hostname: {name}, privateAddress: {address}, rehearsal: /nowhere}}\n");
        text.push_str(&line);
    }
    Inventory::read(&[("k0sctl.yaml".to_owned(), text)], &std::collections::BTreeMap::new()).expect("k0sctl reads it")
}

fn look(bench: &Bench, inventory: &Inventory, rotate: &Rotate) -> Survey {
    let hosts = inventory.hosts.iter().map(|h| (h.name.clone(), bench.fleet.host(&h.name))).collect();
    let eyes = Eyes { inventory, hosts: &hosts, rehearsal: Some(&bench.fleet), at_once: 30 };
    block_on(eyes.look(rotate)).expect("the fleet is in this process")
}

fn planned(bench: &Bench) -> plan::result::Plan {
    let (inventory, rotate) = (inventory(bench, &[]), bench.rotate());
    let survey = look(bench, &inventory, &rotate);
    block_on(plan::make(&inventory, &rotate, &[], &survey))
}

fn three_and_two() -> FleetPlan {
    FleetPlan { user_certs: vec!["alice".into(), "ci-deploy".into()], legacy_secrets: 2, ..FleetPlan::sized(3, 2) }
}

/// Goal: a plan changes nothing, and made again later it has the same digest.
#[test]
fn planning_changes_nothing() {
    let bench = Bench::new(three_and_two());
    let files = |bench: &Bench| bench.fleet.stage(|stage| (stage.world.trust_files(), stage.faults.changes));
    let before = files(&bench);
    let first = planned(&bench);
    assert_eq!(first.refusals, []);
    assert!(first.forecast.is_some(), "{:?}", first.no_forecast);
    bench.fleet.idle(Duration::from_secs(3600));
    let second = planned(&bench);
    assert!(first.digest.is_some() && first.digest == second.digest, "{:?} {:?}", first.digest, second.digest);
    assert_eq!(before, files(&bench));
    assert!(bench.plan.hosts.iter().all(|host| bench.fleet.stage(|stage| stage.mark(&host.name)).is_none()));
}

/// What a digest is made of, to be changed one thing at a time.
struct Seen {
    facts: Vec<HostFacts>,
    cluster: ClusterFacts,
    rotate: Rotate,
}

impl Seen {
    fn new() -> Self {
        let (bench, _, facts, cluster) = rotated(FleetPlan::sized(1, 1));
        Self { facts, cluster, rotate: bench.rotate() }
    }

    fn digest(&self) -> String {
        digest(&self.facts, &self.cluster, &self.rotate)
    }

    /// With the controller changed.
    fn host(&self, change: impl Fn(&mut HostFacts)) -> String {
        let mut facts = self.facts.clone();
        change(&mut facts[0]);
        digest(&facts, &self.cluster, &self.rotate)
    }

    fn all(&self, change: impl Fn(&mut ClusterFacts)) -> String {
        let mut cluster = self.cluster.clone();
        change(&mut cluster);
        digest(&self.facts, &cluster, &self.rotate)
    }

    fn option(&self, change: impl Fn(&mut Rotate)) -> String {
        let mut rotate = self.rotate.clone();
        change(&mut rotate);
        digest(&self.facts, &self.cluster, &rotate)
    }
}

/// Goal: all that a digest covers changes it, each by itself.
#[test]
fn the_digest_covers_what_it_says() {
    let seen = Seen::new();
    let same = seen.digest();
    let root = |f: &mut HostFacts, root: Root| {
        f.trust.iter_mut().find(|t| t.is_root && t.root == root).unwrap().fingerprint = "00".into();
    };
    let leaf = seen.facts[0].trust.iter().find(|t| !t.is_root).unwrap().clone();
    let user = |f: &mut HostFacts| {
        let path = "/var/lib/k0s/pki/alice.crt".to_owned();
        f.trust.push(k0rotate_activities::facts::TrustFile { path, ..leaf.clone() });
    };
    let others = [
        ("machine id", seen.host(|f| f.machine_id = "other".into())),
        ("version", seen.host(|f| f.host.version = "v1.36.4+k0s.0".into())),
        ("unit args", seen.host(|f| f.unit_args.push("--debug".into()))),
        ("role", seen.host(|f| f.host.role = Role::ControllerWorker)),
        ("address", seen.host(|f| f.host.address = "10.0.0.1".into())),
        ("kubernetes-ca", seen.host(|f| root(f, Root::KubernetesCa))),
        ("etcd-ca", seen.host(|f| root(f, Root::EtcdCa))),
        ("front-proxy-ca", seen.host(|f| root(f, Root::FrontProxyCa))),
        ("service-account", seen.host(|f| root(f, Root::ServiceAccount))),
        ("a user's certificate", seen.host(user)),
        ("a host less", digest(&seen.facts[..1], &seen.cluster, &seen.rotate)),
        ("cluster", seen.all(|c| c.uid = "other".into())),
        ("a Node", seen.all(|c| c.nodes.push("w9".into()))),
        ("a member", seen.all(|c| drop(c.etcd_members.insert("c9".into(), "10.0.0.9".into())))),
        ("roots", seen.option(|r| r.roots.truncate(1))),
        ("refresh", seen.option(|r| r.refresh = Refresh::All)),
        ("max outage", seen.option(|r| r.max_outage_seconds = 600)),
        ("allow", seen.option(|r| r.allow.push("version".into()))),
        ("left behind", seen.option(|r| r.leave_behind.push("w9".into()))),
    ];
    for (name, other) in &others {
        assert_ne!(*other, same, "{name}");
    }
    let distinct: std::collections::BTreeSet<&String> = others.iter().map(|(_, digest)| digest).collect();
    assert_eq!(distinct.len(), others.len());
}

/// Goal: time, health, boots, leafs, Leases and the window do not change a digest.
#[test]
fn the_digest_outlives_a_night() {
    let seen = Seen::new();
    let same = seen.digest();
    let unchanged = [
        ("boot", seen.host(|f| f.boot_id = "other".into())),
        ("clock", seen.host(|f| f.clock_skew_ms = 900)),
        ("Lease", seen.host(|f| f.holds_ctrl_lease = false)),
        ("leafs", seen.host(|f| f.trust.iter_mut().filter(|t| !t.is_root).for_each(|t| t.fingerprint = "00".into()))),
        ("expiry", seen.host(|f| f.trust.iter_mut().for_each(|t| t.not_after = Some(1)))),
        ("health", seen.all(|c| c.not_ready.push("w1".into()))),
        ("Leases", seen.all(|c| c.controller_leases.clear())),
        ("pods", seen.all(|c| c.token_pods.clear())),
        ("join tokens, which run out", seen.all(|c| c.worker_tokens.push("abcdef".into()))),
        ("window", seen.option(|r| r.not_after = Some(k0rotate_engine::clock::Timestamp(1)))),
        ("room", seen.option(|r| r.room_seconds = 1)),
        ("order", seen.option(|r| r.roots.reverse())),
    ];
    for (name, other) in &unchanged {
        assert_eq!(*other, same, "{name}");
    }
}

/// Goal: what a check says no to is told by name, there is no digest then, and who holds the cluster is another matter.
#[test]
fn refusals_are_named() {
    let bench = Bench::new(FleetPlan::sized(1, 1));
    let (without, rotate) = (inventory(&bench, &["h2"]), bench.rotate());
    let rotate = Rotate { hosts: rotate.hosts[..1].to_vec(), ..rotate };
    let plan = block_on(plan::make(&without, &rotate, &[], &look(&bench, &without, &rotate)));
    assert_eq!(plan.refusals.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["node-not-in-inventory"]);
    assert_eq!((plan.digest.clone(), plan::exit(&plan.refusals).code()), (None, 1));
    assert!(text::table(&plan).contains("refused now: node-not-in-inventory node=h2"), "{}", text::table(&plan));
    let execution = bench.start(&bench.rotate());
    bench.drive(&execution, None).expect("nothing crashes it");
    let held = planned(&bench);
    assert_eq!(plan::exit(&held.refusals).code(), 5, "{:?}", held.refusals);
    assert!(held.digest.is_none() && held.refusals.iter().any(|r| r.what.contains("by=test@here")));
}

/// Goal: whether a window has room for both ways is told before, as the rotation then finds it.
#[test]
fn a_window_is_measured() {
    let until = |seconds: u64| {
        let bench = Bench::new(FleetPlan::sized(1, 1));
        let inventory = inventory(&bench, &[]);
        let survey = look(&bench, &inventory, &bench.rotate());
        let rotate = Rotate { not_after: Some(survey.at.plus(Duration::from_secs(seconds))), ..bench.rotate() };
        let plan = block_on(plan::make(&inventory, &rotate, &[], &survey));
        let window = plan.window.expect("it has an end, and a forecast");
        let execution = bench.start(&Rotate { room_seconds: window.room_seconds, ..rotate });
        let rest = bench.drive(&execution, None).expect("nothing crashes it");
        assert_eq!(window.fits(), matches!(rest, Rest::Waiting { .. }), "{seconds} s: {window:?} {rest:?}");
        assert_eq!(gap(&bench).is_zero(), !window.fits(), "{seconds} s");
        (window, text::table(&plan))
    };
    let (long, told) = until(3600);
    assert!(told.contains("so that the controllers must be stopped by ") && !told.contains("has no room"), "{told}");
    // The model's forecast and the rotation itself are as close as this.
    let (spare, close) = (long.stop_by.since(long.stop_at).as_secs(), 20);
    assert!(until(3600 - spare + close).0.fits());
    let (short, told) = until(3600 - spare - close);
    assert!(!short.fits() && told.contains("warning: the window has no room for"), "{told}");
}

/// Numbers of a forecast that do not depend on which of several hosts answers first.
fn steady(plan: &mut plan::result::Plan) {
    let forecast = plan.forecast.as_mut().expect("the model knows it");
    for way in [&mut forecast.forward, &mut forecast.back] {
        (way.api_down_ms, way.down_ms, way.total_ms) = (9_200, 17_000, 400_000);
        for (i, phase) in way.phases.iter_mut().enumerate() {
            phase.expected_ms = [0, 800, 2_000, 40_000, 130_000][i % 5];
        }
    }
    forecast.api_down_worst_ms = Some(14_000);
    let digest = "9f3a61c2".repeat(8);
    plan.go_on = Some(format!("k0rotate rotate --plan {}", &digest[..12]));
    plan.digest = Some(digest);
    plan.recipients = vec!["age1q7".into()];
}

/// Goal: the table and the notice say what somebody must know before, and no secret.
#[test]
fn people_are_told() {
    let bench = Bench::new(three_and_two());
    let mut plan = planned(&bench);
    steady(&mut plan);
    insta::assert_snapshot!("table", text::table(&plan));
    plan.not_before = Some(k0rotate_engine::clock::Timestamp(1_795_568_400_000));
    insta::assert_snapshot!("notice", text::notice(&plan));
    let whole = serde_json::to_string(&plan).unwrap();
    assert!(!whole.contains("PRIVATE KEY") && !whole.contains("eyJ"), "{whole}");
}

/// Goal: the plan of a way back sees what has changed since, refuses what would not come through, and its digest holds exactly so long.
#[test]
fn the_way_back_is_planned() {
    let (bench, execution, ..) = rotated(FleetPlan::sized(3, 2));
    let history = bench.history(&execution);
    let view = ExecutionView::of(&history).unwrap().unwrap();
    let then = Then::of(&view).unwrap();
    let plan = |without: &[&str]| {
        let inventory = inventory(&bench, without);
        let survey = look(&bench, &inventory, then.rotate());
        block_on(back::make(&inventory, &view, &then, &survey))
    };
    let first = plan(&[]);
    assert_eq!(first.refusals, []);
    assert_eq!(first.since, []);
    assert!(first.outage && first.forecast.as_ref().is_some_and(|way| way.api_down_ms > 0), "{first:?}");
    assert_eq!(first.digest, plan(&[]).digest);
    let without = plan(&["h3"]);
    assert_eq!(without.refusals.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["host-not-in-inventory"]);
    assert!(without.digest.is_none() && without.since.iter().any(|change| change.of == "h3"), "{:?}", without.since);
    bench.fleet.stage(|stage| stage.world.power_off("h1"));
    let away = plan(&[]);
    assert_eq!(away.refusals.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["controller-away"]);
}

/// Goal: who joined or was upgraded since is told, with what becomes of it; what would leave half a cluster behind is refused.
#[test]
fn a_way_back_tells_what_is_new() {
    let (bench, execution, ..) = rotated(FleetPlan::sized(1, 1));
    let view = ExecutionView::of(&bench.history(&execution)).unwrap().unwrap();
    let then = Then::of(&view).unwrap();
    let survey = look(&bench, &inventory(&bench, &[]), then.rotate());
    let codes = |inventory: &Inventory, survey: &Survey| {
        let plan = block_on(back::make(inventory, &view, &then, survey));
        let codes: Vec<String> = plan.refusals.iter().map(|r| r.code.clone()).collect();
        (codes, plan.since)
    };
    let joined = |name: &str, role: Role| {
        let new = PlannedHost { name: name.into(), role, address: "10.77.0.99".into(), version: None };
        inventory_of(&[bench.plan.hosts.clone(), vec![new]].concat())
    };
    // Who came is seen on its machine and in the cluster.
    let with = |name: &str, like: &str| {
        let mut survey = survey.clone();
        let mut facts = survey.hosts[like].clone().unwrap();
        facts.host.name = name.into();
        facts.host.hostname = name.into();
        facts.host.node = facts.host.node.map(|_| name.to_owned());
        survey.hosts.insert(name.into(), Ok(facts.clone()));
        let cluster = survey.cluster.as_mut().unwrap();
        cluster.nodes.extend(facts.host.node);
        cluster.controller_leases.extend(facts.host.role.is_controller().then(|| name.to_owned()));
        survey
    };
    let (refused, since) = codes(&joined("w9", Role::Worker), &with("w9", "h2"));
    assert_eq!((refused.len(), since[0].of.as_str(), since[0].what.as_str()), (0, "w9", "joined, a worker"));
    let (refused, since) = codes(&joined("c9", Role::Controller), &with("c9", "h1"));
    assert_eq!((refused.len(), since[0].then.as_str()), (0, "gets the old pairs; its leafs are made anew"));
    let mut strange = with("w9", "h2");
    strange.hosts.remove("w9");
    assert_eq!(codes(&inventory(&bench, &[]), &strange).0, ["node-not-in-inventory"]);
    let mut without = survey.clone();
    without.cluster.as_mut().unwrap().nodes.clear();
    assert_eq!(codes(&inventory(&bench, &[]), &without).0, ["host-not-in-cluster"], "its k0s runs all the same");
    without.hosts.remove("h2");
    let (refused, since) = codes(&inventory(&bench, &["h2"]), &without);
    assert_eq!((refused.len(), since[0].of.as_str(), since[0].then.as_str()), (0, "h2", "skipped"));
    let upgraded = |host: &str| {
        let mut survey = survey.clone();
        let facts = survey.hosts.get_mut(host).unwrap().as_mut().unwrap();
        facts.host.version = "v1.36.4+k0s.0".into();
        codes(&inventory(&bench, &[]), &survey)
    };
    assert_eq!(upgraded("h1").0, ["k0s-version-changed"]);
    let (refused, since) = upgraded("h2");
    assert_eq!((refused.len(), since[0].of.as_str()), (0, "k0s"));
    assert!(since[0].what.ends_with("-> v1.36.4+k0s.0 on h2"), "{}", since[0].what);
}
