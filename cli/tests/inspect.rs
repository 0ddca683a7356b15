//! Shows what `inspect` tells of rehearsal fleets: healthy, split, half away, about to expire, rotated and rolled back; and that it changes nothing.

use k0rotate::exit::Exit;
use k0rotate::inspect::against::{Comparison, Trust, compare};
use k0rotate::inspect::found::Inspection;
use k0rotate::inspect::{exit, text};
use k0rotate::runtime::Runtime;
use k0rotate::survey::{Asked, Survey, survey};
use k0rotate_activities::fleet::{Fleet, KeyKind, Role};
use k0rotate_activities::host::{Change, OwnerIds};
use k0rotate_activities::inventory::{Connection, Inventory, InventoryHost};
use k0rotate_activities::pki::{self, Leaf, Validity};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::secret::Secret;
use k0rotate_activities::vault::{Vault, make_identity};
use k0rotate_engine::drive::{Engine, Rest, Start, Word};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::view::ExecutionView;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PKI: &str = "/var/lib/k0s/pki";

/// A fleet, and the file that describes it.
struct Bench {
    plan: FleetPlan,
    fleet: Rehearsal,
    inventory: Inventory,
}

impl Bench {
    fn new() -> Self {
        let plan = k0rotate::demo::plan("3+2").expect("a plan");
        let host = |h: &k0rotate_activities::rehearsal::world::PlannedHost| InventoryHost {
            name: h.name.clone(),
            role: h.role,
            address: h.address.clone(),
            connection: Connection::Rehearsal { socket: "nowhere".into() },
            hostname: Some(h.name.clone()),
            private_address: Some(h.address.clone()),
            data_dir: None,
            kubelet_root: None,
            file: "k0sctl.yaml".into(),
            line: 1,
        };
        let inventory = Inventory {
            name: "demo".into(),
            hosts: plan.hosts.iter().map(host).collect(),
            api_host: "api.demo.example".into(),
            api_port: 6443,
            concurrency: None,
            unused: Vec::new(),
            unset: Vec::new(),
        };
        Self { fleet: Rehearsal::new(Stage::new(&plan)), plan, inventory }
    }

    fn hosts(&self) -> k0rotate::open::Hosts {
        self.plan.hosts.iter().map(|h| (h.name.clone(), self.fleet.host(&h.name))).collect()
    }

    async fn survey(&self) -> Survey {
        let hosts = self.hosts();
        let (inventory, clock) = (&self.inventory, self.fleet.clock());
        let asked =
            Asked { inventory, hosts: &hosts, clock, allow: &[], leave_behind: &[], etcd_ca_stays: false, at_once: 30 };
        self.fleet.paced(survey(&asked)).await.expect("nothing crashes it")
    }

    async fn inspect(&self, within_days: Option<u64>) -> (Exit, Inspection) {
        let survey = self.survey().await;
        let within = within_days.map(|days| Duration::from_secs(days * 86_400));
        let found = Inspection::of(&self.inventory, &survey, None, within);
        (exit(&survey, &found), found)
    }

    fn write(&self, host: &str, path: &str, text: &[u8]) {
        let owner = OwnerIds { uid: 0, gid: 0 };
        let change = Change::Write { path: path.into(), bytes: Secret::new(text.to_vec()), mode: 0o644, owner };
        self.fleet.stage(|stage| stage.world.apply(host, &change)).expect("there is space");
    }

    fn read(&self, host: &str, path: &str) -> Vec<u8> {
        self.fleet.stage(|stage| stage.world.read(host, path)).expect("it is there")
    }

    /// All files of all hosts with what is in them.
    fn files(&self) -> BTreeMap<String, String> {
        let roots = ["/etc".to_owned(), "/var/lib".to_owned(), "/run/lock".to_owned(), "/tmp".to_owned()];
        let listed = |name: &str| self.fleet.stage(|stage| format!("{:?}", stage.world.files(name, &roots)));
        self.plan.hosts.iter().map(|h| (h.name.clone(), listed(&h.name))).collect()
    }

