//! Takes a backup of the cluster off its hosts, as `k0s backup` makes it.

use super::common::{self, Step};
use super::made::Made;
use crate::archive::{self, Entry, Kind};
use crate::facts::{K0sHost, Storage};
use crate::fleet::Fleet;
use crate::pki::sha256_hex;
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when an archive with datastore and keys is sealed and was read back whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackUpCluster {
    /// Controllers; the first one that can makes it.
    pub via: Vec<K0sHost>,
    /// Where the control plane keeps its data.
    pub storage: Storage,
    /// `backup`: the files of trust alone are enough where k0s cannot make a backup (facts §4.1).
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(skip)]
    made: Made<Backup>,
}

/// A sealed backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The archive, sealed.
    pub sealed: SecretRef,
    /// The controller that made it.
    pub host: String,
    /// SHA-256 of the archive, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many entries it has.
    pub entries: usize,
    /// The datastore's file in it; `None` if it holds none, for example of an external etcd.
    pub datastore: Option<String>,
}

/// A snapshot of a large etcd is streamed through SSH.
const BACKUP_DEADLINE: Duration = Duration::from_secs(600);

impl BackUpCluster {
    /// A use of it.
    pub fn new(via: Vec<K0sHost>, storage: Storage, allow: Vec<String>) -> Self {
        Self { via, storage, allow, made: Made::default() }
    }
}

impl Activity for BackUpCluster {
    const NAME: &'static str = "back-up-cluster";
    type Env = Fleet;
    type Before = ();
    type Output = Backup;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: BACKUP_DEADLINE + Duration::from_secs(120), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<Backup>, Failure> {
        let Some(backup) = self.made.get() else { return Ok(None) };
        let read_back = cx.env.secrets.get(&backup.sealed).await?;
        if sha256_hex(read_back.expose()) != backup.sha256 {
            return Err(Failure::refused("sealed-backup-differs"));
        }
        Ok(Some(backup))
    }

    /// A backup is kept.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let mut answer = Failure::refused("no-controller-to-ask");
        for host in &self.via {
            match self.take(cx, host).await {
                Ok(backup) => {
                    self.made.set(backup);
                    return Ok(());
                }
                Err(failure) => answer = failure,
            }
        }
        Err(answer)
    }
}

impl BackUpCluster {
    async fn take(&self, cx: &Step, host: &K0sHost) -> Result<Backup, Failure> {
        let archive = match self.storage {
            Storage::ExternalEtcd => trust_files(cx, host).await?, // k0s refuses to back it up.
            _ => match k0s_backup(cx, host).await {
                Err(failure) if self.allow.iter().any(|a| a == "backup") && failure.code == "backup-failed" => {
                    trust_files(cx, host).await?
                }
                other => other?,
            },
        };
        let entries = archive::list(cx.clock.as_ref(), &archive).await?;
        let datastore = self.check(&entries).map_err(|failure| failure.with("host", &host.name))?;
        let sealed = cx.env.secrets.put(&archive).await?;
        Ok(Backup {
            sealed,
            host: host.name.clone(),
            sha256: sha256_hex(archive.expose()),
            bytes: archive.expose().len() as u64,
            entries: entries.len(),
            datastore,
        })
    }

    /// The datastore's file, if there should be one; fails if anything that a restore needs is missing.
    fn check(&self, entries: &[Entry]) -> Result<Option<String>, Failure> {
        let has = |name: &str| {
            entries.iter().any(|e| e.path.ends_with(name) && matches!(e.kind, Kind::File { size, .. } if size > 0))
        };
        let mut wanted = vec!["pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub"];
        let datastore = match self.storage {
            Storage::Etcd => Some("etcd-snapshot.db"),
            Storage::KineSqlite => Some("kine-state-backup.db"),
            Storage::ExternalEtcd | Storage::KineRemote => None,
        };
        let datastore = datastore.filter(|name| has(name) || !self.allow.iter().any(|a| a == "backup"));
        wanted.extend(datastore);
        if self.storage == Storage::Etcd {
            wanted.extend(["pki/etcd/ca.crt", "pki/etcd/ca.key"]);
        }
        match wanted.into_iter().find(|name| !has(name)) {
            Some(missing) => Err(Failure::refused("backup-incomplete").with("missing", missing)),
            None => Ok(datastore.map(str::to_owned)),
        }
    }
}

/// `k0s backup` to standard output: on disk it would be a world-readable file with all keys (lab §16).
async fn k0s_backup(cx: &Step, host: &K0sHost) -> Result<Secret, Failure> {
    let command = common::k0s(host, ["backup", "--save-path", "-"]).deadline(BACKUP_DEADLINE);
    let output = common::exec(cx, &host.name, command).await?;
    let ok = output.ok();
    let archive = Secret::new(output.stdout);
    if ok {
        Ok(archive)
    } else {
        Err(Failure::new("backup-failed").with("host", &host.name).with("status", output.status))
    }
}

async fn trust_files(cx: &Step, host: &K0sHost) -> Result<Secret, Failure> {
    let paths = [format!("{}/pki", host.data_dir), format!("{}/manifests", host.data_dir)];
    common::host(cx, &host.name)?.tar_out(&paths).await.map_err(common::of(&host.name))
}
