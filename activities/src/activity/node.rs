//! A node as the cluster sees it: whose certificate its kubelet shows, whether its Lease moves, and how it is let in again.

use super::check_control_plane::version;
use super::common::{self, Step};
use super::files;
use crate::facts::K0sHost;
use crate::host::{Change, Command, Output, OwnerIds, TlsEnd, TlsRequest};
use crate::kubeconfig::{self, Credentials, Kubeconfig};
use crate::layout;
use crate::pki::{self, CertInfo};
use crate::secret::Secret;
use crate::token;
use k0rotate_engine::failure::Failure;
use std::time::Duration;

/// A kubelet renews every 10 s.
const RENEWED_WITHIN: Duration = Duration::from_secs(13);
/// Mints a worker's token of an hour.
const CREATE_TOKEN: [&str; 6] = ["token", "create", "--role", "worker", "--expiry", "1h"];

/// Parses a CA that stands in an input.
pub fn authority(pem: &str) -> Result<CertInfo, Failure> {
    Ok(pki::read_one(pem.as_bytes())?)
}

/// Whether the kubelet's client certificate is of this CA, and kubelet.conf lies in its place.
pub async fn is_certified(cx: &Step, host: &K0sHost, ca: &CertInfo) -> Result<bool, Failure> {
    let [conf, own] = files::kubelet_files(host);
    let certificate = files::certificate(cx, host, &format!("{own}/kubelet-client-current.pem")).await?;
    let signed = certificate.is_some_and(|c| pki::signed_by(&c, ca));
    Ok(signed && common::read(cx, &host.name, &conf).await?.is_some())
}

/// Whether the node's Lease moves twice while we look. A heartbeat newer than some clock would prove nothing: clocks differ.
pub async fn lives(cx: &Step, via: &[K0sHost], node: &str) -> Result<bool, Failure> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}");
    let Some((via, lease)) = common::ask(cx, via, &path).await? else { return Ok(false) };
    let mut last = version(&lease).map(str::to_owned);
    for _ in 0..2 {
        let Some(next) = moved(cx, &via, &path, last.as_deref()).await? else { return Ok(false) };
        last = Some(next);
    }
    Ok(true)
}

async fn moved(cx: &Step, via: &K0sHost, path: &str, from: Option<&str>) -> Result<Option<String>, Failure> {
    let begun = cx.clock.monotonic();
    while cx.clock.monotonic().saturating_sub(begun) < RENEWED_WITHIN {
        let lease = common::get_json(cx, via, path).await?;
        match lease.as_ref().and_then(version) {
            Some(now) if Some(now) != from => return Ok(Some(now.to_owned())),
            _ => cx.clock.sleep(Duration::from_secs(1)).await,
        }
    }
    Ok(None)
}

/// Mints a worker's token on the first controller that can. Unless the step that asks for it fences the controllers, one more may come of a
/// command that was lost on its way: whoever takes the tokens away fences them first.
pub async fn create_token(cx: &Step, via: &[K0sHost]) -> Result<Output, Failure> {
    common::change_on_first(cx, via, |via| vec![Change::Run(Command::new(&via.k0s, CREATE_TOKEN))]).await
}

/// Mints a token, and makes a bootstrap file of it: a kubeconfig with the CA that is in use now.
pub async fn bootstrap_file(cx: &Step, via: &[K0sHost], host: &K0sHost, ca: &str) -> Result<Secret, Failure> {
    let output = create_token(cx, via).await?;
    let unreadable = |_| Failure::new("token-unreadable");
    let minted =
        Kubeconfig::read(&token::decode(&Secret::new(output.stdout)).map_err(unreadable)?).map_err(unreadable)?;
    let Credentials::Token(bearer) = &minted.credentials else { return Err(Failure::new("token-unreadable")) };
    let server = old_server(cx, host, ca).await?.unwrap_or(minted.server);
    Ok(kubeconfig::bootstrap(&server, &minted.ca, &minted.user, bearer))
}

/// The server that the node asked before, if it answers under this CA: the node goes on asking it.
async fn old_server(cx: &Step, host: &K0sHost, ca: &str) -> Result<Option<String>, Failure> {
    let [conf, _] = files::kubelet_files(host);
    let kept = layout::kept(host, cx.execution.as_str(), &conf);
    let text = match common::read(cx, &host.name, &kept).await? {
        Some(text) => Some(text),
        None => common::read(cx, &host.name, &conf).await?,
    };
    let Some(server) = text.and_then(|t| Kubeconfig::read(&t).ok()).map(|old| old.server) else { return Ok(None) };
    let address = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let request = TlsRequest { address, trust: ca.to_owned(), ..TlsRequest::default() };
    let seen = common::host(cx, &host.name)?.tls(request).await.map_err(common::of(&host.name))?;
    Ok((seen.end == TlsEnd::Handshake).then_some(server))
}

/// Where k0s looks for a bootstrap file (facts §2.1).
pub fn bootstrap_path(host: &K0sHost) -> String {
    format!("{}/kubelet-bootstrap.conf", host.data_dir)
}

/// Writes the bootstrap file.
pub fn write_bootstrap(host: &K0sHost, bytes: Secret) -> Change {
    Change::Write { path: bootstrap_path(host), bytes, mode: 0o600, owner: OwnerIds { uid: 0, gid: 0 } }
}
