//! Days left as the daemon sees them: it looks now, with its own keys, for whoever may look at a cluster.

use super::found::date;
use crate::args::{Global, InspectArgs};
use crate::calendar::Look;
use crate::drive::duration;
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::render::rfc3339;
use crate::socket::Address;
use crate::socket::client::send;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::time::Duration;

/// See the file's sentence.
pub async fn inspect(global: &Global, args: &InspectArgs) -> Result<Exit, Error> {
    let within = args.expires_within.as_deref().map(duration).transpose()?.map(Duration::from_secs);
    let socket = global
        .daemon()
        .ok_or_else(|| Error::Usage("--by-daemon wants `socket` and clusters in the configuration".into()))?;
    let known: Vec<&str> = global.settings.names().collect();
    let names = match &args.cluster {
        Some(name) if known.contains(&name.as_str()) => vec![name.as_str()],
        Some(name) => return Err(Error::Usage(format!("no cluster is called {name}; there are {}", known.join(" ")))),
        None if args.all || known.len() == 1 => known,
        None => {
            return Err(Error::Usage(format!("there are several clusters: {}; name one, or --all", known.join(" "))));
        }
    };
    let (mut looks, mut failed) = (Vec::new(), None);
    for name in names {
        match send::<Look>(&Address::of_daemon(&socket, name), "/look", &()).await {
            Ok(look) => looks.push((name, look)),
            // One that cannot be looked at hides no other.
            Err(error) if args.all => {
                eprintln!("{name}: {}", error.sentence());
                failed = Some(Exit::Refused);
            }
            Err(error) => return Err(error),
        }
    }
    let value: Vec<Value> = looks.iter().map(|(name, look)| value(name, look)).collect();
    print(global.output, &Value::from(value), || table(&looks))?;
    let soon = |look: &Look| {
        let until = within.map(|within| i64::try_from(look.at.plus(within).0 / 1000).unwrap_or(i64::MAX));
        until.is_some_and(|until| look.ends.iter().any(|end| end.not_after <= until))
    };
    let differs = looks.iter().any(|(_, look)| soon(look)).then_some(Exit::Differs);
    Ok(differs.or(failed).unwrap_or(Exit::Done))
}

fn value(name: &str, look: &Look) -> Value {
    let end = |end: &crate::calendar::End| {
        json!({
            "host": end.host, "root": end.root, "certificate": end.kind(), "path": end.path,
            "expires": date(end.not_after), "days_left": end.days_left(look.at),
        })
    };
    json!({
        "cluster": name, "looked_at": rfc3339(look.at), "unseen": look.unseen,
        "ends": look.ends.iter().map(end).collect::<Vec<Value>>(),
    })
}

fn table(looks: &[(&str, Look)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLUSTER", "HOST", "ROOT", "OF", "ENDS", "DAYS LEFT", "PATH"]);
    for (name, look) in looks {
        let mut all: Vec<_> = look.ends.iter().collect();
        all.sort_by_key(|end| end.not_after);
        for end in all {
            let unseen = if look.unseen.contains(&end.host) { " (not seen now)" } else { "" };
            let days = format!("{}{unseen}", end.days_left(look.at));
            let ends = date(end.not_after);
            table.add_row([
                *name,
                end.host.as_str(),
                &end.root,
                end.kind(),
                &ends[..10.min(ends.len())],
                &days,
                &end.path,
            ]);
        }
    }
    table.to_string()
}
