//! What must be true at the end of an execution that was hurt, whatever hurt it.

use crate::course::{Course, Files, Stand, files};
use crate::enumerate::{Way, begins};
use crate::harness::{Bench, block_on, say};
use k0rotate_engine::drive::{Rest, Word};
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::State;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use std::collections::BTreeMap;
use std::time::Duration;

/// Drives that one case may take after it was hurt.
const MOST_DRIVES: usize = 6;
/// What was late has landed by the time that an operator looks again.
pub const A_WHILE: Duration = Duration::from_secs(60);
/// Differences that are told; the first few show what it is.
const TOLD: usize = 8;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// With the new trust: waiting for finalize, or finalized.
    Done,
    /// With the first trust.
    Back,
    /// One of them, but without some hosts.
    WithoutSome,
}

/// Says the word that leads this way once it is allowed, and drives until it rests for good. At no rest is anything down.
pub fn go_on(bench: &Bench, execution: &ExecutionId, to: Way) -> Result<Rest, String> {
    let mut said = false;
    let mut last = String::new();
    for _ in 0..MOST_DRIVES {
        let state = state(bench, execution)?;
        if state.status.ended() {
            return Ok(rest_of(&state));
        }
        let word = to.word().filter(|_| !said && begins(to, &state)).unwrap_or_else(say::resume);
        said = true;
        let rest = drive(bench, execution, Some(word))?;
        match rest {
            Rest::Completed { .. } | Rest::RolledBack { .. } => return Ok(rest),
            Rest::Waiting { .. } if to == Way::Forward => return Ok(rest),
            Rest::Stuck { .. } | Rest::Interrupted { .. } | Rest::Waiting { .. } => last = format!("{rest:?}"),
            Rest::Refused(refused) => {
                last = format!("refused: {refused}");
                let rest = drive(bench, execution, None)?;
                if matches!(rest, Rest::Waiting { .. }) && to == Way::Forward {
                    return Ok(rest);
                }
            }
            other => return Err(format!("it ends with {other:?}")),
        }
        bench.fleet.idle(A_WHILE);
    }
    Err(format!("it does not come to an end: {last}{}", last_words(bench, execution)))
}

fn drive(bench: &Bench, execution: &ExecutionId, word: Option<Word>) -> Result<Rest, String> {
    let rest = bench.drive(execution, word).map_err(|_| endless(bench, execution))?;
    if matches!(rest, Rest::Stuck { .. } | Rest::Waiting { .. }) {
        resting(bench, execution).map_err(|why| format!("{why}, at {rest:?}"))?;
    }
    Ok(rest)
}

/// What became of a drive that was not to be hurt.
fn endless(bench: &Bench, execution: &ExecutionId) -> String {
    let why = if bench.outlived() { "it neither ends nor rests" } else { "it crashed once more" };
    format!("{why}: {}", last_words(bench, execution))
}

/// The last events, by which one sees where it was.
pub fn last_words(bench: &Bench, execution: &ExecutionId) -> String {
    const WORDS: usize = 6;
    const LONGEST: usize = 300;
    let history = bench.history(execution);
    let last = history.iter().skip(history.len().saturating_sub(WORDS));
    let short = |text: String| text.chars().take(LONGEST).collect::<String>();
    last.map(|r| format!("\n    {} {}", r.seq, short(format!("{:?}", r.event)))).collect::<Vec<_>>().concat()
}

fn rest_of(state: &State) -> Rest {
    match state.status.name() {
        "Completed" => Rest::Completed { output: k0rotate_engine::event::Json("null".into()), left: Vec::new() },
        _ => Rest::RolledBack { left: Vec::new() },
    }
}

/// What the history says.
pub fn state(bench: &Bench, execution: &ExecutionId) -> Result<State, String> {
    let history = block_on(bench.store.open().read(execution, 0)).map_err(|e| e.to_string())?;
    State::of(history.iter().map(|r| &r.event)).map_err(|e| e.to_string())
}

/// At rest an API must be up, whatever the reason.
fn resting(bench: &Bench, execution: &ExecutionId) -> Result<(), String> {
    let up = bench.fleet.stage(|s| s.world.api_up_anywhere());
    let down = matches!(state(bench, execution)?.zone(), Zone::Down { .. });
    if up && !down { Ok(()) } else { Err(format!("at rest with the API up: {up}, zone down: {down}")) }
}

