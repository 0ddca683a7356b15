//! The verb `plan`: what a rotation would do, what is down how long, who must be told, and the digest that `rotate --plan` insists on.
//!
//! Modules in reading order. Everything here looks; nothing on any host is changed.

pub mod look;

pub mod asked;

pub mod result;

pub mod model;

pub mod forecast;

pub mod digest;

pub mod window;

pub mod affected;

pub mod command;

pub mod text;

pub mod agreed;

pub mod back;

use crate::approval;
use crate::args::{Format, Global, PlanArgs};
use crate::beside;
use crate::break_glass;
use crate::calendar::Look;
use crate::error::Error;
use crate::exit::Exit;
use crate::last::LastMoment;
use crate::look::print;
use crate::open;
use crate::own_ca;
use crate::policy::Policy;
use crate::seals;
use crate::survey::Survey;
use affected::Affected;
use forecast::Forecast;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::host::ssh::HostKeys;
use k0rotate_activities::inventory::Inventory;
use k0rotate_workflows::rotate::Rotate;
use look::Eyes;
use result::{Plan, PlannedHost, Refusal};
use std::path::Path;
use window::{Between, Window};

/// The verb.
pub async fn run(global: &Global, state: &Path, args: &PlanArgs) -> Result<Exit, Error> {
    let named = args.cluster.as_deref();
    if let Some(run) = &args.rollback {
        let inventory = match named {
            Some(_) => open::cluster(global, named)?,
            None => open::cluster_of(global, state, Some(run)).await?,
        };
        return Box::pin(back::run(global, state, &inventory, run)).await;
    }
    let inventory = open::cluster(global, named)?;
    let mut rotate = asked::asked(&global.settings, &inventory, &args.options)?;
    rotate.own_cas = own_ca::public(&own_ca::read(&args.options.own_ca, &rotate.roots)?);
    let host_keys = if args.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Known };
    let (hosts, rehearsal) = open::hosts(&global.settings, &inventory, host_keys)?;
    let eyes = Eyes {
        inventory: &inventory,
        hosts: &hosts,
        rehearsal: rehearsal.as_ref(),
        at_once: open::at_once(global, &inventory),
    };
    let survey = eyes.look(&rotate).await?;
    asked::window_ahead(&rotate, survey.at)?;
    let windows = global.settings.windows_for(&inventory.name, &rotate, survey.at);
    eprintln!("· looked at {} hosts; running the rotation on a model of them", survey.hosts.len());
    let mut plan = make(&inventory, &rotate, &windows, &survey).await;
    let look = Look::of(&inventory, &survey, None);
    let roots: Vec<&str> = rotate.roots.iter().copied().map(Root::name).collect();
    let due = Policy::of(&global.settings, &inventory.name).due(&look, &roots, survey.at);
    plan.warnings.extend(due.map(|due| format!("a rotation is due: {}", due.why)));
    plan.warnings.extend(look::missed(global, state, &inventory).await?);
    if let Some(refusal) = look::beside(global, state, &inventory, beside::A_ROTATION).await? {
        plan.refuse(refusal);
    }
    plan.approval = approval::ahead(&global.settings, &inventory.name, &rotate);
    plan.warnings.extend(rotate.break_glass.and_then(|_| break_glass::untold(&global.settings, &inventory.name)));
    seal(global, &inventory.name, &mut plan);
    plan.go_on = plan.digest.as_ref().map(|digest| command::rotate(global, named, &args.options, digest));
    let value = serde_json::to_value(&plan).map_err(|e| Error::Usage(e.to_string()))?;
    if global.output == Format::Notice {
        print!("{}", text::notice(&plan));
    } else {
        print(global.output, &value, || text::table(&plan))?;
    }
    Ok(exit(&plan.refusals))
}

