//! A host of maps and a script, on which the activities of the Free zone are tried one by one.

use super::common::Step;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, KeyKind, Role, Secrets};
use crate::host::{
    Change, Command, Fence, FileInfo, FileKind, Host, HostError, Mark, Output, OwnerIds, Process, TlsEnd, TlsRequest,
    TlsSeen,
};
use crate::pki::{self, Validity, sha256_hex};
use crate::secret::Secret;
use crate::trust::SecretRef;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use k0rotate_engine::clock::{Clock, Timestamp};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::{ExecutionId, Incarnation, StepId};
use k0rotate_engine::log::BlobHash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The wall clock of all tests, seconds.
pub const NOW: u64 = 1_795_500_000;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lies {
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
    /// `None`: a regular file.
    pub link: Option<String>,
}

/// Answers commands; may change what lies on the host.
pub type Script = Box<dyn Fn(&Command, &mut BTreeMap<String, Lies>) -> Option<Output> + Send + Sync>;

/// A host of maps.
pub struct FakeHost {
    pub name: String,
    pub files: Mutex<BTreeMap<String, Lies>>,
    pub mark: Mutex<Option<Mark>>,
    pub script: Mutex<Script>,
    pub ports: Mutex<BTreeSet<String>>,
    pub clock: Mutex<u64>,
    /// A list of changes stops, as torn, after so many.
    pub tear_after: Mutex<Option<usize>>,
    /// What a list of changes ends with before it begins.
    pub fails: Mutex<Option<HostError>>,
}

impl FakeHost {
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            files: Mutex::default(),
            mark: Mutex::default(),
            script: Mutex::new(Box::new(|_, _| None)),
            ports: Mutex::default(),
            clock: Mutex::new(NOW * 1000),
            tear_after: Mutex::default(),
            fails: Mutex::default(),
        })
    }

    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let lies = Lies { bytes: bytes.as_ref().to_vec(), mode: 0o640, owner: (0, 0), link: None };
        self.files.lock().unwrap().insert(path.to_owned(), lies);
    }

    pub fn script(
        &self,
        script: impl Fn(&Command, &mut BTreeMap<String, Lies>) -> Option<Output> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    fn resolve(&self, path: &str) -> Option<Lies> {
        let files = self.files.lock().unwrap();
        let lies = files.get(path)?;
        match &lies.link {
            Some(target) => files.get(&format!("{}/{target}", path.rsplit_once('/')?.0)).cloned(),
            None => Some(lies.clone()),
        }
    }

    fn answer(&self, command: &Command) -> Output {
        let answered = (self.script.lock().unwrap())(command, &mut self.files.lock().unwrap());
        answered.unwrap_or_else(|| panic!("{}: no answer to {} {:?}", self.name, command.program, command.args))
    }

    fn apply(&self, change: &Change) -> Option<Output> {
        let below = |path: &str, root: &str| path == root || path.starts_with(&format!("{root}/"));
        match change {
            Change::Write { path, bytes, mode, owner } => {
                let lies =
                    Lies { bytes: bytes.expose().to_vec(), mode: *mode, owner: (owner.uid, owner.gid), link: None };
                self.files.lock().unwrap().insert(path.clone(), lies);
            }
            Change::Remove { path } => self.files.lock().unwrap().retain(|lies, _| !below(lies, path)),
            Change::Rename { from, to } => {
                let mut files = self.files.lock().unwrap();
                if let Some(lies) = files.remove(from) {
                    files.insert(to.clone(), lies);
                }
            }
            Change::Copy { from, to } => {
                let mut files = self.files.lock().unwrap();
                let tree: Vec<_> =
                    files.iter().filter(|(lies, _)| below(lies, from)).map(|(p, l)| (p.clone(), l.clone())).collect();
                files.retain(|lies, _| !below(lies, to));
                files.extend(tree.into_iter().map(|(path, lies)| (format!("{to}{}", &path[from.len()..]), lies)));
            }
            Change::MakeDir { .. } => {}
            Change::Run(command) => return Some(self.answer(command)),
            other @ Change::Signal { .. } => panic!("not simulated here: {other:?}"),
        }
        None
    }
}

