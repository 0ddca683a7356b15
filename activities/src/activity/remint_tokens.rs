//! Has legacy service-account tokens signed anew with the key that is in use.

use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use crate::pki;
use crate::secret::Secret;
use base64::Engine;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// kube-controller-manager never signs a token again that is there (facts §4.3), but fills in one that is not.
/// In place when every legacy token verifies with this key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemintTokens {
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
    /// Public key of service accounts, PEM.
    pub public: String,
}

/// A legacy token's Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

const SECRETS: &str = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fservice-account-token";

impl Activity for RemintTokens {
    const NAME: &'static str = "remint-tokens";
    type Env = Fleet;
    type Before = Vec<Named>;
    type Output = Vec<Named>;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { settle_for: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Vec<Named>, Failure> {
        self.stale(cx).await?.ok_or_else(|| Failure::new("api-not-answering"))
    }

    /// Finds those that were stale before, for the report: who uses them must copy them again.
    async fn probe(&self, cx: &Step, were_stale: &Vec<Named>) -> Result<Option<Vec<Named>>, Failure> {
        let fresh = self.stale(cx).await?.is_some_and(|stale| stale.is_empty());
        Ok(fresh.then(|| were_stale.clone()))
    }

    /// The way back re-mints them with its own key.
    async fn undo(&self, _cx: &Step, _were_stale: &Vec<Named>) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _were_stale: &Vec<Named>) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, _were_stale: &Vec<Named>) -> Result<(), Failure> {
        for Named { namespace, name } in self.stale(cx).await?.unwrap_or_default() {
            let patch = r#"[{"op":"remove","path":"/data/token"}]"#;
            let args =
                ["kubectl", "-n", &namespace, "patch", "secret", &name, "--type=json", "-p", patch].map(str::to_owned);
            common::change_on_first(cx, &self.via, |via| vec![Change::Run(Command::new(&via.k0s, args.clone()))])
                .await?;
        }
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await
    }
}

impl RemintTokens {
    /// Secrets whose token is missing or of another key; `None` if the API does not answer.
    async fn stale(&self, cx: &Step) -> Result<Option<Vec<Named>>, Failure> {
        let Some((_, list)) = common::ask(cx, &self.via, SECRETS).await? else { return Ok(None) };
        let now = i64::try_from(cx.clock.now().0 / 1000).unwrap_or(i64::MAX);
        let fresh = |secret: &serde_json::Value| {
            let token = secret["data"]["token"].as_str().unwrap_or_default();
            let token = base64::engine::general_purpose::STANDARD.decode(token).unwrap_or_default();
            pki::verify_token(&Secret::new(token), self.public.as_bytes(), now).is_ok()
        };
        let named = |secret: &serde_json::Value| {
            let field = |key: &str| secret["metadata"][key].as_str().map(str::to_owned);
            Some(Named { namespace: field("namespace")?, name: field("name")? })
        };
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Some(items.iter().filter(|secret| !fresh(secret)).filter_map(named).collect()))
    }
}
