//! What every [`Host`] must do, whether it is simulated or real: called by the tests of each.

use super::{Change, Command, Fence, FileInfo, FileKind, Host, HostError, Mark, OwnerIds, Process};
use crate::secret::Secret;

/// Where and as whom the checks work.
pub struct Ground<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// A directory that exists and is empty; all that is made is made below it.
    pub dir: String,
    /// Owner of files that are written.
    pub owner: OwnerIds,
}

impl Ground<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Change {
        let bytes = Secret::new(text.as_bytes().to_vec());
        Change::Write { path: self.path(name), bytes, mode, owner: self.owner }
    }

    async fn change(&self, changes: Vec<Change>) -> Result<super::Output, HostError> {
        self.host.change(&fence(7), changes).await
    }

    async fn done(&self, changes: Vec<Change>) {
        let output = self.change(changes).await.expect("the change is carried out");
        assert_eq!(output.status, 0);
    }

    async fn text(&self, name: &str) -> Option<String> {
        let bytes = self.host.read(&self.path(name)).await.expect("a file can be read");
        bytes.map(|b| String::from_utf8(b.expose().to_vec()).expect("it is text"))
    }

    async fn info(&self, name: &str) -> Option<FileInfo> {
        let path = self.path(name);
        let found = self.host.files(std::slice::from_ref(&path)).await.expect("files can be listed");
        found.into_iter().find(|f| f.path == path)
    }
}

fn fence(number: u64) -> Fence {
    Fence { execution: "x1".into(), incarnation: "i1".into(), number, attempt: "phase/activity@host#1".into() }
}

fn mark(number: u64) -> Mark {
    Mark {
        execution: "x1".into(),
        incarnation: "i1".into(),
        fence: number,
        direction: "forward".into(),
        phase: "look at $HOME, 'hosts'".into(),
        by: "me@here".into(),
    }
}

/// All checks, in order; the host has no mark before and none after.
pub async fn all(ground: &Ground<'_>) {
    marks_are_replaced_from_the_expected_only(ground).await;
    ground.host.mark_replace(None, Some(&mark(7))).await.expect("there is no mark");
    files_are_written_whole_with_mode_and_owner(ground).await;
    bytes_are_kept(ground).await;
    renames_are_repeatable(ground).await;
    copies_keep_modes(ground).await;
    removes_are_repeatable(ground).await;
    a_list_ends_at_the_first_failure(ground).await;
    changes_are_refused_below_the_mark(ground).await;
    ground.host.mark_replace(Some(&mark(7)), None).await.expect("the mark is ours");
    looks_answer(ground).await;
}

/// What programs of a real machine see: arguments, input, links, signals. Needs `sh`.
pub async fn programs(ground: &Ground<'_>) {
    ground.host.mark_replace(None, Some(&mark(7))).await.expect("there is no mark");
    copies_keep_links(ground).await;
    a_program_that_fails_ends_the_list(ground).await;
    programs_get_their_arguments_and_input(ground).await;
    commands_report_status_and_deadline(ground).await;
    a_signal_meets_only_its_process(ground).await;
    ground.host.mark_replace(Some(&mark(7)), None).await.expect("the mark is ours");
}

/// Compare and swap, compared whole.
async fn marks_are_replaced_from_the_expected_only(ground: &Ground<'_>) {
    let host = ground.host;
    assert_eq!(host.mark().await, Ok(None));
    host.mark_replace(None, Some(&mark(1))).await.expect("there is no mark");
    assert_eq!(host.mark().await, Ok(Some(mark(1))));
    let taken = Err(HostError::Fenced(Some(Box::new(mark(1)))));
    assert_eq!(host.mark_replace(None, Some(&mark(2))).await, taken);
    assert_eq!(host.mark_replace(Some(&mark(3)), Some(&mark(2))).await, taken);
    host.mark_replace(Some(&mark(1)), Some(&mark(2))).await.expect("it is the expected one");
    host.mark_replace(Some(&mark(2)), None).await.expect("it is the expected one");
    assert_eq!(host.mark().await, Ok(None));
    assert_eq!(host.mark_replace(Some(&mark(2)), Some(&mark(3))).await, Err(HostError::Fenced(None)));
}

