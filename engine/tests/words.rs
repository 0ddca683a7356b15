//! An operator's words, the hold, interruptions, and code that does not fit its history.

#![allow(clippy::unwrap_used, reason = "a test may")]
mod common;

use common::clock::block_on;
use common::toy::{Ask, Put, Toy, Window, first_world};
use common::world::{HoldAnswer, World};
use common::{Bench, end_wait, registry, resume, roll_back};
use k0rotate_engine::clock::Clock;
use k0rotate_engine::cx::Cx;
use k0rotate_engine::drive::{Engine, Interruption, Parked, Refused, Rest, Word};
use k0rotate_engine::event::{Event, RollBackCause, StuckCause, Zone};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::{ExecutionId, Incarnation};
use k0rotate_engine::log::faulty::Fault;
use k0rotate_engine::registry::Registry;
use k0rotate_engine::workflow::{Activities, Guard, Halt, HoldCx, HoldFailure, Workflow};
use serde::{Deserialize, Serialize};
use std::time::Duration;

fn begin() -> (Bench, ExecutionId) {
    let toy = Toy::of(3, 2);
    let bench = Bench::default();
    first_world(&bench.world, &toy);
    let id = bench.start(&toy);
    (bench, id)
}

fn pause() -> Word {
    Word::Pause { by: "ada".into(), reason: "lunch".into() }
}

fn events(bench: &Bench, id: &ExecutionId) -> Vec<Event> {
    bench.history(id).into_iter().map(|r| r.event).collect()
}

fn is_paused(rest: &Rest) -> bool {
    matches!(rest, Rest::Stuck { cause: StuckCause::Paused { by, .. }, .. } if by == "ada")
}

/// Drives, and does something else once a step has started.
fn drive_and<T>(bench: &Bench, id: &ExecutionId, step: &str, then: impl AsyncFnOnce(&Engine) -> T) -> (Rest, T) {
    let engine = bench.engine();
    let registry = registry();
    block_on(&bench.clock, async {
        let other = async {
            loop {
                bench.clock.sleep(Duration::from_millis(5)).await;
                let started = |e: &Event| matches!(e, Event::StepStarted { step: s, .. } if s.as_str() == step);
                if engine.history(id).await.unwrap().iter().any(|r| started(&r.event)) {
                    break then(&engine).await;
                }
            }
        };
        futures_util::future::join(engine.drive(id, bench.world.clone(), &registry, None), other).await
    })
}

/// Goal: a pause lets running steps finish and rests paused; nothing starts until resume.
#[test]
fn pause_in_free() {
    let (bench, id) = begin();
    let (rest, said) = drive_and(&bench, &id, "prepare/put@c1", async |engine| engine.say(&id, pause()).await);
    said.expect("it is paused");
    assert!(is_paused(&rest), "{rest:?}");
    let started = events(&bench, &id).iter().filter(|e| matches!(e, Event::StepStarted { .. })).count();
    assert_eq!(started, 2, "{:#?}", bench.events(&id));
    assert!(matches!(bench.drive(&id, None), Rest::Stuck { .. }), "it rests until it is resumed");
    assert!(matches!(bench.drive(&id, Some(resume())), Rest::Waiting { .. }));
}

/// Goal: a pause in Down takes effect once the control plane is up.
#[test]
fn pause_in_down() {
    let (bench, id) = begin();
    let (rest, said) = drive_and(&bench, &id, "stop/put@c1", async |engine| engine.say(&id, pause()).await);
    said.expect("it is paused");
    assert!(is_paused(&rest), "{rest:?}");
    let last_zone = events(&bench, &id).into_iter().rev().find_map(|e| match e {
        Event::ZoneEntered { zone, .. } => Some(zone),
        _ => None,
    });
    assert_eq!(last_zone, Some(Zone::Held));
    assert!(
        !events(&bench, &id)
            .iter()
            .any(|e| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("join")))
    );
}

/// Goal: a roll-back of a running execution, in Free and in Down: running steps finish, and it ends at the first world.
#[test]
fn roll_back_while_it_runs() {
    for step in ["prepare/put@c1", "stop/put@c1", "swap/put@c2", "join/put@w1"] {
        let (bench, id) = begin();
        let first = bench.world.settings();
        let (rest, said) = drive_and(&bench, &id, step, async |engine| engine.say(&id, roll_back()).await);
        said.unwrap_or_else(|e| panic!("{step}: {e}"));
        assert!(matches!(rest, Rest::RolledBack { .. }), "{step}: {rest:?}");
        assert_eq!(bench.world.settings(), first, "{step}");
        let asked = |e: &Event| matches!(e, Event::RollBackStarted { cause: RollBackCause::Asked { .. } });
        assert!(events(&bench, &id).iter().any(asked));
    }
}

