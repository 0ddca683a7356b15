//! `demo --chaos SEED`: the tool is killed at points drawn from the seed and started again until it ends; then its end is compared with
//! that of an undisturbed run.

mod draw;
mod tool;

use super::rotation;
use super::stand::Stand;
use crate::confirm::counted;
use crate::error::Error;
use crate::exit::Exit;
use crate::open::who;
use crate::runtime::Runtime;
use draw::{Course, Draw};
use k0rotate_activities::rehearsal::likeness::{First, Likeness};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::{Start, Word};
use k0rotate_engine::execution::{Side, Status};
use k0rotate_engine::view::ExecutionView;
use std::path::Path;
use std::time::{Duration, Instant};
use tool::{End, Tool};

/// After so many kills the tool is let go on to its end.
const MOST_KILLS: u32 = 12;
/// A tool that is let go on ends in a few runs; more than this is no end.
const MOST_RUNS: u32 = MOST_KILLS + 8;
/// All runs together may take so long, by the clock on the wall.
const MOST_TIME: Duration = Duration::from_mins(10);
/// What is still under way when the tool has ended (certificates being signed, Leases) is over after so long, in the world's time.
const SETTLED: Duration = Duration::from_mins(10);
/// More differences than this are not printed.
const SHOWN: usize = 20;

/// The verb. Exit status 0 only if the ends agree, else 8.
pub async fn run(plan: &FleetPlan, seed: u64, below: &Path) -> Result<Exit, Error> {
    let mut draw = Draw::new(seed);
    let course = draw.course();
    eprintln!("· seed {seed}: {course}");
    let stage = Stage::new(plan);
    let first = First::of(&stage.world);
    let begun = Likeness::of(&stage.world, &first);
    let expected = undisturbed(plan, stage.clone(), &first, course).await?;
    let dir = below.join("demo").join(format!("chaos-{seed}-{}", std::process::id()));
    let tool = Tool::default();
    let stand = Stand::new(&dir, plan, stage, tool.killer())?;
    let kills = match torment(&stand, &tool, &mut draw, course).await? {
        Ok(kills) => kills,
        Err(why) => return Ok(differs(seed, &stand, &[why])),
    };
    let (status, found) = (status(&stand).await?, settled(&mut stand.stage(), &first));
    let mut wrong = expected.1.differences(&found);
    // Back is back: not what a way back leaves, but what was there before anything was done.
    if expected.0 == "RolledBack" {
        wrong.extend(begun.trust_differences(&found));
        wrong.extend(begun.object_differences(&found));
    }
    if status != expected.0 {
        wrong.insert(0, format!("the execution is {status} instead of {}", expected.0));
    }
    if !wrong.is_empty() {
        return Ok(differs(seed, &stand, &wrong));
    }
    println!(
        "Seed {seed}: killed {} and resumed, it is {status} as undisturbed; all {} trust files agree in path, kind, mode, owner and signer.",
        counted(kills as usize, "time"),
        found.trust_files()
    );
    drop(stand);
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Exit::Done)
}

fn differs(seed: u64, stand: &Stand, wrong: &[String]) -> Exit {
    wrong.iter().take(SHOWN).for_each(|line| println!("differs: {line}"));
    println!(
        "Seed {seed}: the end differs from that of an undisturbed run. What it left is in {}",
        stand.dir().display()
    );
    Exit::Differs
}

/// How the same course ends without a kill: the execution's state, and the fleet.
async fn undisturbed(
    plan: &FleetPlan,
    stage: Stage,
    first: &First,
    course: Course,
) -> Result<(&'static str, Likeness), Error> {
    let (runtime, rehearsal) = Runtime::rehearsed(plan, stage, "demo@here")?;
    let start = Start { subject: "rehearsal".into(), by: who(), reason: "chaos".into() };
    let execution = runtime.engine.start(&rotation(plan), start).await.map_err(|e| Error::Log(e.to_string()))?;
    runtime.drive(&execution, None, |_, _| ()).await;
    let (by, reason) = (who(), "chaos".to_owned());
    let word = match course {
        Course::Forward => None,
        Course::Finalize => Some(Word::EndWait { name: "finalize".into(), by, reason }),
        Course::BackFromWaiting | Course::BackAfter(_) => Some(Word::RollBack { by, reason }),
    };
    if word.is_some() {
        runtime.drive(&execution, word, |_, _| ()).await;
    }
    let view = runtime.view(&execution).await.ok_or_else(|| Error::Log("the history cannot be read".into()))?;
    Ok((view.state.status.name(), rehearsal.stage(|stage| settled(stage, first))))
}

fn settled(stage: &mut Stage, first: &First) -> Likeness {
    stage.pass(SETTLED);
    Likeness::of(&stage.world, first)
}

/// Runs the tool, plans its next end, and starts it again until nothing is left to do. Gives the number of kills, or why there is no end.
async fn torment(stand: &Stand, tool: &Tool, draw: &mut Draw, course: Course) -> Result<Result<u32, String>, Error> {
    let (mut kills, begun) = (0, Instant::now());
    for _ in 0..MOST_RUNS {
        let view = view(stand).await?;
        let Some(verb) = next(view.as_ref(), course, kills) else { return Ok(Ok(kills)) };
        if kills < MOST_KILLS {
            draw.plan_end(&mut stand.stage().faults);
        }
        let left = MOST_TIME.saturating_sub(begun.elapsed());
        let end = tool.run(stand, verb, left).await?;
        stand.stage().faults.forget_plans();
        match end {
            End::Killed => kills += 1,
            End::By(_) => (),
            End::TooLate => return Ok(Err(format!("{verb} did not end within {} s", tool::MOST_TIME.as_secs()))),
        }
        eprintln!("· {verb}: {end}");
    }
    Ok(Err(format!("no end after {MOST_RUNS} runs")))
}

/// What an operator who wants this course says next; nothing if it is at its end.
fn next(view: Option<&ExecutionView>, course: Course, kills: u32) -> Option<&'static str> {
    let Some(view) = view else { return Some("rotate") };
    match (&view.state.status, course) {
        (Status::Completed | Status::RolledBack, _) | (Status::Waiting { .. }, Course::Forward) => None,
        (Status::Waiting { .. }, Course::Finalize) => Some("finalize"),
        (Status::Waiting { .. }, Course::BackFromWaiting | Course::BackAfter(_)) => Some("rollback"),
        (Status::New | Status::Running | Status::Stuck { side: Side::Forward, .. }, Course::BackAfter(after))
            if kills >= after =>
        {
            Some("rollback")
        }
        _ => Some("resume"),
    }
}

/// What the history says that the tool left; none if it was killed before its first event.
async fn view(stand: &Stand) -> Result<Option<ExecutionView>, Error> {
    let found = match stand.source() {
        Ok(source) if source.is_held() => return Err(Error::Held("a tool that should have ended".into())),
        Ok(source) => source.find(None).await,
        Err(error) => Err(error),
    };
    match found {
        Ok((_, _, view)) => Ok(Some(view)),
        Err(Error::NoRun(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn status(stand: &Stand) -> Result<&'static str, Error> {
    Ok(view(stand).await?.map_or("New", |view| view.state.status.name()))
}