async fn files_are_written_whole_with_mode_and_owner(ground: &Ground<'_>) {
    ground.done(vec![ground.write("a/b/key.pem", "old", 0o644)]).await;
    ground.done(vec![ground.write("a/b/key.pem", "new key", 0o640)]).await;
    assert_eq!(ground.text("a/b/key.pem").await.as_deref(), Some("new key"));
    let info = ground.info("a/b/key.pem").await.expect("it is there");
    assert_eq!((info.mode, info.owner), (0o640, ground.owner));
    let sha256 = "b7d5cfb38f4b2b1d30e8d8cbbd1f7a7c";
    let FileKind::File { size, sha256: seen } = info.kind else { panic!("it is a file") };
    assert_eq!((size, seen.len()), (7, 2 * sha256.len()));
    let parent = ground.info("a/b").await.expect("it was made");
    assert_eq!((parent.kind, parent.mode), (FileKind::Dir, 0o700));
    let names: Vec<String> =
        ground.host.files(&[ground.path("a")]).await.expect("a listing").into_iter().map(|f| f.path).collect();
    assert_eq!(names, [ground.path("a"), ground.path("a/b"), ground.path("a/b/key.pem")]);
}

/// Any byte, and more of them than a pipe holds.
async fn bytes_are_kept(ground: &Ground<'_>) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| u8::try_from(i % 256).expect("below 256")).collect();
    let path = ground.path("bytes");
    let change =
        Change::Write { path: path.clone(), bytes: Secret::new(bytes.clone()), mode: 0o600, owner: ground.owner };
    ground.done(vec![change, ground.write("empty", "", 0o600)]).await;
    let read = ground.host.read(&path).await.expect("it can be read").expect("it is there");
    assert!(read.expose() == bytes, "{} bytes came back of {}", read.expose().len(), bytes.len());
    assert_eq!(ground.text("empty").await.as_deref(), Some(""));
    assert_eq!(ground.text("nothing").await, None);
}

async fn renames_are_repeatable(ground: &Ground<'_>) {
    let rename = || Change::Rename { from: ground.path("r/new"), to: ground.path("r/it's $HOME") };
    ground.done(vec![ground.write("r/new", "n", 0o600), ground.write("r/it's $HOME", "o", 0o600), rename()]).await;
    ground.done(vec![rename()]).await;
    assert_eq!(ground.text("r/it's $HOME").await.as_deref(), Some("n"));
    assert_eq!(ground.text("r/new").await, None);
    // Into a folder that is not there: what lies alone in its own may be the first that is put aside.
    let aside = Change::Rename { from: ground.path("r/it's $HOME"), to: ground.path("aside/r/old") };
    ground.done(vec![aside]).await;
    assert_eq!(ground.text("aside/r/old").await.as_deref(), Some("n"));
    assert_eq!(ground.info("aside/r").await.map(|f| f.mode), Some(0o700));
    let neither = Change::Rename { from: ground.path("r/none"), to: ground.path("r/nowhere") };
    assert!(matches!(ground.change(vec![neither]).await, Err(HostError::Refused(_))));
}

async fn copies_keep_modes(ground: &Ground<'_>) {
    let copy = || Change::Copy { from: ground.path("c"), to: ground.path("d") };
    ground.done(vec![ground.write("c/pem", "p", 0o640), copy()]).await;
    ground.done(vec![ground.write("c/pem", "q", 0o600), copy()]).await;
    assert_eq!(ground.text("d/pem").await.as_deref(), Some("q"));
    assert_eq!(ground.info("d/pem").await.map(|f| f.mode), Some(0o600));
}

