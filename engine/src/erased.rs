//! Activities without their types: by name and JSON, as a history holds them.

use crate::activity::{Activity, RetryPolicy, StepCx};
use crate::event::Json;
use crate::failure::Failure;
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::sync::Arc;

type Decode<E> = fn(&Json) -> Result<Arc<dyn DynActivity<E>>, serde_json::Error>;

/// The activities that a workflow uses, by their durable names.
pub struct Activities<E> {
    by_name: BTreeMap<&'static str, Decode<E>>,
}

impl<E> Default for Activities<E> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new() }
    }
}

impl<E: Send + Sync + 'static> Activities<E> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with<A: Activity<Env = E>>(mut self) -> Self {
        self.by_name.insert(A::NAME, |input| Ok(Arc::new(Use(input.decode::<A>()?))));
        self
    }

    /// Whether it is listed.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// How a recorded use is tried; `None` if it is of no activity that is listed, or not readable.
    pub fn retry_of(&self, name: &str, input: &Json) -> Option<RetryPolicy> {
        self.decode(name, input).ok().map(|activity| activity.retry())
    }

    /// Reads a recorded use.
    pub(crate) fn decode(&self, name: &str, input: &Json) -> Result<Arc<dyn DynActivity<E>>, String> {
        let decode = self.by_name.get(name).ok_or_else(|| format!("no activity {name} is listed"))?;
        decode(input).map_err(|e| format!("the input of {name}: {e}"))
    }
}

/// One use of an activity, its types forgotten.
#[async_trait]
pub(crate) trait DynActivity<E>: Send + Sync {
    fn name(&self) -> &'static str;
    fn target(&self) -> String;
    /// Its input, encoded by today's type.
    fn input(&self) -> Result<Json, serde_json::Error>;
    fn retry(&self) -> RetryPolicy;
    async fn before(&self, cx: &StepCx<E>) -> Result<Json, Failure>;
    async fn probe(&self, cx: &StepCx<E>, before: &Json) -> Result<Option<Json>, Failure>;
    async fn run(&self, cx: &StepCx<E>, before: &Json) -> Result<(), Failure>;
    async fn undo(&self, cx: &StepCx<E>, before: &Json) -> Result<(), Failure>;
    async fn undone(&self, cx: &StepCx<E>, before: &Json) -> Result<bool, Failure>;
    async fn fence(&self, cx: &StepCx<E>) -> Result<(), Failure>;
    /// Whether `before` was ever seen: where it could not be, `null` is recorded and nothing was begun.
    fn was_begun(&self, before: &Json) -> bool;
}

/// One use of an activity whose type is known.
pub(crate) struct Use<A>(pub(crate) A);

fn encode<T: Serialize>(value: &T) -> Result<Json, Failure> {
    Json::of(value).map_err(|_| Failure::refused("not-encodable"))
}

fn decode<T: DeserializeOwned>(json: &Json) -> Result<T, Failure> {
    json.decode().map_err(|_| Failure::refused("not-decodable"))
}

#[async_trait]
impl<A: Activity> DynActivity<A::Env> for Use<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn target(&self) -> String {
        self.0.target()
    }

    fn input(&self) -> Result<Json, serde_json::Error> {
        Json::of(&self.0)
    }

    fn retry(&self) -> RetryPolicy {
        self.0.retry()
    }

    async fn before(&self, cx: &StepCx<A::Env>) -> Result<Json, Failure> {
        encode(&self.0.before(cx).await?)
    }

    async fn probe(&self, cx: &StepCx<A::Env>, before: &Json) -> Result<Option<Json>, Failure> {
        let before = decode(before)?;
        self.0.probe(cx, &before).await?.map(|output| encode(&output)).transpose()
    }

    async fn run(&self, cx: &StepCx<A::Env>, before: &Json) -> Result<(), Failure> {
        let before = decode(before)?;
        self.0.run(cx, &before).await
    }

    async fn undo(&self, cx: &StepCx<A::Env>, before: &Json) -> Result<(), Failure> {
        let before = decode(before)?;
        self.0.undo(cx, &before).await
    }

    async fn undone(&self, cx: &StepCx<A::Env>, before: &Json) -> Result<bool, Failure> {
        let before = decode(before)?;
        self.0.undone(cx, &before).await
    }

    async fn fence(&self, cx: &StepCx<A::Env>) -> Result<(), Failure> {
        self.0.fence(cx).await
    }

    fn was_begun(&self, before: &Json) -> bool {
        before.decode::<A::Before>().is_ok()
    }
}
