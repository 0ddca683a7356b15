//! A workflow with a group in each zone and a way back of its own, over one kind of activity.

use super::world::{HoldAnswer, World};
use k0rotate_engine::activity::{Activity, RetryPolicy, StepCx};
use k0rotate_engine::cx::{Cx, Each};
use k0rotate_engine::event::Zone;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::workflow::{Activities, Guard, Halt, HoldCx, HoldFailure, Workflow};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Sets one item of one host, and then the link to it: between the two its effect is half in place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Put {
    pub host: String,
    pub item: String,
    pub value: String,
}

impl Put {
    pub fn on(hosts: &[String], item: &str, value: &str) -> Vec<Self> {
        let put = |host: &String| Self { host: host.clone(), item: item.into(), value: value.into() };
        hosts.iter().map(put).collect()
    }

    fn link(&self) -> String {
        format!("{}.link", self.item)
    }

    async fn look(&self, cx: &StepCx<World>) -> Result<Option<String>, Failure> {
        cx.env.look(&self.host, &self.item).await
    }

    async fn look_link(&self, cx: &StepCx<World>) -> Result<Option<String>, Failure> {
        cx.env.look(&self.host, &self.link()).await
    }
}

impl Activity for Put {
    const NAME: &'static str = "put";
    type Env = World;
    type Before = Seen;
    type Output = usize;

    fn target(&self) -> String {
        self.host.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(5), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &StepCx<World>) -> Result<Seen, Failure> {
        Ok(Seen { value: self.look(cx).await?, link: self.look_link(cx).await? })
    }

    async fn probe(&self, cx: &StepCx<World>, _: &Seen) -> Result<Option<usize>, Failure> {
        let wanted = Some(self.value.clone());
        let whole = self.look(cx).await? == wanted && self.look_link(cx).await? == wanted;
        Ok(whole.then_some(self.value.len()))
    }

    async fn undo(&self, cx: &StepCx<World>, before: &Seen) -> Result<(), Failure> {
        if self.look(cx).await? != before.value {
            cx.env.change(&self.host, &self.item, before.value.as_deref(), cx.fence).await?;
        }
        if self.look_link(cx).await? != before.link {
            cx.env.change(&self.host, &self.link(), before.link.as_deref(), cx.fence).await?;
        }
        Ok(())
    }

    async fn undone(&self, cx: &StepCx<World>, before: &Seen) -> Result<bool, Failure> {
        Ok(self.look(cx).await? == before.value && self.look_link(cx).await? == before.link)
    }

    async fn run(&self, cx: &StepCx<World>, _: &Seen) -> Result<(), Failure> {
        let wanted = Some(self.value.clone());
        if self.look(cx).await? != wanted {
            cx.env.change(&self.host, &self.item, wanted.as_deref(), cx.fence).await?;
        }
        if self.look_link(cx).await? != wanted {
            cx.env.change(&self.host, &self.link(), wanted.as_deref(), cx.fence).await?;
        }
        Ok(())
    }

    async fn fence(&self, cx: &StepCx<World>) -> Result<(), Failure> {
        cx.env.raise(&self.host, cx.fence).await
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    value: Option<String>,
    link: Option<String>,
}

/// Asks the world.
pub struct Ask;

impl Guard<World> for Ask {
    const NAME: &'static str = "ask";
    const ROLLS_BACK: bool = false;

    async fn check(&self, env: &World) -> Result<(), Failure> {
        env.ask_guard(Self::NAME)
    }
}

/// A window that may have passed.
pub struct Window;

impl Guard<World> for Window {
    const NAME: &'static str = "window";
    const ROLLS_BACK: bool = true;

    async fn check(&self, env: &World) -> Result<(), Failure> {
        env.ask_guard(Self::NAME)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Toy {
    pub controllers: Vec<String>,
    pub workers: Vec<String>,
    pub at_once: usize,
    /// Of the workers.
    pub most_left: usize,
}

pub const MAX_OUTAGE: Duration = Duration::from_secs(120);

impl Toy {
    pub fn of(controllers: usize, workers: usize) -> Self {
        let names = |letter: &str, n: usize| (1..=n).map(|i| format!("{letter}{i}")).collect();
        Self { controllers: names("c", controllers), workers: names("w", workers), at_once: 2, most_left: 1 }
    }

    fn all(&self) -> Vec<String> {
        self.controllers.iter().chain(&self.workers).cloned().collect()
    }

    fn quorum(&self) -> usize {
        self.controllers.len() / 2 + 1
    }

    fn down(&self) -> Zone {
        Zone::Down { max_outage: MAX_OUTAGE, quorum: u32::try_from(self.quorum()).unwrap() }
    }

    fn controllers_left(&self) -> usize {
        self.controllers.len() - self.quorum()
    }
}

fn left(ends: &[Each<usize>]) -> usize {
    ends.iter().filter(|end| **end == Each::Left).count()
}

/// The verification has an activity of its own, so that it can be named.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verify {
    pub trust: String,
}

impl Activity for Verify {
    const NAME: &'static str = "verify";
    type Env = World;
    type Before = ();
    type Output = usize;

    fn target(&self) -> String {
        "cluster".into()
    }

