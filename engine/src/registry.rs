//! The workflows that a program has code for, by name and version.

use crate::cx::Cx;
use crate::erased::Activities;
use crate::event::Json;
use crate::failure::Failure;
use crate::workflow::{Halt, HoldCx, HoldFailure, Workflow};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

type Decode<E> = fn(&Json) -> Result<Arc<dyn DynWorkflow<E>>, serde_json::Error>;

/// See the file's sentence.
pub struct Registry<E> {
    workflows: BTreeMap<(&'static str, u32), Decode<E>>,
}

impl<E> Default for Registry<E> {
    fn default() -> Self {
        Self { workflows: BTreeMap::new() }
    }
}

impl<E: Send + Sync + 'static> Registry<E> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with<W: Workflow<Env = E>>(mut self) -> Self {
        self.workflows.insert((W::NAME, W::VERSION), |input| Ok(Arc::new(Code(input.decode::<W>()?))));
        self
    }

    /// Whether there is code for it.
    pub fn has(&self, name: &str, version: u32) -> bool {
        self.workflows.contains_key(&(name, version))
    }

    pub(crate) fn decode(
        &self,
        name: &str,
        version: u32,
        input: &Json,
    ) -> Option<Result<Arc<dyn DynWorkflow<E>>, serde_json::Error>> {
        self.workflows.get(&(name, version)).map(|decode| decode(input))
    }
}

/// A workflow, its types forgotten.
#[async_trait]
pub(crate) trait DynWorkflow<E>: Send + Sync {
    fn activities(&self) -> Activities<E>;
    fn verification(&self) -> Option<&'static str>;
    fn holds(&self) -> Option<&'static str>;
    fn lets_go(&self) -> Option<&'static str>;
    fn known(&self, cx: &Cx<E>) -> BTreeMap<String, String>;
    async fn same_world(&self, env: &E, cx: &Cx<E>) -> Result<(), Failure>;
    async fn hold(&self, env: &E, by: &HoldCx) -> Result<(), HoldFailure>;
    async fn let_go(&self, env: &E, by: &HoldCx);
    async fn may_roll_back(&self, env: &E, cx: &Cx<E>) -> Result<(), Failure>;
    async fn execute(&self, cx: &mut Cx<E>) -> Result<Result<Json, String>, Halt>;
    async fn roll_back(&self, cx: &mut Cx<E>) -> Result<(), Halt>;
}

struct Code<W>(W);

#[async_trait]
impl<W: Workflow> DynWorkflow<W::Env> for Code<W> {
    fn activities(&self) -> Activities<W::Env> {
        W::activities()
    }

    fn verification(&self) -> Option<&'static str> {
        W::VERIFICATION
    }

    fn holds(&self) -> Option<&'static str> {
        W::HOLDS
    }

    fn lets_go(&self) -> Option<&'static str> {
        W::LETS_GO
    }

    fn known(&self, cx: &Cx<W::Env>) -> BTreeMap<String, String> {
        self.0.known(cx)
    }

    async fn same_world(&self, env: &W::Env, cx: &Cx<W::Env>) -> Result<(), Failure> {
        self.0.same_world(env, cx).await
    }

    async fn hold(&self, env: &W::Env, by: &HoldCx) -> Result<(), HoldFailure> {
        self.0.hold(env, by).await
    }

    async fn let_go(&self, env: &W::Env, by: &HoldCx) {
        self.0.let_go(env, by).await;
    }

    async fn may_roll_back(&self, env: &W::Env, cx: &Cx<W::Env>) -> Result<(), Failure> {
        self.0.may_roll_back(env, cx).await
    }

    async fn execute(&self, cx: &mut Cx<W::Env>) -> Result<Result<Json, String>, Halt> {
        let output = self.0.execute(cx).await?;
        Ok(Json::of(&output).map_err(|error| error.to_string()))
    }

    async fn roll_back(&self, cx: &mut Cx<W::Env>) -> Result<(), Halt> {
        self.0.roll_back(cx).await
    }
}