async fn copies_keep_links(ground: &Ground<'_>) {
    let link = Change::Run(Command::new("ln", ["-s", "pem", &ground.path("k/link")]));
    let copy = Change::Copy { from: ground.path("k"), to: ground.path("l") };
    ground.done(vec![ground.write("k/pem", "p", 0o640), link, copy]).await;
    let kind = ground.info("l/link").await.map(|f| f.kind);
    assert_eq!(kind, Some(FileKind::Link { target: "pem".to_owned() }));
}

async fn removes_are_repeatable(ground: &Ground<'_>) {
    let remove = |name: &str| Change::Remove { path: ground.path(name) };
    ground.done(vec![remove("d"), remove("d"), remove("c/pem"), remove("not/there/at/all")]).await;
    assert_eq!(ground.info("d").await, None);
    assert_eq!(ground.info("c/pem").await, None);
    let made = Change::MakeDir { path: ground.path("m/n"), mode: 0o751 };
    ground.done(vec![made.clone(), made]).await;
    assert_eq!(ground.info("m/n").await.map(|f| f.mode), Some(0o751));
}

async fn a_list_ends_at_the_first_failure(ground: &Ground<'_>) {
    let fails = Change::Rename { from: ground.path("none"), to: ground.path("nowhere") };
    let list = vec![ground.write("f/1", "", 0o600), fails, ground.write("f/2", "", 0o600)];
    assert!(matches!(ground.change(list).await, Err(HostError::Refused(_))));
    assert!(ground.info("f/1").await.is_some() && ground.info("f/2").await.is_none());
}

async fn a_program_that_fails_ends_the_list(ground: &Ground<'_>) {
    let fails = Change::Run(Command::new("sh", ["-c", "echo out; echo err >&2; exit 3"]));
    let list = vec![ground.write("g/1", "", 0o600), fails, ground.write("g/2", "", 0o600)];
    let output = ground.change(list).await.expect("a program that fails is an output");
    assert_eq!((output.status, output.text(), output.err_text()), (3, "out\n".to_owned(), "err\n".to_owned()));
    assert!(ground.info("g/1").await.is_some() && ground.info("g/2").await.is_none());
}

async fn programs_get_their_arguments_and_input(ground: &Ground<'_>) {
    let script = "cat; for a in \"$@\"; do printf '<%s>' \"$a\"; done";
    let odd = ["-c", script, "sh", "a b", "", "$HOME", "it's", "*", "two\nlines\n", "%h"];
    let wanted = "input<a b><><$HOME><it's><*><two\nlines\n><%h>";
    let command = Command::new("sh", odd).stdin(Secret::new(b"input".to_vec()));
    let output = ground.host.exec(command.clone()).await.expect("it runs");
    assert_eq!(output.text(), wanted);
    let after = ground.write("after", "", 0o600);
    let output = ground.change(vec![Change::Run(command), after]).await.expect("it runs");
    assert_eq!((output.status, output.text().as_str()), (0, wanted));
    assert!(ground.info("after").await.is_some());
}

async fn commands_report_status_and_deadline(ground: &Ground<'_>) {
    let status = |script: &'static str| async move {
        let command = Command::new("sh", ["-c", script]).deadline(std::time::Duration::from_secs(1));
        ground.host.exec(command).await.expect("it runs").status
    };
    assert_eq!(status("exit 255").await, 255);
    assert_eq!(status("kill -9 $$").await, 137);
    assert_eq!(status("exec sleep 100").await, 124);
    let none = ground.host.exec(Command::new("/no/such/program", [""; 0])).await.expect("it is asked");
    assert_eq!(none.status, 127);
}

