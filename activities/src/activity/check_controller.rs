//! Looks whether a controller serves the API with the trust that it should have.

use super::common::{self, Step};
use super::node;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::TlsRequest;
use crate::pki;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when the controller, asked at its own address, serves a chain of this CA, and its API server says that it is ready.
/// Only waits: k0s gives up by itself after 2 min without readiness (facts §1.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckController {
    /// Which.
    pub host: K0sHost,
    /// The Kubernetes CA that it must be of, PEM.
    pub ca: String,
}

/// How long one try waits. Three cover k0s' own limit of 2 min and a restart, and a host that does not answer at first costs a try.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

impl Check for CheckController {
    const NAME: &'static str = "check-controller";
    type Env = Fleet;
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        let deadline = READY_WITHIN + Duration::from_secs(20);
        RetryPolicy { settle_for: READY_WITHIN, deadline, ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<()>, Failure> {
        let serves = serves(cx, &self.host, &self.ca, self.host.api_port).await?;
        Ok((serves && is_ready(cx, &self.host).await?).then_some(()))
    }
}

/// Whether the host serves a certificate of this CA at its own address and this port. Judged by signature, whatever names it is for:
/// the address at which we ask need not be one of them.
pub async fn serves(cx: &Step, host: &K0sHost, ca: &str, port: u16) -> Result<bool, Failure> {
    let address = format!("{}:{port}", host.address);
    let request = TlsRequest { address, ..TlsRequest::default() };
    let seen = common::host(cx, &host.name)?.tls(request).await.map_err(common::of(&host.name))?;
    let ca = node::authority(ca)?;
    let leaf = seen.chain.first().and_then(|der| pki::read_der(der).ok());
    Ok(leaf.is_some_and(|leaf| pki::signed_by(&leaf, &ca)))
}

/// Whether its own API server says that it is ready.
pub async fn is_ready(cx: &Step, host: &K0sHost) -> Result<bool, Failure> {
    let answer = common::get(cx, host, "/readyz").await?;
    Ok(answer.is_some_and(|body| body == b"ok"))
}
