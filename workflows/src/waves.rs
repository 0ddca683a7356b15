//! A fleet: clusters that are rotated in waves, the first ones before the others, until too many have failed.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use k0rotate_activities::clusters::begin_rotation::{Began, BeginRotation};
use k0rotate_activities::clusters::finalize_cluster::{FinalizeCluster, Finalized};
use k0rotate_activities::clusters::follow::Follow;
use k0rotate_activities::clusters::plan_cluster::PlanCluster;
use k0rotate_activities::clusters::{Child, How, Planned, Reach};
use k0rotate_engine::cx::Cx;
use k0rotate_engine::event::Zone;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::workflow::{Activities, Halt, HoldCx, HoldFailure, Workflow};
use serde::{Deserialize, Serialize};

/// Clusters looked at, or finalized, at the same time.
const AT_ONCE: usize = 8;
/// The phase in which all are planned.
pub const PLAN: &str = "plan";
/// How waits for an approval begin; the wave's slug follows.
pub const APPROVAL_OF: &str = "approval-";
/// How waits begin at which as many have failed as may; a number follows.
pub const LIMIT: &str = "limit-";

/// The input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// By which labels they were chosen, as it was typed.
    pub selector: String,
    /// All clusters, in the order in which they begin.
    pub clusters: Vec<String>,
    /// How many are in each wave; a last one takes all that are left.
    pub waves: Vec<Size>,
    /// At so many that are stuck, went back or were refused no new one begins; at least 1.
    pub max_failed: usize,
    /// Rotations under way at the same time; at least 1.
    pub at_once: usize,
}

/// How many clusters a wave has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// So many.
    Of(usize),
    /// All that are left.
    Rest,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = || text.parse().ok().filter(|count| *count > 0).map(Self::Of);
        if text == "rest" { Some(Self::Rest) } else { count() }
            .ok_or_else(|| format!("{text} is neither a number of clusters nor `rest`"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(count) => count.fmt(f),
            Self::Rest => f.write_str("rest"),
        }
    }
}

/// A cluster that can be rotated, and by which plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Its name.
    pub cluster: String,
    /// The digest of its plan.
    pub plan: String,
    /// Whether somebody else must approve it.
    pub approval: bool,
}

/// What a fleet ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Clusters whose rotation was begun.
    pub begun: usize,
    /// Of all in waves: stuck, gone back or refused.
    pub failed: usize,
}

/// What is counted on the way.
struct Course {
    ends: Ends,
    /// So many may fail before a person is asked.
    may_fail: usize,
    /// How often one was.
    asked: usize,
}

impl Course {
    fn is_at_its_limit(&self) -> bool {
        self.ends.failed >= self.may_fail
    }
}

/// The slug of a wave's phase, both numbers from 1: it is asked for once more where plans no longer fitted.
pub fn slug(wave: usize, round: usize) -> String {
    if round == 1 { format!("wave-{wave}") } else { format!("wave-{wave}-round-{round}") }
}

impl Workflow for Waves {
    const NAME: &'static str = "fleet";
    const VERSION: u32 = 1;
    type Env = Reach;
    type Output = Ends;

    fn activities() -> Activities<Reach> {
        Activities::new().with::<PlanCluster>().with::<BeginRotation>().with::<Follow>()
    }

    async fn hold(&self, _env: &Reach, _by: &HoldCx) -> Result<(), HoldFailure> {
        Ok(())
    }

    async fn let_go(&self, _env: &Reach, _by: &HoldCx) {}

    async fn execute(&self, cx: &mut Cx<Reach>) -> Result<Ends, Halt> {
        cx.zone(Zone::Final, "each cluster goes back by itself, the fleet never").await?;
        cx.phase(PLAN, "Plan all clusters").await?;
        let (fits, _) = plan(cx, self.clusters.clone()).await?;
        let mut course = Course { ends: Ends::default(), may_fail: self.max_failed, asked: 0 };
        for (at, wave) in self.cut(fits).into_iter().enumerate() {
            self.wave(cx, at + 1, wave, &mut course).await?;
        }
        Ok(course.ends)
    }
}

impl Waves {
    /// Those that can be rotated, in waves: none of them is empty.
    pub fn cut(&self, fits: Vec<Fit>) -> Vec<Vec<Fit>> {
        let mut left = fits.into_iter().peekable();
        let mut waves = Vec::new();
        for size in &self.waves {
            let most = match size {
                Size::Of(count) => *count,
                Size::Rest => usize::MAX,
            };
            if left.peek().is_some() {
                waves.push(left.by_ref().take(most).collect());
            }
        }
        waves
    }

