//! The scripts, run on this machine in a folder of their own, without root and without systemd.

use super::link::{As, Link, Started};
use super::local::Local;
use super::shell_host::{ShellHost, Units};
use crate::host::contract::{self, Ground};
use crate::host::{HostError, OwnerIds, TlsEnd, TlsRequest};
use async_trait::async_trait;
use std::os::unix::fs::MetadataExt;

/// This machine, without sudo.
struct Plain;

#[async_trait]
impl Link for Plain {
    async fn start(&self, _: As, argv: &[&str]) -> Result<Started, HostError> {
        Local.start(As::Us, argv).await
    }
}

fn host(home: &std::path::Path) -> ShellHost<Plain> {
    ShellHost::new("here", Plain, home.join("home").to_str().unwrap(), Units::Without)
}

#[tokio::test]
async fn the_scripts_keep_the_contract() {
    // Goal: what is sent to a host does there what `Host` promises.
    let dir = tempfile::tempdir().unwrap();
    let meta = dir.path().metadata().unwrap();
    let ground = Ground {
        host: &host(dir.path()),
        dir: dir.path().join("ground").to_str().unwrap().to_owned(),
        owner: OwnerIds { uid: meta.uid(), gid: meta.gid() },
    };
    std::fs::create_dir(&ground.dir).unwrap();
    contract::all(&ground).await;
    contract::programs(&ground).await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused() {
    // Goal: a refused port is told from one that answers with something else than TLS.
    use crate::host::Host;
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let request = TlsRequest { address, ..TlsRequest::default() };
    let host = host(dir.path());
    let answer = async { drop(listener.accept().await.unwrap()) };
    let (seen, ()) = tokio::join!(host.tls(request.clone()), answer);
    assert_eq!(seen.unwrap().end, TlsEnd::Broken);
    drop(listener);
    assert_eq!(host.tls(request).await.unwrap().end, TlsEnd::Refused);
}