/// An answer of exit status 0.
#[expect(clippy::unnecessary_wraps, reason = "a script may have no answer")]
pub fn said(text: impl AsRef<[u8]>) -> Option<Output> {
    Some(Output { status: 0, stdout: text.as_ref().to_vec(), stderr: Vec::new() })
}

/// An answer of exit status 1.
#[expect(clippy::unnecessary_wraps, reason = "a script may have no answer")]
pub fn failed(text: &str) -> Option<Output> {
    Some(Output { status: 1, stdout: Vec::new(), stderr: text.as_bytes().to_vec() })
}

#[async_trait]
impl Host for FakeHost {
    fn name(&self) -> &str {
        &self.name
    }
    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        Ok(self.answer(&command))
    }
    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        Ok(self.resolve(path).map(|lies| Secret::new(lies.bytes)))
    }
    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        let files = self.files.lock().unwrap();
        let below = |path: &str| roots.iter().any(|root| path == root || path.starts_with(&format!("{root}/")));
        let info = |(path, lies): (&String, &Lies)| FileInfo {
            path: path.clone(),
            kind: match &lies.link {
                Some(target) => FileKind::Link { target: target.clone() },
                None => FileKind::File { sha256: sha256_hex(&lies.bytes), size: lies.bytes.len() as u64 },
            },
            mode: lies.mode,
            owner: OwnerIds { uid: lies.owner.0, gid: lies.owner.1 },
        };
        Ok(files.iter().filter(|(path, _)| below(path)).map(info).collect())
    }
    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        Ok(Vec::new())
    }
    async fn boot_id(&self) -> Result<String, HostError> {
        Ok("boot".to_owned())
    }
    async fn clock(&self) -> Result<u64, HostError> {
        Ok(*self.clock.lock().unwrap())
    }
    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        let open = self.ports.lock().unwrap().contains(&request.address);
        Ok(TlsSeen { chain: Vec::new(), end: if open { TlsEnd::Handshake } else { TlsEnd::Refused } })
    }
    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, lies) in self.files.lock().unwrap().iter() {
            if !paths.iter().any(|root| path == root || path.starts_with(&format!("{root}/"))) {
                continue;
            }
            let mut header = tar::Header::new_gnu();
            header.set_mode(lies.mode);
            header.set_uid(u64::from(lies.owner.0));
            header.set_gid(u64::from(lies.owner.1));
            let path = path.trim_start_matches('/');
            if let Some(target) = &lies.link {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            } else {
                header.set_size(lies.bytes.len() as u64);
                builder.append_data(&mut header, path, lies.bytes.as_slice()).unwrap();
            }
        }
        Ok(Secret::new(builder.into_inner().unwrap()))
    }
    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        Ok(self.mark.lock().unwrap().clone())
    }
    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        let mut mark = self.mark.lock().unwrap();
        if mark.as_ref() != expected {
            return Err(HostError::Fenced(mark.clone().map(Box::new)));
        }
        *mark = new.cloned();
        Ok(())
    }
    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        let mark = self.mark.lock().unwrap().clone();
        let ours = |m: &Mark| m.execution == fence.execution && m.incarnation == fence.incarnation;
        if !mark.as_ref().is_some_and(|m| ours(m) && m.fence <= fence.number) {
            return Err(HostError::Fenced(mark.map(Box::new)));
        }
        let mut last = Output { status: 0, stdout: Vec::new(), stderr: Vec::new() };
        for (at, change) in changes.iter().enumerate() {
            if *self.tear_after.lock().unwrap() == Some(at) {
                return Err(HostError::Lost);
            }
            last = self.apply(change).unwrap_or(last);
            if !last.ok() {
                break;
            }
        }
        Ok(last)
    }
    async fn units_below(&self, _: &Fence) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }
    async fn stop_unit(&self, _: &str) -> Result<(), HostError> {
        Ok(())
    }
}

/// Secrets in memory.
#[derive(Default)]
pub struct Chest(Mutex<BTreeMap<String, Secret>>);

