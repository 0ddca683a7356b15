//! Proves that a controller refuses the credentials of the retired trust, and accepts those of the trust in use.

use super::common::Step;
use super::credentials::{self, Kind, Place, Verdict};
use super::keep_credentials::Kept;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, Root};
use crate::host::TlsRequest;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Only a 401 or an alert of TLS counts as refused, and the successor must be accepted in the same round, lest a dead controller pass.
/// A credential that was not accepted before the stop proves nothing: *not shown*. In place when every cell is as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveOldRefused {
    /// Where.
    pub place: Place,
    /// The other controllers, which must accept a token that is minted here.
    pub others: Vec<K0sHost>,
    /// Roots that were replaced.
    pub roots: Vec<Root>,
    /// What was kept of the retired trust.
    pub kept: Vec<Kept>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The credential.
    pub kind: Kind,
    /// The controller that it was shown to.
    pub at: String,
    /// The one of the retired trust.
    pub old: Verdict,
    /// The one of the trust in use.
    pub new: Verdict,
    /// Of a token that another controller minted: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted_by: Option<String>,
}

impl Cell {
    fn holds(&self) -> bool {
        let refused = matches!(self.old, Verdict::Refused | Verdict::NotShown);
        refused && matches!(self.new, Verdict::Accepted | Verdict::NotShown)
    }
}

impl Activity for ProveOldRefused {
    const NAME: &'static str = "prove-old-refused";
    type Env = Fleet;
    type Before = ();
    type Output = Vec<Cell>;

    fn target(&self) -> String {
        self.place.controller.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { tries: 5, deadline: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<Vec<Cell>>, Failure> {
        let cells = self.look(cx).await?;
        Ok(cells.iter().all(Cell::holds).then_some(cells))
    }

    /// Nothing was done.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    /// There is nothing to do but to say which cell is wrong.
    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let cells = self.look(cx).await?;
        let Some(wrong) = cells.iter().find(|cell| !cell.holds()) else { return Ok(()) };
        // The one that refuses may well be right: a controller that signs with a key of its own is refused by all others.
        if let Some(minter) = &wrong.minted_by {
            return Err(Failure::new("minted-token-refused").with("host", minter).with("by", &wrong.at));
        }
        let failure = match wrong.old {
            Verdict::Accepted => Failure::new("old-credential-accepted"),
            _ => Failure::new("proof-incomplete"),
        };
        Err(failure.with("host", &wrong.at).with("credential", format!("{:?}", wrong.kind)))
    }
}

impl ProveOldRefused {
    async fn look(&self, cx: &Step) -> Result<Vec<Cell>, Failure> {
        let mut cells = Vec::new();
        for kind in Kind::of(&self.roots) {
            let old = self.show_old(cx, kind).await?;
            let new = self.show_new(cx, kind).await?;
            cells.push(Cell { kind, at: self.place.controller.name.clone(), old, new, minted_by: None });
        }
        cells.extend(self.minted_here(cx).await?);
        Ok(cells)
    }

    async fn show_old(&self, cx: &Step, kind: Kind) -> Result<Verdict, Failure> {
        let kept = self.kept.iter().find(|kept| kept.kind == kind && kept.verdict == Verdict::Accepted);
        match kept {
            Some(kept) => self.place.show(cx, kind, &kept.open(cx).await?).await,
            None => Ok(Verdict::NotShown),
        }
    }

    async fn show_new(&self, cx: &Step, kind: Kind) -> Result<Verdict, Failure> {
        match self.place.find(cx, kind).await? {
            Some(credential) => self.place.show(cx, kind, &credential).await,
            None => Ok(Verdict::NotShown),
        }
    }

    /// Every other controller must accept what this one signs: a pair that does not match shows itself nowhere else (lab §9).
    async fn minted_here(&self, cx: &Step) -> Result<Vec<Cell>, Failure> {
        let from = &self.place.controller;
        let Some(token) = credentials::mint(cx, from).await? else {
            return Err(Failure::new("token-not-minted").with("host", &from.name));
        };
        let mut cells = Vec::new();
        for other in self.others.iter().filter(|other| !cx.left_behind.contains(&other.name)) {
            let address = format!("{}:{}", other.address, other.api_port);
            let request = TlsRequest { address, path: "/api".to_owned(), ..TlsRequest::default() };
            let new = credentials::ask(cx, from, request, &token).await?;
            let (kind, old) = (Kind::ServiceAccountToken, Verdict::NotShown);
            cells.push(Cell { kind, at: other.name.clone(), old, new, minted_by: Some(from.name.clone()) });
        }
        Ok(cells)
    }
}
