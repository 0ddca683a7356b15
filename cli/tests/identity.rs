//! Verbs on the wrong cluster, on hosts that are fit, and on a cluster that somebody holds, as they are typed.

#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use stand::{Fleet, Said, until};

/// A verb on the hosts of `there` with the state of `own`.
fn elsewhere(own: &Fleet, there: &Fleet, words: &[&str]) -> Said {
    let flags = own.stand.flags();
    let at = flags.iter().position(|flag| flag == "-c").expect("the inventory is named") + 1;
    let mut mixed = flags.clone();
    mixed[at].clone_from(&there.stand.flags()[at]);
    let mut command = own.bare();
    command.args(mixed).args(words).output().expect("the program starts").into()
}

/// Goal: no word about an execution is taken on the hosts of another cluster with the same names; nothing is recorded, and its way back stays.
#[test]
fn another_cluster_of_the_same_name() {
    let (own, other) = (Fleet::new("1+1"), Fleet::another("1+1"));
    own.ends(&["rotate", "--yes"], 0);
    let events = own.listed()["events"].clone();
    for verb in [
        &["finalize", "--yes"][..],
        &["rollback", "--yes"],
        &["leave-behind", "c1", "--yes"],
        &["rejoin", "w1", "--yes"],
    ] {
        let said = elsewhere(&own, &other, verb);
        assert!(said.code == Some(8) && said.text().contains("error[K0R-0303]"), "{verb:?} {said:?}");
    }
    assert_eq!(own.listed()["events"], events, "nothing was recorded");
    own.ends(&["rollback", "--yes"], 0);
    assert_eq!(own.differs_from_first(), Vec::<String>::new());
}

/// Goal: a word to a process that drives is not taken from one that looks at another cluster of the same name.
#[test]
fn a_word_to_a_driving_process_is_about_its_cluster() {
    let (own, other) = (Fleet::new("1+0"), Fleet::another("1+0"));
    own.stand.stage().faults.stand_at = Some(12);
    let driver = own.beside(&["rotate", "--yes"]);
    until("the twelfth change", || own.stand.stage().faults.stands());
    for verb in [&["pause"][..], &["rollback", "--yes"]] {
        let said = elsewhere(&own, &other, verb);
        assert!(said.code == Some(8) && said.text().contains("error[K0R-0303]"), "{verb:?} {said:?}");
    }
    own.stand.stage().faults.stand_at = None;
    let end: Said = driver.wait_with_output().expect("it was started").into();
    assert_eq!(end.code, Some(0), "{end:?}");
}

/// Goal: a host that is fit cannot be left behind, for nobody could let it go afterwards, be it a worker or a controller; the rotation ends without
/// the word.
#[test]
fn who_answers_is_not_left_behind() {
    let fleet = Fleet::new("1+1");
    fleet.ends(&["rotate", "--yes"], 0);
    for host in ["w1", "c1"] {
        let said = fleet.ends(&["leave-behind", host, "--yes"], 1);
        assert!(said.text().contains("host-answers"), "{said:?}");
    }
    fleet.ends(&["finalize", "--yes"], 0);
    fleet.ends(&["rotate", "--yes"], 0);
}

/// Goal: a cluster that somebody else holds is refused before anything is recorded.
#[test]
fn a_held_cluster_is_not_begun() {
    let fleet = Fleet::new("1+1");
    fleet.ends(&["rotate", "--yes"], 0);
    let flags = fleet.stand.flags();
    let words = ["-c", &flags[1], "--state-dir", "other", "--identity", &flags[5]];
    let mut second = fleet.bare();
    let held: Said = second.args(words).args(["rotate", "--yes"]).output().expect("the program starts").into();
    assert!(held.code == Some(5) && held.text().contains("host-held"), "{held:?}");
    let listed: Said = fleet.bare().args(words).args(["list", "-o", "json"]).output().expect("it starts").into();
    assert!(!listed.out.contains("Running"), "{listed:?}");
}

/// Goal: a host that was named dead at the start counts as one that the rotation went on without: in exit statuses, show and report.
#[test]
fn who_was_dead_from_the_start_is_named() {
    let fleet = Fleet::new("1+2");
    fleet.stand.stage().world.power_off("w2");
    fleet.ends(&["rotate", "--yes", "--leave-behind", "w2"], 7);
    let shown = fleet.ends(&["show"], 0);
    assert!(shown.out.contains("left       w2"), "{shown:?}");
    fleet.ends(&["finalize", "--yes"], 7);
    let report = fleet.ends(&["report"], 0);
    assert!(report.out.contains("| w2 | – | left behind by an operator |"), "{report:?}");
}