#[async_trait]
impl Secrets for Chest {
    async fn put(&self, secret: &Secret) -> Result<SecretRef, Failure> {
        let hash = sha256_hex(secret.expose());
        self.0.lock().unwrap().insert(hash.clone(), secret.clone());
        Ok(SecretRef(BlobHash(hash)))
    }
    async fn get(&self, reference: &SecretRef) -> Result<Secret, Failure> {
        self.0.lock().unwrap().get(&reference.0.0).cloned().ok_or_else(|| Failure::new("secret-not-found"))
    }
    async fn remove(&self, reference: &SecretRef) -> Result<(), Failure> {
        self.0.lock().unwrap().remove(&reference.0.0);
        Ok(())
    }
    async fn all(&self) -> Result<Vec<SecretRef>, Failure> {
        Ok(self.0.lock().unwrap().keys().cloned().map(|hash| SecretRef(BlobHash(hash))).collect())
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(NOW * 1000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// An attempt on these hosts.
pub fn step(hosts: &[Arc<FakeHost>]) -> Step {
    let by_name = hosts.iter().map(|host| (host.name.clone(), Arc::clone(host) as Arc<dyn Host>));
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let env = Fleet {
        hosts: by_name.collect(),
        members: Vec::new(),
        clock: clock.clone(),
        secrets: Arc::new(Chest::default()),
        by: "me@here".to_owned(),
        keys: KeyKind::P256,
    };
    Step {
        env: Arc::new(env),
        clock,
        execution: ExecutionId::new("x1"),
        incarnation: Incarnation::new("i1"),
        step: StepId::of("phase", "activity", "target"),
        attempt: 1,
        fence: 7,
        back: false,
        left_behind: Vec::new(),
        phase: "phase".to_owned(),
        give_up_at: Timestamp(u64::MAX),
    }
}

/// The mark of that attempt.
pub fn marked(host: &FakeHost) {
    *host.mark.lock().unwrap() = Some(Mark {
        execution: "x1".into(),
        incarnation: "i1".into(),
        fence: 7,
        direction: "forward".into(),
        phase: "phase".into(),
        by: "me@here".into(),
    });
}

/// A controller of this name.
pub fn controller(name: &str) -> K0sHost {
    K0sHost {
        name: name.to_owned(),
        role: Role::Controller,
        unit: "k0scontroller".into(),
        k0s: "/usr/local/bin/k0s".into(),
        version: "v1.36.3+k0s.2".into(),
        data_dir: "/var/lib/k0s".into(),
        kubelet_root: "/var/lib/k0s/kubelet".into(),
        node: None,
        hostname: name.to_owned(),
        address: "10.77.0.11".into(),
        api_port: 6443,
    }
}

/// A command as one line.
pub fn line(command: &Command) -> String {
    format!("{} {}", command.program.rsplit('/').next().unwrap_or_default(), command.args.join(" "))
}

/// Where a controller's trust lies.
pub const PKI: &str = "/var/lib/k0s/pki";

/// Real trust of a controller.
pub fn put_trust(host: &FakeHost) {
    let validity = Validity::from_now(i64::try_from(NOW).unwrap(), 86_400);
    for (ca, leaf) in
        [("ca", "server"), ("etcd/ca", "etcd/peer"), ("front-proxy-ca", "front-proxy-client"), ("ca", "alice")]
    {
        let path = format!("{PKI}/{ca}.crt");
        if !host.files.lock().unwrap().contains_key(&path) {
            let made = pki::make_ca("kubernetes-ca", KeyKind::P256, validity).unwrap();
            host.put(&path, &made.certificate);
            host.put(&format!("{PKI}/{ca}.key"), made.key.expose());
        }
        let read = |path: &str| host.files.lock().unwrap()[path].bytes.clone();
        let certificate = String::from_utf8(read(&path)).unwrap();
        let key = Secret::new(read(&format!("{PKI}/{ca}.key")));
        let wanted = pki::Leaf {
            common_name: leaf.into(),
            organization: None,
            sans: vec![],
            server: true,
            client: true,
            validity,
        };
        host.put(
            &format!("{PKI}/{leaf}.crt"),
            pki::issue(&certificate, &key, &wanted, KeyKind::P256).unwrap().certificate,
        );
    }
    let pair = pki::make_service_account(KeyKind::P256).unwrap();
    host.put(&format!("{PKI}/sa.key"), pair.key.expose());
    host.put(&format!("{PKI}/sa.pub"), pair.certificate);
}
