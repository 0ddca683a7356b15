//! The verbs `config show` and `config check`.

use super::file::Problem;
use super::{Settings, keys, place, told};
use crate::args::Global;
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::plan::asked::LONGEST_OUTAGE;
use crate::seals;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// Where a value comes from that may be typed or set.
const BOTH: &str = "flag or environment";

/// Each value that holds, for each cluster, and where it comes from.
pub fn show(global: &Global) -> Result<Exit, Error> {
    let settings = Settings::find(global)?;
    let mut rows = vec![shared(global, &settings)?];
    rows.extend(settings.names().map(|name| of_cluster(global, &settings, name)));
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let value = json!({
        "folder": settings.dir,
        "values": rows.iter().map(|row| json!({ "cluster": row.cluster, "key": row.key, "value": row.value, "from": row.from })).collect::<Vec<Value>>(),
    });
    print(global.output, &value, || {
        let folder =
            settings.dir.as_ref().map_or_else(|| "no configuration".to_owned(), |dir| dir.display().to_string());
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CLUSTER", "KEY", "VALUE", "FROM"]);
        for row in &rows {
            table.add_row([row.cluster.as_deref().unwrap_or("-"), row.key, &row.value, &row.from]);
        }
        format!("{folder}\n{table}")
    })
}

struct Row {
    cluster: Option<String>,
    key: &'static str,
    value: String,
    from: String,
}

fn shared(global: &Global, settings: &Settings) -> Result<Vec<Row>, Error> {
    let (state, from) = place::state_dir(global, settings)?;
    let value = state.display().to_string();
    let mut rows =
        vec![Row { cluster: None, key: keys::STATE_DIR, value, from: origin("state_dir", "K0ROTATE_STATE_DIR", from) }];
    let flag = global
        .socket
        .as_ref()
        .map(|path| (path.display().to_string(), origin("socket", "K0ROTATE_SOCKET", BOTH.to_owned())));
    let set = settings
        .of(None, keys::SOCKET)
        .map(|set| (set.value.to_string(), format!("{}:{}", set.file.display(), set.line)));
    rows.extend(flag.or(set).map(|(value, from)| Row { cluster: None, key: keys::SOCKET, value, from }));
    let listen = settings.of(None, keys::METRICS_LISTEN);
    rows.extend(listen.map(|set| {
        let (value, from) = (set.value.to_string(), format!("{}:{}", set.file.display(), set.line));
        Row { cluster: None, key: keys::METRICS_LISTEN, value, from }
    }));
    Ok(rows)
}

fn of_cluster(global: &Global, settings: &Settings, name: &str) -> Vec<Row> {
    let row = |key: &'static str, value: String, from: String| Row { cluster: Some(name.to_owned()), key, value, from };
    let set = |key: &'static str| {
        let set = settings.of(Some(name), key)?;
        Some(row(key, set.value.to_string(), format!("{}:{}", set.file.display(), set.line)))
    };
    let by_flag = |key: &'static str, value: Option<String>, env: &str| {
        value.map(|value| row(key, value, origin(key, env, BOTH.to_owned())))
    };
    let unless = |key: &'static str, value: String| row(key, value, "default".to_owned());
    let identity =
        by_flag(keys::IDENTITY, global.identity.as_ref().map(|p| p.display().to_string()), "K0ROTATE_IDENTITY");
    let identity = identity.or_else(|| set(keys::IDENTITY));
    let identity =
        identity.or_else(|| Some(unless(keys::IDENTITY, seals::usual_identity().ok()?.display().to_string())));
    let concurrency = by_flag(keys::CONCURRENCY, global.concurrency.map(|n| n.to_string()), "");
    let concurrency = concurrency.or_else(|| set(keys::CONCURRENCY)).unwrap_or_else(|| {
        let inventory = settings.inventory(name).ok().and_then(|inventory| Some((inventory.concurrency?, inventory)));
        match inventory {
            Some((limit, inventory)) => {
                let file = inventory.hosts.first().map_or("the inventory", |host| host.file.as_str());
                row(keys::CONCURRENCY, limit.to_string(), file.to_owned())
            }
            None => unless(keys::CONCURRENCY, k0rotate_workflows::cluster::AT_ONCE.to_string()),
        }
    });
    let outage = set(keys::MAX_OUTAGE).unwrap_or_else(|| unless(keys::MAX_OUTAGE, LONGEST_OUTAGE.to_owned()));
    let roots = set(keys::ROOTS).unwrap_or_else(|| unless(keys::ROOTS, "all that the cluster has".to_owned()));
    let others = [
        keys::RECIPIENTS,
        keys::ENVIRONMENT,
        keys::SSH_IDENTITY,
        keys::SSH_KNOWN_HOSTS,
        keys::APPROVAL,
        keys::WINDOW_AT,
        keys::WINDOW_ZONE,
        keys::ROTATE_BEFORE,
        keys::MAX_AGE,
        keys::UNATTENDED,
        keys::FINALIZE_REMIND,
        keys::FINALIZE_AFTER,
        keys::NOTIFY_COMMAND,
        keys::WHO_VIEW,
        keys::WHO_OPERATE,
        keys::WHO_APPROVE,
    ];
    let others = others.map(set);
    let all = [set(keys::INVENTORY), identity, Some(concurrency), Some(outage), Some(roots)];
    all.into_iter().chain(others).flatten().collect()
}

