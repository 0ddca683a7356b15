//! The inventory reads k0sctl's file as k0sctl does: each documented key stands in a fixture and has its stated effect.

use k0rotate_activities::fleet::Role;
use k0rotate_activities::inventory::keys::{KEYS, Use, use_of};
use k0rotate_activities::inventory::{Code, Connection, Inventory, Problem};
use std::collections::BTreeMap;

fn fixture(name: &str) -> (String, String) {
    let path = format!("{}/tests/fixtures/inventory/{name}", env!("CARGO_MANIFEST_DIR"));
    (name.to_owned(), std::fs::read_to_string(path).expect("a fixture"))
}

fn read(name: &str) -> Result<Inventory, Vec<Problem>> {
    let env = BTreeMap::from([("C1".to_owned(), "10.1.3.11".to_owned()), ("A".to_owned(), "hunter2".to_owned())]);
    Inventory::read(&[fixture(name)], &env)
}

#[test]
fn what_is_honoured_has_its_effect() {
    // Goal: connections, roles, names, directories and the API's host come out as k0sctl would use them.
    let got = read("honoured.yaml").expect("it is sound");
    assert_eq!((got.name.as_str(), got.api_host.as_str(), got.api_port), ("prod-3", "api.prod-3.example", 7443));
    assert_eq!(got.concurrency, Some(12));
    let [c1, c2, w1] = &got.hosts[..] else { panic!("three hosts") };
    assert_eq!((c1.name.as_str(), c1.data_dir.as_deref(), c1.line), ("c1", Some("/srv/k0s"), 8));
    let Connection::Ssh { server, bastions, options } = &c1.connection else { panic!("by SSH") };
    assert_eq!((server.address.as_str(), server.port), ("10.1.3.11", Some(2222)));
    let names: Vec<_> = bastions.iter().map(|b| (b.address.as_str(), b.user.as_deref())).collect();
    assert_eq!(names, [("outer", Some("jump")), ("inner", Some("root"))]);
    assert_eq!(options[..], [("UserKnownHostsFile".to_owned(), "/etc/known".to_owned())]);
    assert_eq!((c2.role, c2.data_dir.as_deref()), (Role::ControllerWorker, Some("/data/k0s")));
    assert_eq!(c2.kubelet_root.as_deref(), Some("/data/kubelet"));
    let Connection::OpenSsh { config, options, .. } = &c2.connection else { panic!("by openSSH") };
    assert_eq!((config.as_deref(), options[0].1.as_str()), (Some("/etc/ssh/cluster"), "yes"));
    assert_eq!((w1.name.as_str(), &w1.connection), ("127.0.0.1", &Connection::Localhost));
    assert_eq!(got.host("192.168.7.1").map(|h| h.name.as_str()), Some("c1"));
}

#[test]
fn what_is_unused_is_listed_with_its_line_and_reason() {
    // Goal: nobody believes that a hook or a file of the inventory has an effect here.
    let got = read("unused.yaml").expect("it is sound");
    let text = fixture("unused.yaml").1;
    for unused in &got.unused {
        let line = text.lines().nth(unused.line - 1).unwrap_or_default();
        let name = unused.key.rsplit('.').next().expect("a name");
        assert!(line.trim_start().starts_with(&format!("{name}:")), "{unused:?}: {line}");
        assert!(unused.why.len() > 8, "{unused:?}");
    }
    let listed: Vec<&str> = got.unused.iter().map(|u| u.key.as_str()).collect();
    let topmost = KEYS.iter().filter(|(key, u)| {
        let parent = key.rsplit_once('.').map(|(p, _)| use_of(p));
        let older = key.ends_with(".hostKey") || key.ends_with(".kubeconfig");
        !older && matches!(u, Use::Unused(_)) && !matches!(parent, Some(Some(Use::Unused(_))))
    });
    for (key, _) in topmost {
        assert!(listed.contains(key), "no fixture has the unused key {key}");
    }
}

#[test]
fn each_key_stands_in_a_fixture() {
    // Goal: no key is believed to be known without a file that has it.
    let all: String = ["honoured.yaml", "unused.yaml", "winrm.yaml", "reset.yaml"].map(|f| fixture(f).1).concat();
    // Not documented by k0sctl: an alias, keys of older versions, and our own.
    let other = [".winrm", ".rehearsal", ".hostKey", ".kubeconfig"];
    let documented = |key: &str| !key.ends_with('*') && !other.iter().any(|o| key.ends_with(o));
    for (key, _) in KEYS.iter().filter(|(key, _)| documented(key)) {
        let name = key.rsplit('.').next().expect("a name").trim_end_matches("[]");
        assert!(all.contains(&format!("{name}:")), "{key} stands in no fixture");
    }
}

#[test]
fn a_windows_worker_must_be_left_behind() {
    // Goal: the file is read, and only the host that cannot be reached is in the way.
    let got = read("winrm.yaml").expect("it is sound");
    let problem = got.reachable(&[]).expect_err("win1 is not left behind");
    assert_eq!((problem.code, problem.line), (Code::NotReachable, 8));
    got.reachable(&["win1".to_owned()]).expect("it is left behind");
}

#[test]
fn refusals_name_the_line_and_the_way_out() {
    // Goal: a wrong key is found in a long file, and the right one is offered.
    let all = read("unknown.yaml").expect_err("two keys are wrong");
    let told: Vec<_> = all.iter().filter(|p| p.code == Code::UnknownKey).map(|p| (p.line, p.help.as_deref())).collect();
    assert_eq!(told, [(6, Some("did you mean `dataDir`?")), (8, Some("did you mean `address`?"))]);
    let all = read("reset.yaml").expect_err("it resets a host");
    assert_eq!((all[0].code, all[0].line), (Code::Refused, 6));
    let all = read("unset.yaml").expect_err("the address is empty");
    assert_eq!((all[0].line, all[0].help.as_deref()), (7, Some("the variable SECRET_ADDRESS is not set")));
}

#[test]
fn documents_are_told_apart() {
    // Goal: the configuration of k0s may stand beside the cluster, and manifests are named as unused.
    let got = read("multi.yaml").expect("it is sound");
    assert_eq!(got.api_host, "10.0.0.9");
    assert_eq!(got.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["127.0.0.1:9022", "127.0.0.1:9023"]);
    assert_eq!(got.unused.iter().map(|u| u.line).collect::<Vec<_>>(), [6]);
    let twice = [fixture("multi.yaml"), fixture("unused.yaml")];
    let all = Inventory::read(&twice, &BTreeMap::new()).expect_err("two clusters");
    assert_eq!((all[0].code, all[0].file.as_str()), (Code::Document, "unused.yaml"));
}

#[test]
fn values_from_the_environment_are_never_quoted() {
    // Goal: an error shows the file as it stands on the disk.
    let text = "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nspec:\n  hosts:\n    - role: $A\n      ssh: {address: x}\n";
    let env = BTreeMap::from([("A".to_owned(), "hunter2".to_owned())]);
    let all = Inventory::read(&[("f".to_owned(), text.to_owned())], &env).expect_err("no such role");
    let shown = all.iter().map(ToString::to_string).collect::<String>();
    assert!(shown.contains("f:5:") && shown.contains("role: $A") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn broken_yaml_has_its_line() {
    // Goal: the parser's own words, which may hold a value, are not passed on.
    let text = "apiVersion: x\nkind: Cluster\nkind: Cluster\n";
    let all = Inventory::read(&[("f".to_owned(), text.to_owned())], &BTreeMap::new()).expect_err("twice");
    assert_eq!((all[0].code, all[0].line), (Code::Syntax, 3));
}