    fn runtime(&self) -> Runtime {
        let log: Arc<dyn EventLog> = Arc::new(MemoryStore::new().open());
        let (identity, recipient) = make_identity();
        let vault = Vault::open(log.clone(), &[recipient], &identity).expect("its own recipient");
        let fleet = Fleet {
            hosts: self.hosts(),
            members: self.inventory.hosts.iter().map(InventoryHost::member).collect(),
            clock: self.fleet.clock(),
            secrets: Arc::new(vault),
            by: "alice@lap7".into(),
            keys: KeyKind::P256,
        };
        let engine = Engine::new(log, self.fleet.clock());
        Runtime { telemetry: None, serving: None, engine, fleet: Arc::new(fleet), rehearsal: Some(self.fleet.clone()) }
    }

    async fn rotate(&self, runtime: &Runtime) -> ExecutionId {
        let start = Start { subject: "demo".into(), by: "alice@lap7".into(), reason: "to see".into() };
        let id = runtime.engine.start(&k0rotate::demo::rotation(&self.plan), start).await.expect("a first event");
        let rest = runtime.drive(&id, None, |_, _| ()).await;
        assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
        id
    }

    async fn compare(&self, view: &ExecutionView) -> Comparison {
        compare(&self.inventory, &self.survey().await, view).expect("it rests")
    }
}

/// The text, with fingerprints and ids, which are new in every run, replaced by their numbers.
fn shown(found: &Inspection) -> String {
    let mut found = found.clone();
    let mut known: Vec<String> = Vec::new();
    for fingerprint in found.roots.iter_mut().flat_map(|row| &mut row.fingerprints) {
        if !known.contains(fingerprint) {
            known.push(fingerprint.clone());
        }
        let number = known.iter().position(|k| k == fingerprint).expect("it was put there");
        *fingerprint = format!("{number:064x}");
    }
    text::text(&found)
}

#[tokio::test]
async fn a_healthy_cluster() {
    // Goal: the view of a healthy cluster, exit status 0, and not one change on any host.
    let bench = Bench::new();
    let before = (bench.files(), bench.fleet.stage(|stage| stage.faults.changes));
    let (exit, found) = bench.inspect(None).await;
    assert_eq!(exit, Exit::Done, "{:?}", found.differences);
    insta::assert_snapshot!("healthy", shown(&found));
    assert_eq!((bench.files(), bench.fleet.stage(|stage| stage.faults.changes)), before);
}

