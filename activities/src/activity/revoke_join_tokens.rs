//! Revokes the cluster's join tokens of both roles.

use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use crate::kube::{Api, SecretHead, lives_until};
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A controller token fetches the new CA's key from :9443 for whoever skips verification. In place when none of the tokens that were
/// seen before is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeJoinTokens {
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
    /// Ids of tokens that the operator keeps.
    pub keep: Vec<String>,
}

/// The tokens as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// When each ends, RFC 3339, by id; empty for never.
    pub tokens: BTreeMap<String, String>,
    /// The Secrets as JSON, sealed; `None` if there are none.
    pub sealed: Option<SecretRef>,
}

const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
const LIST: &str = "/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";

impl Activity for RevokeJoinTokens {
    const NAME: &'static str = "revoke-join-tokens";
    type Env = Fleet;
    type Before = Saved;
    type Output = Vec<String>;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Saved, Failure> {
        let (_, mut items) = self.all(cx).await?;
        if let Some(id) = self.keep.iter().find(|id| !items.iter().any(|item| is_token(item, id))) {
            return Err(Failure::refused("token-unknown").with("token", id));
        }
        items.retain(|item| self.is_meant(item));
        let heads = items.iter().filter_map(SecretHead::read);
        let tokens: BTreeMap<String, String> =
            heads.filter_map(|head| Some((head.token_id()?.to_owned(), head.expires.clone()))).collect();
        if items.is_empty() {
            return Ok(Saved::default());
        }
        let bytes = serde_json::to_vec(&items.iter().map(stripped).collect::<Vec<_>>());
        let bytes = bytes.map_err(|_| Failure::refused("not-encodable"))?;
        Ok(Saved { tokens, sealed: Some(cx.env.secrets.put(&Secret::new(bytes)).await?) })
    }

    async fn probe(&self, cx: &Step, before: &Saved) -> Result<Option<Vec<String>>, Failure> {
        let revoked = before.tokens.keys().cloned().collect();
        if before.tokens.is_empty() {
            return Ok(Some(revoked));
        }
        let (_, present) = self.present(cx).await?;
        Ok((!before.tokens.keys().any(|id| present.contains(id))).then_some(revoked))
    }

    /// Creates those again that are missing and have not run out meanwhile.
    async fn undo(&self, cx: &Step, before: &Saved) -> Result<(), Failure> {
        let Some(sealed) = &before.sealed else { return Ok(()) };
        let (via, missing) = self.missing(cx, before).await?;
        let saved: Vec<Value> = serde_json::from_slice(cx.env.secrets.get(sealed).await?.expose())
            .map_err(|_| Failure::refused("saved-tokens-unreadable"))?;
        let is_missing = |item: &Value| {
            SecretHead::read(item).is_some_and(|h| h.token_id().is_some_and(|id| missing.iter().any(|m| m == id)))
        };
        let items: Vec<Value> = saved.into_iter().filter(is_missing).collect();
        if items.is_empty() {
            return Ok(());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let create =
            common::k0s(&via, ["kubectl", "create", "-f", "-"]).stdin(Secret::new(list.to_string().into_bytes()));
        common::change(cx, &via.name, vec![Change::Run(create)]).await.map(|_| ())
    }

    async fn undone(&self, cx: &Step, before: &Saved) -> Result<bool, Failure> {
        Ok(before.tokens.is_empty() || self.missing(cx, before).await?.1.is_empty())
    }

    async fn run(&self, cx: &Step, before: &Saved) -> Result<(), Failure> {
        let (via, present) = self.present(cx).await?;
        let ids = before.tokens.keys().filter(|id| present.contains(id)).map(String::as_str);
        let args: Vec<&str> = ["token", "invalidate"].into_iter().chain(ids).collect();
        if args.len() == 2 {
            return Ok(());
        }
        common::change(cx, &via.name, vec![Change::Run(Command::new(&via.k0s, args))]).await.map(|_| ())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await
    }
}

impl RevokeJoinTokens {
    /// The Secrets of all join tokens but those to keep, and the controller that answered.
    async fn items(&self, cx: &Step) -> Result<(K0sHost, Vec<Value>), Failure> {
        let (via, mut items) = self.all(cx).await?;
        items.retain(|item| self.is_meant(item));
        Ok((via, items))
    }

    /// The same with those to keep.
    async fn all(&self, cx: &Step) -> Result<(K0sHost, Vec<Value>), Failure> {
        let mut answer = Failure::refused("no-controller-to-ask");
        for via in &self.via {
            match Api::of(cx, via)?.list(LIST, |item| Some(item.clone())).await {
                Ok(items) => return Ok((via.clone(), items)),
                Err(failure) => answer = failure,
            }
        }
        Err(answer)
    }

    fn is_meant(&self, item: &Value) -> bool {
        let head = SecretHead::read(item);
        let id = head.as_ref().and_then(SecretHead::token_id);
        id.is_some_and(|id| !self.keep.iter().any(|kept| kept == id)) && item["type"] == TOKEN_TYPE
    }

    async fn present(&self, cx: &Step) -> Result<(K0sHost, Vec<String>), Failure> {
        let (via, items) = self.items(cx).await?;
        let heads = items.iter().filter_map(SecretHead::read);
        Ok((via, heads.filter_map(|head| head.token_id().map(str::to_owned)).collect()))
    }

    /// The tokens that were there, are not, and would still be valid.
    async fn missing(&self, cx: &Step, before: &Saved) -> Result<(K0sHost, Vec<String>), Failure> {
        let (via, present) = self.present(cx).await?;
        let now = i64::try_from(cx.clock.now().0).unwrap_or(i64::MAX);
        let missing = before.tokens.iter().filter(|(id, until)| !present.contains(id) && lives_until(until, now));
        Ok((via, missing.map(|(id, _)| id.clone()).collect()))
    }
}

/// A mistyped id must not pass for one that means nothing: the token that was meant would be revoked.
fn is_token(item: &Value, id: &str) -> bool {
    SecretHead::read(item).is_some_and(|head| head.token_id() == Some(id)) && item["type"] == TOKEN_TYPE
}

/// Without what only the API server may set.
fn stripped(item: &Value) -> Value {
    let metadata = &item["metadata"];
    json!({"apiVersion": "v1", "kind": "Secret", "type": item["type"], "data": item["data"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata["labels"]}})
}
