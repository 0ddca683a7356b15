//! The rotation that flags ask for, with what the configuration says of its cluster.

use crate::args::{Options, RefreshArg, RootArg};
use crate::break_glass;
use crate::config::Settings;
use crate::drive::{duration, time};
use crate::error::Error;
use crate::naming;
use k0rotate_activities::activity::check_host::ALLOWED;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_engine::clock::Timestamp;
use k0rotate_workflows::rotate::Rotate;

/// See the file's sentence.
pub fn asked(settings: &Settings, inventory: &Inventory, options: &Options) -> Result<Rotate, Error> {
    let mut rotate = rotation(inventory, &settings.filled(&inventory.name, options))?;
    if options.compromised {
        break_glass::mark(&mut rotate, settings, &inventory.name);
    } else {
        rotate.approval = settings.wants_approval(&inventory.name);
    }
    Ok(rotate)
}

/// What the flags ask for.
fn rotation(inventory: &Inventory, options: &Options) -> Result<Rotate, Error> {
    known_names(inventory, options)?;
    if options.compromised {
        break_glass::refuse_beside(&[
            ("--roots", !options.roots.is_empty()),
            ("--keep-token", !options.keep_token.is_empty()),
            ("--not-before", options.not_before.is_some()),
            ("--not-after", options.not_after.is_some()),
        ])?;
    }
    inventory.reachable(&options.leave_behind).map_err(|problem| Error::Inventory(problem.to_string()))?;
    let behind = |host: &InventoryHost| options.leave_behind.iter().any(|called| inventory.host(called) == Some(host));
    let mut rotate = Rotate::of(inventory.hosts.iter().filter(|h| !behind(h)).map(InventoryHost::member).collect());
    if !options.roots.is_empty() {
        let once = |at: &usize| !options.roots[..*at].contains(&options.roots[*at]);
        rotate.roots = (0..options.roots.len()).filter(once).map(|at| root_of(options.roots[at])).collect();
    }
    if let Some(called) = &options.primary {
        let known = inventory.host(called).filter(|host| host.role.is_controller());
        let known =
            known.ok_or_else(|| Error::Usage(format!("--primary {called} is no controller of the inventory")))?;
        rotate.primary = Some(known.name.clone());
    }
    rotate.refresh = match options.refresh {
        RefreshArg::System => Refresh::System,
        RefreshArg::All => Refresh::All,
        RefreshArg::None => Refresh::None,
    };
    rotate.reboot_at_once = options.reboot.then_some(options.reboot_at_once);
    rotate.not_before = options.not_before.as_deref().map(time).transpose()?;
    rotate.not_after = options.not_after.as_deref().map(time).transpose()?;
    if rotate.not_after.is_some_and(|until| rotate.not_before.is_some_and(|from| from >= until)) {
        return Err(Error::Usage("--not-after lies before --not-before: there is no such window".into()));
    }
    let told = options.max_outage.as_deref().unwrap_or(LONGEST_OUTAGE);
    rotate.max_outage_seconds = duration(told)?;
    if rotate.max_outage_seconds < SHORTEST_OUTAGE {
        return Err(Error::Usage(format!(
            "--max-outage {told} is shorter than {SHORTEST_OUTAGE} s, which no stop and start keeps to"
        )));
    }
    let name = |called: &String| inventory.host(called).map_or_else(|| called.clone(), |host| host.name.clone());
    rotate.leave_behind = options.leave_behind.iter().map(name).collect();
    rotate.keep_token.clone_from(&options.keep_token);
    rotate.allow.clone_from(&options.allow);
    Ok(rotate)
}

/// What `--max-outage` is unless somebody says so.
pub const LONGEST_OUTAGE: &str = "5m";
/// The least that `--max-outage` may be, seconds.
pub const SHORTEST_OUTAGE: u64 = 10;

/// A mistyped name must not pass for one that means nothing: it was meant to keep something from happening.
fn known_names(inventory: &Inventory, options: &Options) -> Result<(), Error> {
    if let Some(called) = options.leave_behind.iter().find(|called| inventory.host(called).is_none()) {
        return naming::host(inventory, None, called).map(drop);
    }
    let unknown = options.allow.iter().find(|check| !ALLOWED.contains(&check.as_str()));
    match unknown {
        Some(check) => {
            Err(Error::Usage(format!("--allow {check}: the checks that can be allowed are {}", ALLOWED.join(" "))))
        }
        None => Ok(()),
    }
}

/// Refuses a window that is over.
pub fn window_ahead(rotate: &Rotate, now: Timestamp) -> Result<(), Error> {
    match rotate.not_after {
        Some(until) if until <= now => Err(Error::Usage("--not-after lies in the past".into())),
        _ => Ok(()),
    }
}

fn root_of(root: RootArg) -> Root {
    match root {
        RootArg::KubernetesCa => Root::KubernetesCa,
        RootArg::EtcdCa => Root::EtcdCa,
        RootArg::FrontProxyCa => Root::FrontProxyCa,
        RootArg::ServiceAccount => Root::ServiceAccount,
    }
}