/// Which of the two it was.
fn origin(flag: &str, variable: &str, from: String) -> String {
    if from != BOTH {
        return from;
    }
    let flag = format!("--{}", flag.replace('_', "-"));
    let typed = |word: String| word == flag || word.starts_with(&format!("{flag}="));
    if variable.is_empty() || std::env::args().any(typed) { flag } else { variable.to_owned() }
}

/// All that is wrong with the files of the configuration and those that they name.
pub fn check(global: &Global) -> Result<Exit, Error> {
    let Some(dir) = place::config_dir(global)? else {
        return Err(Error::Config("there is none: no folder with a config.toml was found or named".into()));
    };
    let settings = Settings::read(&dir).map_err(|problems| Error::Config(told(&problems)))?;
    let mut problems: Vec<String> = Vec::new();
    for name in settings.names() {
        problems.extend(settings.inventory(name).err().map(|error| format!("{name}: {error}")));
        problems.extend(named_files(&settings, name).iter().map(ToString::to_string));
        problems.extend(seals::read_as(global, &settings, Some(name)).err().map(|error| format!("{name}: {error}")));
    }
    let nobody =
        |name: &&str| settings.wants_approval(name) && settings.texts(Some(name), keys::WHO_APPROVE).is_empty();
    let nobody = settings.names().filter(nobody);
    problems.extend(nobody.map(|name| format!("{name}: `approval` is wanted, and `who.approve` names nobody")));
    let whenever = settings
        .names()
        .filter(|name| settings.flag(name, keys::UNATTENDED) && settings.of(Some(name), keys::WINDOW_AT).is_none());
    problems.extend(whenever.map(|name| {
        format!("{name}: `policy.unattended` wants `window.at`: nothing is begun by itself at any time of the day")
    }));
    problems.dedup();
    if !problems.is_empty() {
        return Err(Error::Config(problems.join("\n")));
    }
    let clusters = settings.names().count();
    let value = json!({ "folder": dir, "clusters": clusters });
    print(global.output, &value, || format!("ok: {}", crate::confirm::counted(clusters, "cluster")))
}

/// Files that are named and cannot be read, by the line that names them.
fn named_files(settings: &Settings, cluster: &str) -> Vec<Problem> {
    let named = [keys::SSH_IDENTITY, keys::SSH_KNOWN_HOSTS].map(|key| {
        let (set, path) = (settings.of(Some(cluster), key)?, settings.path(Some(cluster), key)?);
        let unreadable = std::fs::File::open(path).err()?;
        Some(Problem::at(&set.file, set.line, format!("`{key}`: {}: {unreadable}", path.display())))
    });
    let no_program = settings.of(Some(cluster), keys::NOTIFY_COMMAND).and_then(|set| {
        let path = settings.path(Some(cluster), keys::NOTIFY_COMMAND)?;
        let why = match std::fs::metadata(path) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => return None,
            Ok(_) => "is no program".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Problem::at(&set.file, set.line, format!("`{}`: {}: {why}", keys::NOTIFY_COMMAND, path.display())))
    });
    named.into_iter().flatten().chain(no_program).collect()
}