/// Goal: a request that the drive could not take any more is refused when the drive ends; nobody waits for an answer for ever.
#[test]
fn a_request_that_comes_too_late() {
    let (bench, id) = begin();
    let (rest, said) = drive_and(&bench, &id, "stop/put@c1", async |engine| {
        // In Down the pause is not taken, and the drive is ended meanwhile.
        let asked = engine.say(&id, pause());
        let ended = async { engine.interrupt(&id) };
        futures_util::future::join(asked, ended).await.0
    });
    assert!(matches!(rest, Rest::Interrupted { .. }), "{rest:?}");
    assert!(matches!(said, Err(Refused::Ended)), "{said:?}");
}

/// Goal: words that the table forbids are refused, and nothing is recorded.
#[test]
fn what_is_not_allowed_now_is_refused() {
    let (bench, id) = begin();
    bench.drive(&id, None);
    let len = events(&bench, &id).len();
    assert!(matches!(bench.drive(&id, Some(resume())), Rest::Refused(Refused::Illegal(_))));
    assert!(matches!(bench.drive(&id, Some(pause())), Rest::Refused(Refused::NotDriven)));
    let other = Word::EndWait { name: "other".into(), by: "ada".into(), reason: String::new() };
    assert!(matches!(bench.drive(&id, Some(other)), Rest::Refused(Refused::Illegal(_))));
    assert_eq!(events(&bench, &id).len(), len);
    assert!(matches!(bench.drive(&id, Some(end_wait())), Rest::Completed { .. }));
    assert!(matches!(bench.drive(&id, Some(roll_back())), Rest::Refused(Refused::Illegal(_))));
}

/// Goal: words for an execution that rests need no drive; those for one that runs are refused if nobody drives it.
#[test]
fn words_without_a_drive() {
    let (bench, id) = begin();
    let say = |word| block_on(&bench.clock, bench.engine().say(&id, word));
    assert!(matches!(say(roll_back()), Err(Refused::NotDriven)));
    bench.drive(&id, None);
    let hosts = vec!["w1".to_owned()];
    say(Word::LeaveBehind { hosts, by: "ada".into(), reason: "gone".into() }).expect("it rests");
    say(end_wait()).expect("it waits");
    assert!(matches!(say(end_wait()), Err(Refused::NotDriven)));
    assert!(matches!(bench.drive(&id, None), Rest::Completed { .. }));
}

/// Goal: the hold is taken at the start, renewed every ten seconds, and let go at rest.
#[test]
fn the_hold_is_renewed() {
    let (bench, id) = begin();
    bench.world.say_no(Ask::NAME, Failure::new("not-yet"));
    bench.drive(&id, None);
    let holds = bench.world.holds.lock().unwrap().clone();
    // The guard is asked for the two minutes that an outage may take.
    assert!((12..17).contains(&holds.len()), "{holds:?}");
    assert_eq!((holds[0].as_str(), holds.last().unwrap().as_str()), ("hold", "let go"));
}

/// Goal: a hold that lapsed starts nothing new and waits for an operator; in Down it is noted and driven on.
#[test]
fn a_lapsed_hold() {
    let (bench, id) = begin();
    *bench.world.hold_answer.lock().unwrap() = Some(HoldAnswer::Lapsed);
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Hold(_), .. }), "{rest:?}");
    assert!(!events(&bench, &id).iter().any(|e| matches!(e, Event::StepStarted { .. })));
    *bench.world.hold_answer.lock().unwrap() = None;
    // Lost in Down and never renewed: it goes on until the control plane is up.
    bench.drive_faulty(&id, Some(resume()), 7, Fault::CrashAfter);
    let view = block_on(&bench.clock, bench.engine().view(&id)).unwrap().unwrap();
    assert!(view.state.is_down() && view.state.leg().open > 0, "{:#?}", bench.events(&id));
    *bench.world.hold_answer.lock().unwrap() = Some(HoldAnswer::Lapsed);
    let rest = bench.drive(&id, Some(resume()));
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Hold(_), .. }), "{rest:?}");
    let view = block_on(&bench.clock, bench.engine().view(&id)).unwrap().unwrap();
    assert_eq!((view.state.zone(), view.down_since()), (Zone::Held, None));
}

