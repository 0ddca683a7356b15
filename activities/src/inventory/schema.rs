//! What may stand in a `k0sctl.yaml`: every key that k0sctl documents, and what becomes of it here.

use super::{Connection, SshEntry, Unused};
use crate::fleet::Role;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    pub kind: String,
    #[serde(default)]
    metadata: Metadata,
    pub spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    user: Option<IgnoredAny>,
    kubeconfig: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    pub hosts: Vec<Spanned<HostEntry>>,
    k0s: Option<K0s>,
    options: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct K0s {
    version: Option<IgnoredAny>,
    version_channel: Option<IgnoredAny>,
    dynamic_config: Option<IgnoredAny>,
    config: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct HostEntry {
    role: String,
    pub hostname: Option<String>,
    pub private_address: Option<String>,
    pub data_dir: Option<String>,
    pub kubelet_root_dir: Option<String>,
    ssh: Option<Ssh>,
    #[serde(rename = "openSSH")]
    open_ssh: Option<OpenSsh>,
    #[serde(rename = "winRM")]
    win_rm: Option<IgnoredAny>,
    localhost: Option<Localhost>,
    rehearsal: Option<String>,
    reset: Option<bool>,
    private_interface: Option<IgnoredAny>,
    no_taints: Option<IgnoredAny>,
    upload_binary: Option<IgnoredAny>,
    use_existing_k0s: Option<IgnoredAny>,
    k0s_binary_path: Option<IgnoredAny>,
    k0s_install_path: Option<IgnoredAny>,
    #[serde(rename = "k0sDownloadURL")]
    k0s_download_url: Option<IgnoredAny>,
    install_flags: Option<IgnoredAny>,
    environment: Option<IgnoredAny>,
    files: Option<IgnoredAny>,
    hooks: Option<IgnoredAny>,
    os: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ssh {
    address: String,
    user: Option<String>,
    port: Option<u16>,
    key_path: Option<String>,
    bastion: Option<Box<Ssh>>,
    host_key: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OpenSsh {
    address: String,
    user: Option<String>,
    port: Option<u16>,
    key_path: Option<String>,
    config_path: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, Value>,
    disable_multiplexing: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Localhost {
    enabled: bool,
}

const INSTALL: &str = "it concerns the installation of k0s, which is left as it is";
const MACHINE: &str = "what the machine says counts";

impl Document {
    /// `metadata.name`.
    pub fn name(&self) -> String {
        self.metadata.name.clone().unwrap_or_else(|| "k0s-cluster".to_owned())
    }

    /// Keys outside of hosts that are not used.
    pub fn unused(&self) -> Vec<Unused> {
        let k0s = self.spec.k0s.as_ref();
        let keys = [
            ("metadata.user", self.metadata.user.is_some(), "kubeconfigs are not written"),
            ("metadata.kubeconfig", self.metadata.kubeconfig.is_some(), "kubeconfigs are not written"),
            ("spec.options", self.spec.options.is_some(), "they are options of k0sctl's own runs"),
            ("spec.k0s.version", k0s.is_some_and(|k| k.version.is_some()), MACHINE),
            ("spec.k0s.versionChannel", k0s.is_some_and(|k| k.version_channel.is_some()), INSTALL),
            ("spec.k0s.dynamicConfig", k0s.is_some_and(|k| k.dynamic_config.is_some()), MACHINE),
        ];
        list(&keys, "")
    }
}

impl Spec {
    /// `spec.k0s.config.spec.api.externalAddress`.
    pub fn external_address(&self) -> Option<String> {
        let config = self.k0s.as_ref()?.config.as_ref()?;
        config["spec"]["api"]["externalAddress"].as_str().map(str::to_owned)
    }
}

fn list(keys: &[(&str, bool, &'static str)], below: &str) -> Vec<Unused> {
    let there = keys.iter().filter(|(_, there, _)| *there);
    there.map(|(key, _, why)| Unused { key: format!("{below}{key}"), why }).collect()
}

impl HostEntry {
    /// Keys of this host that are not used.
    pub fn unused(&self, at: usize) -> Vec<Unused> {
        let keys = [
            ("privateInterface", self.private_interface.is_some(), "privateAddress, or the address of SSH, is asked"),
            ("noTaints", self.no_taints.is_some(), MACHINE),
            ("uploadBinary", self.upload_binary.is_some(), INSTALL),
            ("useExistingK0s", self.use_existing_k0s.is_some(), INSTALL),
            ("k0sBinaryPath", self.k0s_binary_path.is_some(), INSTALL),
            ("k0sInstallPath", self.k0s_install_path.is_some(), "the unit's ExecStart says where k0s is"),
            ("k0sDownloadURL", self.k0s_download_url.is_some(), INSTALL),
            ("installFlags", self.install_flags.is_some(), "the unit's ExecStart counts"),
            ("environment", self.environment.is_some(), INSTALL),
            ("files", self.files.is_some(), "files are not uploaded"),
            ("hooks", self.hooks.is_some(), "hooks of k0sctl's phases are not run"),
            ("os", self.os.is_some(), MACHINE),
            ("ssh.hostKey", self.ssh.as_ref().is_some_and(|s| s.host_key.is_some()), "known_hosts counts"),
            (
                "openSSH.disableMultiplexing",
                self.open_ssh.as_ref().is_some_and(|s| s.disable_multiplexing.is_some()),
                "one connection a host is shared",
            ),
        ];
        list(&keys, &format!("spec.hosts[{at}]."))
    }

    /// The role, as k0sctl spells it.
    pub fn role(&self) -> Result<Role, String> {
        match self.role.as_str() {
            "controller" => Ok(Role::Controller),
            "controller+worker" => Ok(Role::ControllerWorker),
            "single" => Ok(Role::Single),
            "worker" => Ok(Role::Worker),
            other => Err(format!("role {other:?} is none of controller, controller+worker, single, worker")),
        }
    }

    /// How it is reached.
    pub fn connection(&self) -> Result<Connection, String> {
        if self.reset == Some(true) {
            return Err("reset: true asks k0sctl to take the host out of the cluster; do that first".into());
        }
        if self.win_rm.is_some() {
            return Err("Windows hosts are not reached; leave it out here and name its Node with --leave-behind".into());
        }
        match (&self.ssh, &self.open_ssh, &self.localhost, &self.rehearsal) {
            (Some(ssh), None, None, None) => Ok(ssh.connection()),
            (None, Some(open), None, None) => Ok(Connection::OpenSsh(open.entry())),
            (None, None, Some(Localhost { enabled: true }), None) => Ok(Connection::Localhost),
            (None, None, None, Some(socket)) => Ok(Connection::Rehearsal(socket.clone())),
            _ => Err("a host needs exactly one of ssh, openSSH and localhost: { enabled: true }".into()),
        }
    }
}

impl Ssh {
    fn entry(&self) -> SshEntry {
        let (address, user, port, key) = (self.address.clone(), self.user.clone(), self.port, self.key_path.clone());
        // k0sctl's own defaults.
        let (user, port) = (user.or_else(|| Some("root".into())), port.or(Some(22)));
        SshEntry { address, user, port, key, ..SshEntry::default() }
    }

    fn connection(&self) -> Connection {
        Connection::Ssh(self.entry(), self.bastion.as_ref().map(|b| Box::new(b.entry())))
    }
}

impl OpenSsh {
    fn entry(&self) -> SshEntry {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        SshEntry {
            address: self.address.clone(),
            user: self.user.clone(),
            port: self.port,
            key: self.key_path.clone(),
            config: self.config_path.clone(),
            options: self.options.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        }
    }
}