/// The plan of a rotation, from what was seen, in the first of these windows that has room for it.
pub async fn make(inventory: &Inventory, rotate: &Rotate, windows: &[Between], survey: &Survey) -> Plan {
    let version = |name: &str| {
        let facts = survey.hosts.get(name).and_then(|found| found.as_ref().ok());
        facts.map(|facts| facts.host.version.clone()).unwrap_or_default()
    };
    let host = |m: &k0rotate_workflows::rotate::Member| PlannedHost {
        name: m.name.clone(),
        role: m.role,
        version: version(&m.name),
    };
    let mut plan = Plan {
        cluster: inventory.name.clone(),
        uid: survey.cluster.as_ref().map(|cluster| cluster.uid.clone()).unwrap_or_default(),
        api: format!("https://{}:{}", inventory.api_host, inventory.api_port),
        roots: rotate.roots.clone(),
        own_cas: result::own_cas(rotate),
        hosts: rotate.hosts.iter().map(host).collect(),
        left_behind: rotate.leave_behind.clone(),
        not_before: rotate.not_before,
        not_after: rotate.not_after,
        window: None,
        approval: None,
        not_covered: if rotate.break_glass.is_some() { &break_glass::NOT_COVERED } else { &[] },
        max_outage_seconds: rotate.max_outage_seconds,
        refusals: look::refusals(survey, rotate),
        warnings: Vec::new(),
        last_moment: LastMoment::of(&survey.seen(inventory).cloned().collect::<Vec<_>>(), &rotate.roots),
        forecast: None,
        no_forecast: None,
        affected: Affected::default(),
        recipients: Vec::new(),
        digest: None,
        covers: digest::COVERS,
        go_on: None,
    };
    let Some((facts, cluster)) = look::whole(inventory, survey, rotate.hosts.len()) else {
        plan.no_forecast = Some("not all of the cluster could be looked at".to_owned());
        return plan;
    };
    plan.expect(Forecast::of(&facts, &cluster, rotate).await);
    plan.affected = Affected::of(&facts, &cluster, rotate);
    plan.warnings = result::warnings(&facts, &cluster, rotate, survey.at);
    plan.warnings.extend(too_long(&plan));
    let timed = window::within(rotate.clone(), windows, plan.forecast.as_ref(), survey.at);
    (plan.not_before, plan.not_after) = (timed.not_before, timed.not_after);
    plan.window = plan.forecast.as_ref().and_then(|forecast| Window::of(&timed, forecast, survey.at));
    plan.warnings.extend(plan.window.and_then(|window| window.too_short()));
    plan.digest = plan.refusals.is_empty().then(|| digest::digest(&facts, &cluster, rotate));
    plan
}

/// An outage that is expected to outlast its limit would roll itself back.
fn too_long(plan: &Plan) -> Option<String> {
    let expected = plan.forecast.as_ref()?.forward.down_ms / 1000;
    (expected * 2 > plan.max_outage_seconds).then(|| {
        format!(
            "--max-outage {} s leaves little room: {expected} s without a verified control plane are expected",
            plan.max_outage_seconds
        )
    })
}

/// To whom a rotation from here would seal.
fn seal(global: &Global, cluster: &str, plan: &mut Plan) {
    match seals::read(global, cluster) {
        Ok(seals) => {
            if seals.recipients.len() == 1 {
                plan.warnings.push(
                    "keys and backups are sealed to a single recipient: without its identity nothing opens them (k0rotate keys new says how to add one)".to_owned(),
                );
            }
            plan.recipients = seals.recipients;
        }
        Err(error) => {
            let first = error.sentence().lines().next().unwrap_or_default().to_owned();
            plan.warnings
                .push(format!("a rotation will refuse to start (k0rotate keys new makes an identity): {first}"));
        }
    }
}

/// Refused, held by somebody else, split, or fit to be started.
pub fn exit(refusals: &[Refusal]) -> Exit {
    if refusals.iter().any(|refusal| refusal.held) {
        Exit::Held
    } else if refusals.iter().any(|refusal| refusal.code == "split-trust") {
        Exit::Differs
    } else if refusals.is_empty() {
        Exit::Done
    } else {
        Exit::Refused
    }
}