/// Goal: a crash in Free with an open step, then a hold that cannot be taken: the step is settled, since Stuck must not leave it open.
#[test]
fn a_lapsed_hold_settles_open_steps() {
    let (bench, id) = begin();
    bench.drive_faulty(&id, None, 2, Fault::CrashBefore);
    *bench.world.hold_answer.lock().unwrap() = Some(HoldAnswer::Lapsed);
    let rest = bench.drive(&id, Some(resume()));
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Hold(_), .. }), "{rest:?} {:#?}", bench.events(&id));
    *bench.world.hold_answer.lock().unwrap() = None;
    assert!(matches!(bench.drive(&id, Some(resume())), Rest::Waiting { .. }));
    assert!(bench.world.broken_rules().is_empty(), "{:?}", bench.world.broken_rules());
}

/// Goal: somebody else's mark ends the drive at once, and nothing is recorded of it.
#[test]
fn a_foreign_hold_ends_the_drive() {
    let (bench, id) = begin();
    *bench.world.hold_answer.lock().unwrap() = Some(HoldAnswer::Foreign);
    assert!(matches!(bench.drive(&id, None), Rest::Foreign(_)));
    assert_eq!(events(&bench, &id).len(), 1);
}

/// Goal: in another world no drive begins and no word is taken: nothing is recorded, and nothing is held there.
#[test]
fn another_world_ends_the_drive_before_its_first_event() {
    let (bench, id) = begin();
    bench.drive(&id, None);
    let (len, holds) = (events(&bench, &id).len(), bench.world.holds.lock().unwrap().len());
    *bench.world.elsewhere.lock().unwrap() = Some(Failure::refused("machine-differs"));
    for word in [Some(end_wait()), Some(roll_back()), None] {
        let rest = bench.drive(&id, word);
        assert!(matches!(rest, Rest::Elsewhere(_)), "{rest:?}");
    }
    assert_eq!((events(&bench, &id).len(), bench.world.holds.lock().unwrap().len()), (len, holds));
    *bench.world.elsewhere.lock().unwrap() = None;
    assert!(matches!(bench.drive(&id, Some(end_wait())), Rest::Completed { .. }));
}

/// Goal: interrupting is as a crash: the state stays, and the next drive goes on. Leaving waits until the control plane is up.
#[test]
fn interruptions() {
    let (bench, id) = begin();
    let (rest, _) = drive_and(&bench, &id, "swap/put@c1", async |engine| engine.interrupt(&id));
    assert!(matches!(rest, Rest::Interrupted { why: Interruption::Asked, down: true }), "{rest:?}");
    let (rest, _) = drive_and(&bench, &id, "swap/put@c1", async |engine| engine.leave_when_up(&id));
    assert!(matches!(rest, Rest::Interrupted { why: Interruption::Asked, down: false }), "{rest:?}");
    assert!(matches!(bench.drive(&id, None), Rest::Waiting { .. }));
    assert!(bench.world.broken_rules().is_empty(), "{:?}", bench.world.broken_rules());
}

/// Goal: whoever claims a history later fences the one before: it writes nothing more.
#[test]
fn a_second_owner_fences_the_first() {
    let (bench, id) = begin();
    let (rest, ()) = drive_and(&bench, &id, "prepare/put@c1", async |_| {
        bench.engine().log().claim(&id).await.expect("claimed");
    });
    assert!(matches!(rest, Rest::Interrupted { why: Interruption::Fenced(_), .. }), "{rest:?}");
    assert!(matches!(bench.drive(&id, None), Rest::Waiting { .. }));
}

/// Goal: an adopted execution rests paused, its open steps settled; in Down it is driven on until the control plane is up.
#[test]
fn adopt() {
    for (at, in_down) in [(2, false), (7, true)] {
        let (bench, id) = begin();
        bench.drive_faulty(&id, None, at, Fault::CrashAfter);
        let adopt = Word::Adopt { by: "ada".into(), reason: "lid".into(), predecessor: Incarnation::new("other") };
        let rest = bench.drive(&id, Some(adopt));
        assert!(is_paused(&rest), "{rest:?} {:#?}", bench.events(&id));
        let view = block_on(&bench.clock, bench.engine().view(&id)).unwrap().unwrap();
        assert_eq!(view.state.zone(), if in_down { Zone::Held } else { Zone::Free });
        assert!(matches!(bench.drive(&id, Some(resume())), Rest::Waiting { .. }));
    }
}

/// Goal: a guard is never remembered: what it said before a crash does not count after it.
#[test]
fn a_guard_is_asked_again_after_a_crash() {
    let (bench, id) = begin();
    // The last append before Down: its intent is not durable, so the guard stands where the history ends.
    let mut at = 0;
    loop {
        at += 1;
        let (other, id) = begin();
        other.drive_faulty(&id, None, at, Fault::CrashBefore);
        if events(&other, &id).iter().filter(|e| matches!(e, Event::StepStarted { .. })).count() == 5
            && other.world.settings().values().filter(|v| *v == "new").count() == 10
        {
            break;
        }
    }
    bench.drive_faulty(&id, None, at, Fault::CrashBefore);
    bench.world.say_no(Window::NAME, Failure::refused("window-passed"));
    let rest = bench.drive(&id, Some(resume()));
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
}

