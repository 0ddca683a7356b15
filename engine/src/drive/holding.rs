//! The hold of a drive: taken at its start, renewed every ten seconds, let go at rest.

use super::attempt::bounded_look;
use super::desk::Desk;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::registry::DynWorkflow;
use crate::workflow::{HoldCx, HoldFailure};
use futures_util::FutureExt;
use futures_util::future::select;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Between renewals.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// How long taking, renewing or letting go may take.
pub(crate) const HOLD_DEADLINE: Duration = Duration::from_secs(60);

/// What renews the hold of one pass, beside it.
pub(crate) struct Holding<E> {
    pub(crate) workflow: Arc<dyn DynWorkflow<E>>,
    pub(crate) env: Arc<E>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) by: HoldCx,
}

impl<E: Send + Sync + 'static> Holding<E> {
    /// Takes or renews the hold and notes on the desk if it could not; an error if somebody else has it.
    pub(crate) async fn hold(&mut self) -> Result<(), Failure> {
        let lapsed = loop {
            self.by.course = self.desk.course();
            let hold = async { Ok(self.workflow.hold(&self.env, &self.by).await) };
            match bounded_look(&*self.clock, HOLD_DEADLINE, hold).await {
                Ok(Ok(())) => break None,
                Ok(Err(HoldFailure::Foreign(failure))) => return Err(failure),
                // What was let go meanwhile is not missed.
                Ok(Err(HoldFailure::Lapsed(_))) if self.by.course.let_go != self.desk.course().let_go => {}
                Ok(Err(HoldFailure::Lapsed(failure))) | Err(failure) => break Some(failure),
            }
        };
        self.desk.set_lapsed(lapsed);
        self.by.put_back.clear();
        Ok(())
    }

    /// Renews until the pass is over; the failure if somebody else has the hold, which ends the drive.
    pub(crate) async fn renew(mut self) -> Option<Failure> {
        let desk = self.desk.clone();
        let clock = self.clock.clone();
        loop {
            let ends = desk.hold_ends();
            let over = select(clock.sleep(RENEWED_EVERY), pin!(ends)).map(|first| first.is_right()).await;
            if over {
                return None;
            }
            if let Err(foreign) = self.hold().await {
                return Some(foreign);
            }
        }
    }

    /// At rest. Whatever happens, the drive ends all the same.
    pub(crate) async fn let_go(mut self) {
        self.by.course = self.desk.course();
        let work = AssertUnwindSafe(self.workflow.let_go(&self.env, &self.by)).catch_unwind();
        select(pin!(work), self.clock.sleep(HOLD_DEADLINE)).await;
    }
}

/// Whether the second of two futures was first.
trait First {
    fn is_right(&self) -> bool;
}

impl<A, B> First for futures_util::future::Either<A, B> {
    fn is_right(&self) -> bool {
        matches!(self, Self::Right(_))
    }
}
