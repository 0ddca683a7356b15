//! Takes retired CAs out of the list that API servers publish for metrics-server and other delegated servers.

use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use crate::pki;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// API servers only ever add to `extension-apiserver-authentication`, so a retired CA would be trusted there for years (facts §4.3).
/// Deleted, it is written anew at once by each API server. In place when it is there and holds accepted CAs alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClientCas {
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
    /// Fingerprints of the Kubernetes CA and of the front-proxy CAs in use.
    pub accepted: Vec<String>,
}

const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const LISTS: [&str; 2] = ["client-ca-file", "requestheader-client-ca-file"];

impl Activity for RefreshClientCas {
    const NAME: &'static str = "refresh-client-cas";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { settle_for: Duration::from_secs(30), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let Some((_, map)) = common::ask(cx, &self.via, MAP).await? else { return Ok(None) };
        let clean = LISTS.iter().all(|list| map["data"][list].as_str().is_some_and(|pem| self.accepts(pem)));
        Ok(clean.then_some(()))
    }

    /// API servers write what they trust by themselves.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let args = ["kubectl", "-n", "kube-system", "delete", "cm", "extension-apiserver-authentication"];
        common::change_on_first(cx, &self.via, |via| vec![Change::Run(Command::new(&via.k0s, args))]).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await
    }
}

impl RefreshClientCas {
    fn accepts(&self, pem: &str) -> bool {
        let found = pki::read_certificates(pem.as_bytes()).unwrap_or_default();
        !found.is_empty() && found.iter().all(|c| self.accepted.contains(&c.fingerprint))
    }
}