/// The toy with other code under the same name and version.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Other<const KIND: u8>(Toy);

impl<const KIND: u8> Workflow for Other<KIND> {
    const NAME: &'static str = Toy::NAME;
    const VERSION: u32 = Toy::VERSION;
    const VERIFICATION: Option<&'static str> = Toy::VERIFICATION;
    type Env = World;
    type Output = ();

    fn activities() -> Activities<World> {
        Toy::activities()
    }

    async fn hold(&self, env: &World, by: &HoldCx) -> Result<(), HoldFailure> {
        self.0.hold(env, by).await
    }

    async fn let_go(&self, env: &World, by: &HoldCx) {
        self.0.let_go(env, by).await;
    }

    async fn execute(&self, cx: &mut Cx<World>) -> Result<(), Halt> {
        let put = |item: &str, value: &str| Put { host: "c1".into(), item: item.into(), value: value.into() };
        match KIND {
            0 => cx.phase("renamed", "Another phase").await?,
            1 => {
                cx.phase("prepare", "Prepare").await?;
                cx.run(put("staged", "other")).await?;
            }
            2 => panic!("in workflow code"),
            3 => {
                cx.phase("prepare", "Prepare").await?;
                // A workflow must not go on after a halt.
                let _ = cx.run(put("staged", "other")).await;
            }
            _ => {
                cx.phase("prepare", "Prepare").await?;
                cx.phase("prepare", "Prepare").await?;
            }
        }
        Ok(())
    }

    async fn roll_back(&self, cx: &mut Cx<World>) -> Result<(), Halt> {
        self.0.roll_back(cx).await
    }
}

fn drive_other<const KIND: u8>(bench: &Bench, id: &ExecutionId) -> Rest {
    let engine = bench.engine();
    let registry = Registry::new().with::<Other<KIND>>();
    block_on(&bench.clock, engine.drive(id, bench.world.clone(), &registry, None))
}

/// Goal: code that does not fit the history parks with the difference named, and nothing is recorded or changed.
#[test]
fn code_that_does_not_fit_parks() {
    let (bench, id) = begin();
    bench.drive_faulty(&id, None, 3, Fault::CrashAfter);
    let (len, changes) = (events(&bench, &id).len(), bench.world.changes());
    let parked = |rest: Rest| match rest {
        Rest::Parked { why, down: false } => why,
        other => panic!("{other:?}"),
    };
    let difference = parked(drive_other::<0>(&bench, &id));
    assert_eq!(difference.to_string(), "the history has phase prepare where the code asks for phase renamed");
    assert!(matches!(parked(drive_other::<1>(&bench, &id)), Parked::Difference { .. }));
    assert_eq!(parked(drive_other::<2>(&bench, &id)), Parked::Panicked);
    assert_eq!(parked(drive_other::<3>(&bench, &id)), Parked::WentOn);
    assert_eq!(parked(drive_other::<4>(&bench, &id)), Parked::UsedTwice("phase prepare".into()));
    let nothing = Registry::<World>::new();
    let rest = block_on(&bench.clock, bench.engine().drive(&id, bench.world.clone(), &nothing, None));
    assert_eq!(parked(rest), Parked::NoWorkflow("toy".into(), 1));
    assert_eq!((events(&bench, &id).len(), bench.world.changes()), (len, changes));
    assert!(matches!(bench.drive(&id, None), Rest::Waiting { .. }));
}

/// Goal: parked in Down, the registered way back is driven at once; without one the drive says that the control plane is down.
#[test]
fn parked_in_down_goes_back() {
    for at in [6, 7, 8] {
        let (bench, id) = begin();
        let first = bench.world.settings();
        bench.drive_faulty(&id, None, at, Fault::CrashAfter);
        let nothing = Registry::<World>::new();
        let rest = block_on(&bench.clock, bench.engine().drive(&id, bench.world.clone(), &nothing, None));
        assert!(
            matches!(rest, Rest::Parked { why: Parked::NoWorkflow(..), down: true }),
            "{rest:?} {:#?}",
            bench.events(&id)
        );
        let rest = drive_other::<2>(&bench, &id);
        assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
        assert_eq!(bench.world.settings(), first);
        let parked = |e: &Event| matches!(e, Event::RollBackStarted { cause: RollBackCause::Parked });
        assert!(events(&bench, &id).iter().any(parked));
    }
}