async fn a_signal_meets_only_its_process(ground: &Ground<'_>) {
    // A process that has the marker of k0s and outlives the look that starts it.
    let script = "_K0S_MANAGED=yes setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $!";
    let started = ground.host.exec(Command::new("sh", ["-c", script])).await.expect("it starts");
    let pid: u32 = started.text().trim().parse().expect("a pid");
    let seen = |found: Vec<Process>| found.into_iter().find(|p| p.pid == pid);
    let look = || async { ground.host.processes().await.expect("processes can be listed") };
    let mut process = seen(look().await);
    while process.as_ref().is_none_or(|p| p.comm != "sleep") {
        process = seen(look().await);
    }
    let process = process.expect("it runs");
    let other = Process { start: process.start + 1, ..process.clone() };
    ground.done(vec![Change::Signal { process: other, signal: 9 }]).await;
    assert_eq!(seen(look().await).as_ref(), Some(&process));
    ground.done(vec![Change::Signal { process: process.clone(), signal: 9 }]).await;
    while seen(look().await).is_some() {}
    ground.done(vec![Change::Signal { process, signal: 9 }]).await;
}

async fn changes_are_refused_below_the_mark(ground: &Ground<'_>) {
    let list = || vec![ground.write("fenced", "", 0o600)];
    let refused = Err(HostError::Fenced(Some(Box::new(mark(7)))));
    let said = |r: Result<super::Output, HostError>| r.map(|o| o.status);
    assert_eq!(said(ground.host.change(&fence(6), list()).await), refused);
    let stranger = Fence { incarnation: "i2".into(), ..fence(9) };
    assert_eq!(said(ground.host.change(&stranger, list()).await), refused);
    let other = Fence { execution: "x2".into(), ..fence(9) };
    assert_eq!(said(ground.host.change(&other, list()).await), refused);
    assert_eq!(ground.info("fenced").await, None);
    assert_eq!(said(ground.host.change(&fence(8), list()).await), Ok(0));
}

async fn looks_answer(ground: &Ground<'_>) {
    let host = ground.host;
    let unmarked = host.change(&fence(7), vec![ground.write("unmarked", "", 0o600)]).await;
    assert_eq!(unmarked.map(|o| o.status), Err(HostError::Fenced(None)));
    let boot = host.boot_id().await.expect("a boot id");
    assert!(boot.len() >= 8, "{boot}");
    assert_eq!(host.boot_id().await, Ok(boot));
    assert!(host.clock().await.expect("a time") > 0);
    let archive = host.tar_out(&[ground.path("a"), ground.path("nothing")]).await.expect("an archive");
    let mut archive = tar::Archive::new(archive.expose());
    let names: Vec<String> = archive
        .entries()
        .expect("entries")
        .map(|e| e.expect("an entry").path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned())
        .collect();
    let below = ground.path("a/b/key.pem");
    assert!(names.contains(&below.trim_start_matches('/').to_owned()), "{names:?}");
}

/// Units: of a host with systemd only.
pub async fn units(ground: &Ground<'_>) {
    let host = ground.host;
    host.mark_replace(None, Some(&mark(7))).await.expect("there is no mark");
    let long = vec![Change::Run(Command::new("sleep", ["60"]).deadline(std::time::Duration::from_secs(70)))];
    let fence7 = fence(7);
    let running = host.change(&fence7, long);
    let end_it = async {
        let mut units = Vec::new();
        while units.is_empty() {
            units = host.units_below(&fence(8)).await.expect("units can be listed");
        }
        assert_eq!(host.units_below(&fence(7)).await, Ok(vec![]));
        for unit in &units {
            host.stop_unit(unit).await.expect("a unit can be ended");
            host.stop_unit(unit).await.expect("a unit that is gone is ended");
        }
        assert_eq!(host.units_below(&fence(8)).await, Ok(vec![]));
    };
    let (ended, ()) = tokio::join!(running, end_it);
    assert!(ended.is_err() || ended.is_ok_and(|o| o.status != 0), "a unit that was ended did not succeed");
    host.mark_replace(Some(&mark(7)), None).await.expect("the mark is ours");
}