    /// Rotates a wave, and once more those whose plan no longer fitted, until there are none.
    async fn wave(
        &self,
        cx: &mut Cx<Reach>,
        number: usize,
        mut wave: Vec<Fit>,
        course: &mut Course,
    ) -> Result<(), Halt> {
        for round in 1.. {
            let slug = slug(number, round);
            if round > 1 {
                cx.phase(&format!("{PLAN}-{slug}"), &format!("Plan again what no longer fitted in wave {number}"))
                    .await?;
                let (fits, refused) = plan(cx, wave.into_iter().map(|fit| fit.cluster).collect()).await?;
                course.ends.failed += refused;
                wave = fits;
            }
            keep_wanted(cx, &mut wave);
            if wave.is_empty() {
                return Ok(());
            }
            self.within_its_limit(cx, course).await?;
            if round > 1 || wave.iter().any(|fit| fit.approval) {
                cx.wait_for(&format!("{APPROVAL_OF}{slug}"), None).await?;
                keep_wanted(cx, &mut wave);
            }
            if wave.is_empty() {
                return Ok(());
            }
            cx.phase(&slug, &format!("Rotate wave {number}")).await?;
            wave = self.rotate(cx, wave, course).await?;
            if wave.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Begins one after another while others run, and waits for all; gives those whose plan no longer fitted.
    async fn rotate(&self, cx: &mut Cx<Reach>, wave: Vec<Fit>, course: &mut Course) -> Result<Vec<Fit>, Halt> {
        let (mut queue, mut running, mut again) = (VecDeque::from(wave), Vec::<Child>::new(), Vec::new());
        for number in 1.. {
            while let Some(fit) = queue.pop_front_if(|_| running.len() < self.at_once.max(1)) {
                self.within_its_limit(cx, course).await?;
                let (cluster, plan) = (fit.cluster.clone(), fit.plan.clone());
                match cx.run(BeginRotation { cluster: cluster.clone(), plan: plan.clone() }).await? {
                    Began::Begun { child } => {
                        course.ends.begun += 1;
                        running.push(Child { cluster, execution: child, plan });
                    }
                    Began::NoLongerFits => again.push(fit),
                    Began::Refused { .. } => course.ends.failed += 1,
                }
            }
            if running.is_empty() {
                break;
            }
            for rested in cx.run(Follow { number, children: running.clone() }).await? {
                running.retain(|child| child.cluster != rested.cluster);
                course.ends.failed += usize::from(matches!(rested.how, How::Stuck | How::RolledBack));
            }
        }
        Ok(again)
    }

    /// Where as many have failed as may, a person decides before the next one begins; what runs goes on.
    async fn within_its_limit(&self, cx: &mut Cx<Reach>, course: &mut Course) -> Result<(), Halt> {
        if course.is_at_its_limit() {
            course.asked += 1;
            cx.wait_for(&format!("{LIMIT}{}", course.asked), None).await?;
            course.may_fail = course.ends.failed + self.max_failed.max(1);
        }
        Ok(())
    }
}

/// Looks at these; gives those that can be rotated, and how many would be refused.
async fn plan(cx: &mut Cx<Reach>, clusters: Vec<String>) -> Result<(Vec<Fit>, usize), Halt> {
    let looks = clusters.iter().map(|cluster| PlanCluster { cluster: cluster.clone() }).collect();
    let found = cx.run_all(looks, AT_ONCE).await?;
    let fit = |(cluster, planned): (String, Planned)| match planned {
        Planned::Fits { digest, approval } => Some(Fit { cluster, plan: digest, approval }),
        Planned::Refused { .. } => None,
    };
    let all = clusters.len();
    let fits: Vec<Fit> = clusters.into_iter().zip(found).filter_map(fit).collect();
    let refused = all - fits.len();
    Ok((fits, refused))
}

/// Without those that somebody declined.
fn keep_wanted(cx: &Cx<Reach>, wave: &mut Vec<Fit>) {
    let declined = cx.left_behind();
    wave.retain(|fit| !declined.contains(&fit.cluster));
}

/// The end of all rotations of a fleet that wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalizeAll {
    /// The fleet.
    pub fleet: ExecutionId,
    /// Those that wait.
    pub children: Vec<Child>,
}

impl Workflow for FinalizeAll {
    const NAME: &'static str = "fleet-finalize";
    const VERSION: u32 = 1;
    type Env = Reach;
    /// How many were not.
    type Output = usize;

    fn activities() -> Activities<Reach> {
        Activities::new().with::<FinalizeCluster>()
    }

    async fn hold(&self, _env: &Reach, _by: &HoldCx) -> Result<(), HoldFailure> {
        Ok(())
    }

    async fn let_go(&self, _env: &Reach, _by: &HoldCx) {}

    async fn execute(&self, cx: &mut Cx<Reach>) -> Result<usize, Halt> {
        cx.zone(Zone::Final, "what is destroyed is destroyed").await?;
        cx.phase("finalize", "Finalize what waits for it").await?;
        let ends = self.children.iter().map(|child| FinalizeCluster { child: child.clone() }).collect();
        let ends = cx.run_all(ends, AT_ONCE).await?;
        Ok(ends.iter().filter(|end| **end != Finalized::Done).count())
    }
}
