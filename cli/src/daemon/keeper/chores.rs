//! What the daemon does by the clock, between drives: rotations that are due, reminders of finalize, windows that passed unapproved.

use super::{Keeper, Open};
use crate::approval;
use crate::args::Options;
use crate::beside;
use crate::calendar::Look;
use crate::commands::Commands;
use crate::config::keys;
use crate::daemon::notify::notice::Notice;
use crate::error::Error;
use crate::open;
use crate::plan::agreed::Before;
use crate::plan::asked::asked;
use crate::plan::look::Eyes;
use crate::plan::text::about;
use crate::plan::window::{missed, missed_reason};
use crate::plan::{self, digest};
use crate::policy::{self, Due, Policy};
use crate::render::rfc3339;
use crate::source::Source;
use crate::telemetry::sent::replace;
use crate::wish::{self, Begun, Course, Ground, Say, Wish};
use k0rotate_activities::fleet::Root;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether something is due.
pub const EVERY: Duration = Duration::from_hours(1);
/// A rotation is begun by itself so long before its window at the earliest: from then on the cluster is held, and its join tokens are revoked.
const LEAD: Duration = Duration::from_hours(24);
/// What could not be done by itself is tried again after this.
const AGAIN: Duration = Duration::from_hours(24);

/// What was told and tried, in the folder of the store: each is told once, whichever daemon lives.
const FILE: &str = "policy.json";
/// The only format so far.
const FORMAT: u32 = 1;

/// See [`FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    format: u32,
    /// The root for which a rotation is due.
    due: Option<String>,
    /// Reminders of each execution that waits for finalize.
    reminded: BTreeMap<ExecutionId, u64>,
    /// What was tried by itself and refused, and when.
    refused: BTreeMap<String, Timestamp>,
}

impl Told {
    /// One that is not ours is one that was never written.
    fn read(dir: &Path) -> Self {
        let told = std::fs::read(dir.join(FILE)).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        told.filter(|told| told.format == FORMAT).unwrap_or_else(|| Self { format: FORMAT, ..Self::default() })
    }

    fn write(&self, dir: &Path) {
        let written = serde_json::to_vec(self).map_err(|e| e.to_string());
        let written = written.and_then(|bytes| replace(&dir.join(FILE), &bytes).map_err(|e| e.to_string()));
        if let Err(why) = written {
            tracing::error!(dir = %dir.display(), "{FILE} cannot be written, so that what is told is told again: {why}");
        }
    }
}

/// What is to be done by itself.
struct Errand {
    /// What it is called where it is refused.
    what: &'static str,
    wish: Wish,
    reason: String,
}

impl Keeper {
    /// Tells what is due and was not told yet, and does what the policies let it do. Gives back what is open still.
    pub(super) async fn chores(&self, open: Option<Open>) -> Option<Open> {
        let open = open?;
        let dir = open::cluster_dir(&self.state, &open.inventory);
        let source = Source::opened(open.runtime.engine.log().clone());
        let views = match source.views().await {
            Ok(views) => views,
            Err(error) => {
                tracing::error!(cluster = self.name, "what is due is not known: {}", error.sentence());
                return Some(open);
            }
        };
        let (policy, now) = (Policy::of(&self.global.settings, &self.name), open.runtime.fleet.clock.now());
        let was = Told::read(&dir);
        let mut told = was.clone();
        self.remind(&mut told, &views, policy, now);
        let errand = match errand_of(&views, policy, now) {
            Some(errand) => Some(errand),
            None => self.rotation(&open, &mut told, &views, policy, now).await,
        };
        let errand = errand.filter(|errand| {
            let tried = told.refused.get(errand.what);
            !self.shared.is_leaving() && tried.is_none_or(|at| now.since(*at) >= AGAIN)
        });
        let Some(errand) = errand else {
            if told != was {
                told.write(&dir);
            }
            return Some(open);
        };
        let what = errand.what;
        match Box::pin(self.begin_by_itself(&open, errand)).await {
            Ok(course) => {
                told.refused.remove(what);
                told.write(&dir);
                Box::pin(self.drive(open, course)).await
            }
            Err(error) => {
                tracing::error!(cluster = self.name, "{what}: {}", error.sentence());
                self.ring("policy-refused", format!("{}: {what} was refused: {error}", self.name));
                told.refused.insert(what.to_owned(), now);
                told.write(&dir);
                Some(open)
            }
        }
    }

    /// Tells of those that wait for finalize, once for each time that the policy has passed.
    fn remind(&self, told: &mut Told, views: &[ExecutionView], policy: Policy, now: Timestamp) {
        told.reminded.retain(|execution, _| {
            views.iter().any(|view| view.execution == *execution && policy::waits_for_finalize(view).is_some())
        });
        for view in views {
            let due = policy.reminders(view, now);
            let known = told.reminded.get(&view.execution).copied().unwrap_or(0);
            // Those that nobody was there to tell are one.
            if due <= known {
                continue;
            }
            told.reminded.insert(view.execution.clone(), due);
            let ends = policy
                .finalizes_at(view)
                .map_or_else(String::new, |at| format!("; it is finalized by itself at {}", rfc3339(at)));
            let says = format!(
                "{} of {} waits for finalize since {}: the old keys are kept until then{ends}",
                view.execution,
                self.name,
                rfc3339(view.since)
            );
            tracing::warn!(cluster = self.name, execution = %view.execution, "{says}");
            self.ring("finalize-reminder", says);
        }
    }

