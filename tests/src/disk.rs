//! A disk whose power was cut: what a program wrote and synced, and the files that a cut may leave of it.
//!
//! A write is durable once a sync of its file that started after the write had completed has itself completed; so is a name once its
//! directory is synced. Of what came later a cut leaves none, a prefix, some, or some sectors of the last; files fare independently.

mod calls;
mod record;

pub use record::{Recorded, record};

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A file or a directory, by the order in which they were made; 0 is the root.
pub type Node = usize;

/// One change of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes written at an offset.
    Write(usize, Vec<u8>),
    /// A new length.
    Length(usize),
    /// Names that now lead to a node, or to none; all at once.
    Names(Vec<(String, Option<Node>)>),
}

/// Everything that was done below the root, by the order in which it completed.
#[derive(Default, Debug)]
pub struct Disk {
    /// By node.
    pub(crate) nodes: Vec<Kept>,
}

/// One node's life.
#[derive(Default, Debug)]
pub(crate) struct Kept {
    pub(crate) is_dir: bool,
    /// When each change had completed.
    pub(crate) changes: Vec<(usize, Change)>,
    /// When each sync had started and ended.
    pub(crate) syncs: Vec<(usize, usize)>,
}

/// What a cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The oldest changes.
    Prefix,
    /// Any of them.
    Subset,
    /// The oldest changes, and any sectors of the next.
    Torn,
}

impl Left {
    /// Each kind in turn.
    pub fn nth(n: u64) -> Self {
        [Self::Nothing, Self::Prefix, Self::Subset, Self::Torn][usize::try_from(n % 4).expect("below 4")]
    }
}

/// Numbers that are the same in each run (splitmix64).
pub struct Draw(pub u64);

impl Draw {
    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("below a usize")
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A node as a cut leaves it.
#[derive(Default)]
struct Found {
    bytes: Vec<u8>,
    names: BTreeMap<String, Node>,
}

impl Disk {
    /// Writes what a cut at this moment leaves into an empty directory.
    pub fn image(&self, cut: usize, left: Left, draw: &mut Draw, to: &Path) {
        self.write_out(0, cut, left, draw, to);
    }

    fn write_out(&self, node: Node, cut: usize, left: Left, draw: &mut Draw, to: &Path) {
        let found = self.nodes[node].after(cut, left, draw);
        for (name, child) in &found.names {
            let to = to.join(name);
            if self.nodes[*child].is_dir {
                fs::create_dir(&to).expect("an image can be written");
                self.write_out(*child, cut, left, draw, &to);
            } else {
                let bytes = self.nodes[*child].after(cut, left, draw).bytes;
                fs::write(&to, bytes).expect("an image can be written");
            }
        }
    }
}

impl Kept {
    /// All that was done, as those see it who ask the kernel.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut found = Found::default();
        self.changes.iter().for_each(|(_, change)| found.take(change));
        found.bytes
    }

    /// Where a name leads now.
    pub(crate) fn names(&self, name: &str) -> Option<Node> {
        let mut found = Found::default();
        self.changes.iter().for_each(|(_, change)| found.take(change));
        found.names.get(name).copied()
    }

    fn after(&self, cut: usize, left: Left, draw: &mut Draw) -> Found {
        let safe = self.syncs.iter().filter(|(_, ended)| *ended < cut).map(|(started, _)| *started).max().unwrap_or(0);
        let done = self.changes.iter().take_while(|(at, _)| *at < cut);
        let (durable, later): (Vec<_>, Vec<_>) = done.partition(|(at, _)| *at < safe);
        let mut found = Found::default();
        durable.iter().for_each(|(_, change)| found.take(change));
        let whole = draw.below(later.len() + 1);
        for (n, (_, change)) in later.iter().enumerate() {
            match left {
                Left::Prefix | Left::Torn if n < whole => found.take(change),
                Left::Subset if draw.coin() => found.take(change),
                Left::Torn if n == whole => found.tear(change, draw),
                _ => {}
            }
        }
        found
    }
}

impl Found {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Write(at, bytes) => self.write(*at, bytes),
            Change::Length(len) => self.bytes.resize(*len, 0),
            Change::Names(names) => {
                for (name, node) in names {
                    match node {
                        Some(node) => self.names.insert(name.clone(), *node),
                        None => self.names.remove(name),
                    };
                }
            }
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    /// Some sectors of a write; names and lengths are in a journal, so that they come whole or not at all.
    fn tear(&mut self, change: &Change, draw: &mut Draw) {
        let Change::Write(at, bytes) = change else { return };
        let mut from = 0;
        while from < bytes.len() {
            let to = (SECTOR - (at + from) % SECTOR + from).min(bytes.len());
            if draw.coin() {
                self.write(at + from, &bytes[from..to]);
            }
            from = to;
        }
    }
}
