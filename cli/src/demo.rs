//! Rotates the trust of a simulated cluster and shows it: no machines, nothing on any network is touched.

mod chaos;
mod hand;
mod shell;
pub mod stand;

use crate::args::DemoArgs;
use crate::commands::quoted;
use crate::confirm::counted;
use crate::error::Error;
use crate::exit::Exit;
use crate::private;
use crate::render::live::Live;
use crate::render::rfc3339;
use crate::report;
use crate::runtime::Runtime;
use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::drive::{Rest, Start};
use k0rotate_workflows::rotate::Rotate;
use std::path::{Path, PathBuf};

/// Workers, at the most: there is no forecast of larger fleets either.
pub const MOST_HOSTS: usize = 110;

/// A fleet from `C+W`, with the join tokens that whoever added hosts would have left behind.
pub fn plan(hosts: &str) -> Result<FleetPlan, Error> {
    let wrong = || Error::Usage(format!("--hosts takes controllers and workers as C+W, for example 3+2; not {hosts}"));
    let (controllers, workers) = hosts.split_once('+').ok_or_else(wrong)?;
    let controllers: usize = controllers.parse().map_err(|_| wrong())?;
    let workers: usize = workers.parse().map_err(|_| wrong())?;
    if !(1..=7).contains(&controllers) || workers > MOST_HOSTS {
        return Err(Error::Usage(format!(
            "a demo has 1 to 7 controllers and at most {MOST_HOSTS} workers; not {hosts}"
        )));
    }
    let named = |letter: char, role: Role, count: usize| {
        (1..=count).map(move |i| (format!("{letter}{i}"), role)).collect::<Vec<_>>()
    };
    let mut all = named('c', Role::Controller, controllers);
    all.extend(named('w', Role::Worker, workers));
    let hosts: Vec<(&str, Role)> = all.iter().map(|(name, role)| (name.as_str(), *role)).collect();
    Ok(FleetPlan { worker_tokens: 1, controller_tokens: 1, ..FleetPlan::of(&hosts) })
}

/// What a rotation of a planned fleet is asked for, all else by default.
pub fn rotation(plan: &FleetPlan) -> Rotate {
    Rotate::of(plan.hosts.iter().map(PlannedHost::member).collect())
}

/// The verb.
pub async fn run(args: &DemoArgs, state: &Path) -> Result<Exit, Error> {
    // A report that somebody reads beside their clock.
    let plan = FleetPlan { start: SystemClock::default().now(), ..plan(&args.hosts)? };
    present(&plan);
    match args.chaos {
        Some(seed) => Box::pin(chaos::run(&plan, seed, state)).await,
        None if args.shell => shell::run(&plan, state).await,
        None => watch(&plan, state).await,
    }
}

fn present(plan: &FleetPlan) {
    let (controllers, workers): (Vec<_>, Vec<_>) = plan.hosts.iter().partition(|h| h.role.is_controller());
    eprintln!(
        "· rehearsal fleet: {}, {}, k0s {} (a model; nothing on your network is touched)",
        counted(controllers.len(), "controller"),
        counted(workers.len(), "worker"),
        plan.version
    );
}

/// The program's own path, unless a shell finds it as `k0rotate`.
fn not_on_path() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs).map(|dir| dir.join("k0rotate")).find(|path| path.is_file());
    let same = found.and_then(|path| path.canonicalize().ok()) == own.canonicalize().ok();
    (!same).then_some(own)
}

/// Rotates it once, before the eyes of whoever typed it.
async fn watch(plan: &FleetPlan, state: &Path) -> Result<Exit, Error> {
    let (runtime, _) = Runtime::rehearsed(plan, Stage::new(plan), "demo@here")?;
    let start = Start { subject: "a simulated cluster".into(), by: "demo".into(), reason: "to see a rotation".into() };
    let execution = runtime.engine.start(&rotation(plan), start).await.map_err(|e| Error::Log(e.to_string()))?;
    let mut live = Live::default();
    let rest =
        runtime.drive(&execution, None, |record, _| live.add(record).iter().for_each(|l| eprintln!("{l}"))).await;
    let view = runtime.view(&execution).await.ok_or_else(|| Error::Log("the history cannot be read".into()))?;
    let folder = state.join("demo").join(execution.as_str());
    let file = folder.join("report.md");
    private::dir(&folder)?;
    private::write(&file, report::markdown(&view, &[]).as_bytes())?;
    match rest {
        Rest::Waiting { .. } => {
            println!("Rotated. Proof: {}. The old keys are kept until finalize.", report::proof::in_short(&view));
            println!("Report: {}", file.display());
            println!("What next:");
            if let Some(own) = not_on_path() {
                println!("  alias k0rotate={}", quoted(&own.display().to_string()));
            }
            println!("{NEXT}");
            Ok(Exit::Done)
        }
        other => {
            println!("The demo ended otherwise at {}: {}", rfc3339(view.last), report::state(&view));
            println!("Report: {}", file.display());
            tracing::debug!(?other, "how the drive ended");
            Ok(Exit::NeedsPerson)
        }
    }
}

const NEXT: &str = "  k0rotate demo --chaos 7              the same, killed at random points and resumed
  k0rotate demo --shell                a fleet that stays up, with a k0sctl.yaml: try plan, rotate, kill -9, rollback
  k0rotate keys new                    an identity to which new keys and backups are sealed
  k0rotate inspect -c k0sctl.yaml      what trust your own cluster has, and until when; changes nothing
  k0rotate plan -c k0sctl.yaml         what a rotation would do to it, and for how long its API is away; changes nothing
  k0rotate rotate -c k0sctl.yaml       your own cluster; asks before anything is stopped";