    /// A rotation that is due: told with its plan, once; begun if that is wanted, shortly before its window.
    async fn rotation(
        &self,
        open: &Open,
        told: &mut Told,
        views: &[ExecutionView],
        policy: Policy,
        now: Timestamp,
    ) -> Option<Errand> {
        let settings = &self.global.settings;
        let rotate = asked(settings, &open.inventory, &Options::plain()).ok()?;
        let roots: Vec<&str> = rotate.roots.iter().copied().map(Root::name).collect();
        let look = Look::read(&open::cluster_dir(&self.state, &open.inventory))?;
        let Some(due) = policy.due(&look, &roots, now) else {
            told.due = None;
            return None;
        };
        let is_open =
            |view: &ExecutionView| beside::A_ROTATION.contains(&view.workflow.as_str()) && !view.state.status.ended();
        if views.iter().any(is_open) {
            return None;
        }
        if told.due.as_ref() != Some(&due.key) {
            let says = self.proposal(open, &rotate, &due).await?;
            tracing::warn!(cluster = self.name, "{says}");
            let to = [keys::WHO_APPROVE, keys::WHO_OPERATE].map(|key| settings.texts(Some(&self.name), key)).concat();
            self.bell.ring(settings, Notice::new(&self.name, "rotation-due", says).to(&to));
            told.due = Some(due.key);
        }
        let window = settings.windows_for(&self.name, &rotate, now).into_iter().next();
        let soon = window.is_some_and(|(from, _)| from <= now.plus(LEAD));
        let wish = Wish::Rotate { options: Box::new(Options::plain()), plan: None };
        (policy.unattended && soon && !failed_by_itself(views)).then_some(Errand {
            what: "a rotation that is due",
            wish,
            reason: due.why,
        })
    }

    /// The plan of it, as people are told; none where the cluster cannot be looked at now.
    async fn proposal(&self, open: &Open, rotate: &Rotate, due: &Due) -> Option<String> {
        let (inventory, runtime) = (&open.inventory, &open.runtime);
        let (hosts, rehearsal) = (&runtime.fleet.hosts, runtime.rehearsal.as_ref());
        let eyes = Eyes { inventory, hosts, rehearsal, at_once: open::at_once(&self.global, inventory) };
        let survey = eyes.look(rotate).await.ok()?;
        let settings = &self.global.settings;
        let windows = settings.windows_for(&self.name, rotate, survey.at);
        let plan = Box::pin(plan::make(inventory, rotate, &windows, &survey)).await;
        let name = &self.name;
        let why = format!("a rotation of {name} is due: {}", due.why);
        let Some(digest) = &plan.digest else {
            let refused =
                plan.refusals.first().map_or("not all of it can be looked at", |refusal| refusal.what.as_str());
            return Some(format!("{why}. It would be refused now: {refused}"));
        };
        let digest = &digest[..digest::SHOWN.min(digest.len())];
        let away = plan.forecast.as_ref().map_or_else(String::new, |forecast| {
            format!(", the API away for about {}", about(forecast.forward.api_down_ms))
        });
        let window = plan.not_before.map_or_else(String::new, |from| format!(", in the window from {}", rfc3339(from)));
        let begins = if Policy::of(settings, name).unattended {
            "begins by itself shortly before its window"
        } else {
            "begins once somebody says so"
        };
        Some(format!("{why}. Plan {digest}{away}{window}; it {begins}: k0rotate approve {name} --plan {digest}"))
    }

    async fn begin_by_itself(&self, open: &Open, errand: Errand) -> Result<Course, Error> {
        let (runtime, inventory) = (&open.runtime, &open.inventory);
        let commands = Commands::default();
        let ground = Ground { global: &self.global, inventory, runtime, commands: &commands };
        let ready = wish::ready(&ground, &errand.wish, &|| Ok(Before::Nobody)).await?;
        let by = format!("{}@{}", policy::WHO, open::machine());
        tracing::info!(
            cluster = self.name,
            reason = errand.reason,
            "is begun by itself: {}",
            super::name_of(&errand.wish)
        );
        match wish::go(&ground, ready, by, errand.reason).await? {
            Begun::Course(course) | Begun::Said(_, course) => Ok(course),
            Begun::Done(what) => Err(Error::Word(what)),
            Begun::Rests(execution) => Err(Error::Word(format!("{execution} has nothing to go on with"))),
        }
    }
}

/// What is to be done about an execution that rests.
fn errand_of(views: &[ExecutionView], policy: Policy, now: Timestamp) -> Option<Errand> {
    let word = |view: &ExecutionView, say| {
        let run = Some(view.execution.to_string());
        Wish::Word { run, say, plan: None, leaked: false }
    };
    let unapproved = views.iter().filter(|view| approval::is_waited_for(view));
    let passed = unapproved.filter_map(|view| Some((view, missed(view, now)?))).map(|(view, until)| Errand {
        what: "the way back of a rotation that missed its window",
        wish: word(view, Say::RollBack),
        reason: missed_reason(until),
    });
    let waited = views.iter().filter(|view| policy.finalizes_at(view).is_some_and(|at| at <= now)).map(|view| Errand {
        what: "finalize by its policy",
        wish: word(view, Say::Finalize),
        reason: format!("finalize.after: it waited since {}", rfc3339(view.since)),
    });
    passed.chain(waited).next()
}

/// Whether the last rotation was begun by itself and came back: the next one is a person's to begin.
fn failed_by_itself(views: &[ExecutionView]) -> bool {
    let last = views.iter().rfind(|view| view.workflow == "rotate");
    last.is_some_and(|view| view.by.starts_with(policy::WHO) && view.state.status == Status::RolledBack)
}