#[tokio::test]
async fn a_split_cluster_is_named() {
    // Goal: different trust on two controllers is named with root and hosts, and nothing else is hidden by it.
    let bench = Bench::new();
    let other = bench.read("c3", &format!("{PKI}/front-proxy-ca.crt"));
    bench.write("c3", &format!("{PKI}/etcd/ca.crt"), &other);
    let (exit, found) = bench.inspect(None).await;
    assert_eq!((exit, found.uid.is_some(), found.hosts.len()), (Exit::Differs, true, 5));
    insta::assert_snapshot!("split", shown(&found));
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_are_told() {
    // Goal: with one controller and one worker away the rest is seen, and neither is called unknown to the file.
    let bench = Bench::new();
    bench.fleet.stage(|stage| ["c3", "w2"].map(|host| stage.world.power_off(host)));
    let (exit, found) = bench.inspect(None).await;
    assert_eq!(exit, Exit::Differs);
    insta::assert_snapshot!("unreachable", shown(&found));
    bench.fleet.stage(|stage| ["c1", "c2", "w1"].map(|host| stage.world.power_off(host)));
    assert_eq!(bench.inspect(None).await.0, Exit::Refused);
}

#[tokio::test]
async fn a_leaf_about_to_expire() {
    // Goal: the earliest leaf is found with its place and what to do; with --expires-within it is exit status 8, and 0 where it lasts longer.
    let bench = Bench::new();
    let now = i64::try_from(bench.fleet.stage(|stage| stage.now()).0 / 1000).expect("it fits");
    let ca = String::from_utf8(bench.read("c2", &format!("{PKI}/ca.crt"))).expect("PEM");
    let key = Secret::new(bench.read("c2", &format!("{PKI}/ca.key")));
    let leaf = Leaf {
        common_name: "kubernetes".into(),
        organization: None,
        sans: Vec::new(),
        server: true,
        client: true,
        validity: Validity { not_before: now - 86_400, not_after: now + 15 * 86_400 + 3600 },
    };
    let leaf = pki::issue(&ca, &key, &leaf, KeyKind::P256).expect("a leaf");
    bench.write("c2", &format!("{PKI}/server.crt"), leaf.certificate.as_bytes());
    let (exit, found) = bench.inspect(Some(30)).await;
    assert_eq!(exit, Exit::Differs);
    insta::assert_snapshot!("expiring", shown(&found));
    assert_eq!(bench.inspect(Some(15)).await.0, Exit::Done);
    assert_eq!(bench.inspect(None).await.0, Exit::Done);
}

#[tokio::test]
async fn what_the_file_says_otherwise() {
    // Goal: another role, another data directory, a Node that the file lacks, and another cluster under the name are told.
    let mut bench = Bench::new();
    bench.inventory.hosts[0].data_dir = Some("/data/k0s".into());
    bench.inventory.hosts[1].role = Role::ControllerWorker;
    bench.inventory.hosts[2].role = Role::Worker;
    bench.inventory.hosts.pop();
    let survey = bench.survey().await;
    let last = k0rotate::inspect::found::Rotation {
        execution: "01J".into(),
        state: "completed".into(),
        since: "2026".into(),
        uid: Some("another".into()),
    };
    let found = Inspection::of(&bench.inventory, &survey, Some(last), None);
    let all: Vec<&str> = found.differences.iter().map(|d| d.what.as_str()).collect();
    for told in [
        "c1: the data directory is /var/lib/k0s, the file says /data/k0s",
        "c2 runs as controller, the file says controller+worker",
        "c3 runs as controller, the file says worker",
        "Node w2 is not in the file",
    ] {
        assert!(all.contains(&told), "{told} is not in {all:?}");
    }
    assert!(all.iter().any(|d| d.contains("had the UID another")), "{all:?}");
}

#[tokio::test]
async fn a_rotation_that_rests_is_compared() {
    // Goal: who holds is told; waiting, all is as the rotation left it; a place with the old trust is named; rolled back, the first trust is what must be there.
    let bench = Bench::new();
    let old = bench.read("c1", &format!("{PKI}/sa.pub"));
    let runtime = bench.runtime();
    let id = bench.rotate(&runtime).await;
    let view = runtime.view(&id).await.expect("it is there");
    let found = bench.inspect(None).await.1;
    assert_eq!((found.holders.len(), found.holders[0].by.as_str(), found.holders[0].hosts.len()), (1, "alice@lap7", 5));
    let compared = bench.compare(&view).await;
    assert_eq!((compared.places, compared.differs()), (14, false), "{compared:?}");

    let new = bench.read("c1", &format!("{PKI}/sa.pub"));
    bench.write("c1", &format!("{PKI}/sa.pub"), &old);
    let compared = bench.compare(&view).await;
    let differ: Vec<_> = compared.differ.iter().map(|p| (p.host.as_str(), p.root.as_str(), p.is)).collect();
    assert_eq!(differ, [("c1", "service-account", Trust::Old)]);
    bench.write("c1", &format!("{PKI}/sa.pub"), &new);

    let back = Word::RollBack { by: "alice@lap7".into(), reason: "to see".into() };
    let rest = runtime.drive(&id, Some(back), |_, _| ()).await;
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    let view = runtime.view(&id).await.expect("it is there");
    let compared = bench.compare(&view).await;
    assert!(!compared.differs(), "{compared:?}");
    bench.write("c2", &format!("{PKI}/sa.pub"), &new);
    let compared = bench.compare(&view).await;
    let differ: Vec<_> = compared.differ.iter().map(|p| (p.host.as_str(), p.is)).collect();
    assert_eq!(differ, [("c2", Trust::New)]);
}
