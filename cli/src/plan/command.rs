//! The command that goes on from a plan: the flags that were given, and no others.

use crate::args::{Global, Options, RefreshArg};
use crate::commands::{Commands, quoted};
use clap::ValueEnum;

/// `k0rotate rotate --plan …` with the same options.
pub fn rotate(global: &Global, cluster: Option<&str>, options: &Options, digest: &str) -> String {
    let mut words = vec!["k0rotate".to_owned(), "rotate".to_owned()];
    words.extend(cluster.map(quoted));
    words.extend(Commands::of(global).flags("rotate"));
    let mut flag = |name: &str, value: &str| words.extend([format!("--{name}"), quoted(value)]);
    flag("plan", &digest[..super::digest::SHOWN.min(digest.len())]);
    if !options.roots.is_empty() {
        let names: Vec<String> = options.roots.iter().map(value_name).collect();
        flag("roots", &names.join(","));
    }
    if options.refresh != RefreshArg::System {
        flag("refresh", &value_name(&options.refresh));
    }
    options.own_ca.iter().for_each(|own| flag("own-ca", &own.to_string()));
    let once = [
        ("max-outage", &options.max_outage),
        ("primary", &options.primary),
        ("not-before", &options.not_before),
        ("not-after", &options.not_after),
    ];
    once.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).for_each(|(n, v)| flag(n, v));
    options.leave_behind.iter().for_each(|host| flag("leave-behind", host));
    options.keep_token.iter().for_each(|id| flag("keep-token", id));
    options.allow.iter().for_each(|check| flag("allow", check));
    if options.compromised {
        words.push("--compromised".to_owned());
    }
    if options.reboot {
        words.push("--reboot".to_owned());
        if options.reboot_at_once != 1 {
            words.extend(["--reboot-at-once".to_owned(), options.reboot_at_once.to_string()]);
        }
    }
    words.join(" ")
}

/// `k0rotate rollback --plan …` of an execution.
pub fn roll_back(global: &Global, execution: &str, digest: &str) -> String {
    let digest = &digest[..super::digest::SHOWN.min(digest.len())];
    let mut words = vec!["k0rotate".to_owned(), "rollback".to_owned(), execution.to_owned()];
    words.extend(Commands::of(global).flags("rollback"));
    words.extend(["--plan".to_owned(), digest.to_owned()]);
    words.join(" ")
}

fn value_name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