/// Where API servers publish their front-proxy CAs.
const PUBLISHED: &str = "extension-apiserver-authentication requestheader-client-ca-file";

/// What a world is compared with: it is as the first one was, or as the undisturbed way left it.
///
/// * trust files: path, kind, mode, owner, link; of a root which generation it is, of a certificate who signed it, of a key whose it
///   is, of a kubeconfig both. Leafs that k0s issues anew at each start are the same in this if the same root has signed them.
/// * root files after the way back: byte for byte.
/// * objects of the API: join tokens by id, secret and use, legacy tokens by the key that signed them, published CAs by which they are, Nodes
///   by whether they are ready, members of etcd and ControlNodes by address, all others by their paths; but for pods, Leases and requests
///   for certificates, which come and go.
/// * all other files: their paths, with dates and draws taken out, so that nothing is left lying.
pub fn compare(stand: &Stand, done: &Course, bench: &Bench, rest: &Rest) -> Result<End, String> {
    bench.fleet.idle(A_WHILE);
    let left = state(bench, &stand.execution)?.leg().left.clone();
    let (end, likeness, expected) = match rest {
        Rest::Waiting { .. } | Rest::Completed { .. } => (End::Done, &done.likeness, &done.files),
        Rest::RolledBack { .. } => (End::Back, &stand.likeness, &stand.files),
        other => return Err(format!("it ends with {other:?}")),
    };
    let of_left = |told: &String| left.iter().any(|host| told.starts_with(&format!("{host} ")));
    let (found, found_files) = (stand.look(bench), files(bench));
    let mut wrong = [likeness.differences(&found), other_files(expected, &found_files)].concat();
    wrong.retain(|w| !of_left(w));
    if end == End::Back {
        if stand.may_stay {
            let in_still = [done.likeness.differences(&found), other_files(&done.files, &found_files)].concat();
            wrong.retain(|w| in_still.iter().any(|other| place(other) == place(w)) && !is_kept_still(w));
        }
        wrong.retain(|w| !(stand.publishes && w.contains(PUBLISHED)));
        let changed = roots(bench).into_iter().filter(|(place, hash)| bench.original.get(place) != Some(hash));
        wrong.extend(changed.map(|(place, _)| format!("{} {}: not the first one", place.0, place.1)));
    }
    match (wrong.len(), left.is_empty()) {
        (0, true) => Ok(end),
        (0, false) => Ok(End::WithoutSome),
        (count, _) => {
            wrong.truncate(TOLD);
            Err(format!("{end:?}, but {count} places differ:\n    {}", wrong.join("\n    ")))
        }
    }
}

/// Old files that lie where they were kept; only whether their keys lie in place too has changed.
fn is_kept_still(told: &str) -> bool {
    told.contains("/.k0rotate-EXECUTION/old/") && told.matches(" and key of ").count() == 2
}

/// What is found where, of a difference that is told.
fn place(told: &str) -> &str {
    told.split(" instead of ").next().unwrap_or(told)
}

fn other_files(expected: &Files, found: &Files) -> Vec<String> {
    let more = found.difference(expected).map(|(host, path)| format!("{host} {path}: is left"));
    let less = expected.difference(found).map(|(host, path)| format!("{host} {path}: is missing"));
    more.chain(less).collect()
}

/// Hash of each file that is a root, by host and path.
pub type Roots = BTreeMap<(String, String), String>;

/// The root files of all controllers as they lie there now.
pub fn roots(bench: &Bench) -> Roots {
    const FILES: [&str; 8] = [
        "/pki/ca.crt",
        "/pki/ca.key",
        "/pki/etcd/ca.crt",
        "/pki/etcd/ca.key",
        "/pki/front-proxy-ca.crt",
        "/pki/front-proxy-ca.key",
        "/pki/sa.key",
        "/pki/sa.pub",
    ];
    let mut roots = Roots::new();
    for host in bench.plan.hosts.iter().filter(|h| h.role.is_controller()) {
        for file in FILES {
            let path = format!("{}{file}", bench.plan.data_dir);
            let bytes = bench.fleet.stage(|s| s.world.read(&host.name, &path));
            if let Some(bytes) = bytes {
                roots.insert((host.name.clone(), file.to_owned()), k0rotate_activities::pki::sha256_hex(&bytes));
            }
        }
    }
    roots
}