    async fn probe(&self, cx: &StepCx<World>, (): &()) -> Result<Option<usize>, Failure> {
        cx.env.look("cluster", "").await?;
        let settings = cx.env.settings();
        let up = |host: &String| settings.get(&(host.clone(), "up".into())).is_some_and(|v| v == "yes");
        let good = settings.iter().filter(|((host, item), v)| item == "trust" && up(host) && **v == self.trust);
        let good = good.count();
        Ok((good > 0).then_some(good))
    }

    async fn run(&self, _: &StepCx<World>, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undo(&self, _: &StepCx<World>, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _: &StepCx<World>, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }
}

impl Workflow for Toy {
    const NAME: &'static str = "toy";
    const VERSION: u32 = 1;
    const VERIFICATION: Option<&'static str> = Some(Verify::NAME);
    type Env = World;
    type Output = usize;

    fn activities() -> Activities<World> {
        Activities::new().with::<Put>().with::<Verify>()
    }

    async fn same_world(&self, env: &World, _: &Cx<World>) -> Result<(), Failure> {
        env.elsewhere.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn hold(&self, env: &World, by: &HoldCx) -> Result<(), HoldFailure> {
        env.holds.lock().unwrap().push(format!("hold {}", by.course.left.join(" ")).trim_end().to_owned());
        match *env.hold_answer.lock().unwrap() {
            None => Ok(()),
            Some(HoldAnswer::Foreign) => Err(HoldFailure::Foreign(Failure::refused("held-by-another"))),
            Some(HoldAnswer::Lapsed) => Err(HoldFailure::Lapsed(Failure::new("not-renewed"))),
        }
    }

    async fn let_go(&self, env: &World, _: &HoldCx) {
        env.holds.lock().unwrap().push("let go".into());
    }

    async fn execute(&self, cx: &mut Cx<World>) -> Result<usize, Halt> {
        cx.phase("prepare", "Prepare").await?;
        cx.run_all(Put::on(&self.all(), "staged", "new"), self.at_once).await?;
        cx.guard(&Window).await?;
        cx.zone(self.down(), "the first controller stops").await?;
        cx.phase("stop", "Stop").await?;
        cx.run_all(Put::on(&self.controllers, "up", "no"), 9).await?;
        cx.phase("swap", "Swap").await?;
        cx.guard(&Ask).await?;
        cx.run_each(Put::on(&self.controllers, "trust", "new"), 9, self.controllers_left()).await?;
        cx.phase("start", "Start").await?;
        let ends = cx.run_each(Put::on(&self.controllers, "up", "yes"), 9, self.controllers_left()).await?;
        cx.phase("check", "Check").await?;
        cx.run(Verify { trust: "new".into() }).await?;
        cx.zone(Zone::Held, "a quorum runs").await?;
        cx.phase("join", "Join").await?;
        let joined = cx.run_each(Put::on(&self.workers, "trust", "new"), self.at_once, self.most_left).await?;
        cx.phase("clean", "Clean up").await?;
        cx.run_each(Put::on(&self.workers, "clean", "yes"), self.at_once, self.most_left).await?;
        cx.wait_for("finalize", None).await?;
        cx.zone(Zone::Final, "finalize").await?;
        cx.phase("destroy", "Destroy").await?;
        cx.run_all(Put::on(&self.all(), "old", "gone"), self.at_once).await?;
        Ok(left(&ends) + left(&joined))
    }

    async fn roll_back(&self, cx: &mut Cx<World>) -> Result<(), Halt> {
        if cx.forward_zone() == Zone::Free {
            return cx.undo_started().await;
        }
        cx.zone(self.down(), "the first controller stops").await?;
        cx.phase("back-stop", "Stop").await?;
        cx.run_each(Put::on(&self.controllers, "up", "no"), 9, self.controllers_left()).await?;
        cx.phase("back-swap", "Put back").await?;
        cx.run_each(Put::on(&self.controllers, "trust", "old"), 9, self.controllers_left()).await?;
        cx.phase("back-start", "Start").await?;
        cx.run_each(Put::on(&self.controllers, "up", "yes"), 9, self.controllers_left()).await?;
        cx.phase("back-check", "Check").await?;
        cx.run_each(vec![Verify { trust: "old".into() }], 1, 0).await?;
        cx.zone(Zone::Held, "the old trust is verified").await?;
        cx.phase("back-join", "Join").await?;
        let joined = cx.recorded_all::<Put>("join");
        let joined: Vec<String> = joined.into_iter().map(|step| step.input.host).collect();
        cx.run_each(Put::on(&joined, "trust", "old"), 2, 1).await?;
        cx.phase("back-clean", "Clean up").await?;
        cx.run_each(Put::on(&self.all(), "staged", "none"), 2, 9).await?;
        cx.phase("back-verify", "Verify").await?;
        cx.run(Verify { trust: "old".into() }).await?;
        Ok(())
    }
}

/// The world before a toy runs.
pub fn first_world(world: &World, toy: &Toy) {
    for host in toy.all() {
        let up = if host.starts_with('c') { "yes" } else { "never" };
        for (item, value) in [("trust", "old"), ("staged", "none"), ("old", "there"), ("up", up)] {
            world.set(&host, item, value);
            world.set(&host, &format!("{item}.link"), value);
        }
    }
}
