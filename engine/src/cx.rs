//! What a workflow sees of the world: phases, zones, steps, groups, waits and what was recorded.

use crate::activity::Activity;
use crate::clock::Timestamp;
use crate::event::Zone;
use crate::workflow::{Guard, Halt};
use std::marker::PhantomData;

/// The only way of a workflow to the world.
pub struct Cx<E> {
    env: PhantomData<E>,
}

/// How a member of [`Cx::run_each`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Each<O> {
    /// Its effect is in place.
    Done(O),
    /// It failed for good; the others went on.
    Left,
}

impl<O> Each<O> {
    /// The output, if it is done.
    pub fn done(self) -> Option<O> {
        match self {
            Self::Done(output) => Some(output),
            Self::Left => None,
        }
    }
}

/// A step of the forward leg as it was recorded.
#[derive(Clone, Debug)]
pub struct Recorded<A: Activity> {
    /// Its input.
    pub input: A,
    /// Its output, if it succeeded; a step that only started may have had any part of its effect.
    pub output: Option<A::Output>,
}

impl<E: Send + Sync + 'static> Cx<E> {
    /// A heading of the runbook: a frozen slug and a free title.
    pub async fn phase(&mut self, _slug: &'static str, _title: &str) -> Result<(), Halt> {
        todo!()
    }

    /// Says what a failure means from here on; only goes up.
    pub async fn zone(&mut self, _zone: Zone, _reason: &str) -> Result<(), Halt> {
        todo!()
    }

    /// Asks a condition where the history ends; passed over in what is replayed.
    pub async fn guard<G: Guard<E>>(&mut self, _guard: &G) -> Result<(), Halt> {
        todo!()
    }

    /// Brings one effect about.
    pub async fn run<A: Activity<Env = E>>(&mut self, _activity: A) -> Result<A::Output, Halt> {
        todo!()
    }

    /// Brings effects about, `at_once` at a time, started in list order. All must succeed.
    pub async fn run_all<A: Activity<Env = E>>(
        &mut self,
        _activities: Vec<A>,
        _at_once: usize,
    ) -> Result<Vec<A::Output>, Halt> {
        todo!()
    }

    /// Like [`Cx::run_all`] for targets that others don't depend on: up to `most_left` may be left.
    pub async fn run_each<A: Activity<Env = E>>(
        &mut self,
        _activities: Vec<A>,
        _at_once: usize,
        _most_left: usize,
    ) -> Result<Vec<Each<A::Output>>, Halt> {
        todo!()
    }

    /// Takes one step of the forward leg back (back leg only): its undo, then a look that its effect is gone.
    pub async fn undo<A: Activity<Env = E>>(&mut self, _phase: &str, _target: &str) -> Result<(), Halt> {
        todo!()
    }

    /// Takes every started step of the forward leg back, last first, groups reversed (back leg only).
    pub async fn undo_started(&mut self) -> Result<(), Halt> {
        todo!()
    }

    /// Rests until an operator ends it, or the time comes.
    pub async fn wait_for(&mut self, _name: &'static str, _until: Option<Timestamp>) -> Result<(), Halt> {
        todo!()
    }

    /// A step of the forward leg as recorded; `None` if it never started.
    pub fn recorded<A: Activity<Env = E>>(&self, _phase: &str, _target: &str) -> Option<Recorded<A>> {
        todo!()
    }

    /// All steps of this activity in a phase of the forward leg, in the order they were started.
    pub fn recorded_all<A: Activity<Env = E>>(&self, _phase: &str) -> Vec<Recorded<A>> {
        todo!()
    }

    /// Targets that were left so far in this leg, in order.
    pub fn left(&self) -> Vec<String> {
        todo!()
    }

    /// Targets that an operator left behind.
    pub fn left_behind(&self) -> Vec<String> {
        todo!()
    }

    /// Time of the record last visited: the same on every pass.
    pub fn time(&self) -> Timestamp {
        todo!()
    }
}
