//! What lies on the operator's machine afterwards: nothing that others can read, and the copies that may still be needed.

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use k0rotate_activities::rehearsal::stage::faults::Fault;
use stand::Fleet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything below a folder, and it, that others can read, with its mode; and how much there is.
fn readable(below: &Path) -> (Vec<String>, usize) {
    let (mut left, mut found, mut all): (Vec<PathBuf>, _, _) = (vec![below.to_owned()], Vec::new(), 0);
    while let Some(path) = left.pop() {
        let meta = std::fs::symlink_metadata(&path).expect("it was listed");
        let mode = meta.permissions().mode() & 0o777;
        all += 1;
        if mode & 0o077 != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("it is ours").flatten().map(|entry| entry.path()));
        }
    }
    (found, all)
}

/// Goal: whatever the shell's umask, stores (also of a killed process), anchors, locks, keys, reports and exports are readable by their owner alone.
#[test]
fn nobody_else_reads_what_lies_here() {
    let fleet = Fleet::new("1+0");
    fleet.killed_at(&["rotate", "--yes"], 9, Fault::CrashBefore);
    fleet.ends(&["resume"], 0);
    fleet.ends(&["export", "--to", "evidence"], 0);
    let (found, all) = readable(fleet.stand.dir());
    assert!(all > 8, "identity, inventory, socket, anchor, lock, store, blobs: {all}");
    assert_eq!(found, Vec::<String>::new());
    let home = fleet.stand.dir().parent().expect("it lies in a folder").to_owned();
    assert_eq!(readable(&home.join("evidence")), (Vec::new(), 5));

    let state = home.join("of-demo");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_k0rotate"));
    demo.args(["demo", "--hosts", "1+0", "--state-dir"]).arg(&state);
    assert!(demo.output().expect("the program starts").status.success());
    assert_eq!(readable(&state).0, Vec::<String>::new());
}

/// Goal: a finalize that is refused takes away no copy of an earlier execution, which holds the trust that is in use.
#[test]
fn a_refused_finalize_takes_no_copy_away() {
    let fleet = Fleet::new("1+0");
    fleet.ends(&["rotate", "--yes"], 0);
    fleet.ends(&["finalize", "--yes"], 0);
    let copies = || fleet.sealed_copies();
    let kept = copies();
    assert!(kept > 0, "backups of the new trust are kept");
    fleet.killed_at(&["rotate", "--yes"], 2, Fault::CrashBefore);
    let before = copies();
    let refused = fleet.ends(&["finalize", "--yes"], 1);
    assert!(refused.out.contains("nothing was recorded"), "{refused:?}");
    assert!(copies() == before && before >= kept, "{} of {before}", copies());
}
