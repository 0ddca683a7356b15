//! Where things lie: the folder of the configuration, and that of the event logs.

use super::keys::STATE_DIR;
use super::{MAIN, Settings};
use crate::args::Global;
use crate::error::Error;
use etcetera::BaseStrategy;
use std::path::{Path, PathBuf};

/// Where a machine's own configuration lies, and its event logs.
const SYSTEM: &str = "/etc/k0rotate";
const SYSTEM_STATE: &str = "/var/lib/k0rotate";

/// A place and how it was chosen.
pub type Chosen = (PathBuf, String);

/// The folder of the configuration: by flag or environment, as systemd says, the user's own, the machine's. None if there is none.
pub fn config_dir(global: &Global) -> Result<Option<PathBuf>, Error> {
    if let Some(dir) = &global.config_dir {
        let wrong = |what: &str| Error::File(dir.display().to_string(), what.to_owned());
        return if dir.is_dir() { Ok(Some(dir.clone())) } else { Err(wrong("is no folder; --config-dir names one")) };
    }
    let own = etcetera::choose_base_strategy().ok().map(|base| base.config_dir().join("k0rotate"));
    let all = [by_systemd("CONFIGURATION_DIRECTORY"), own, Some(PathBuf::from(SYSTEM))];
    Ok(all.into_iter().flatten().find(|dir| dir.join(MAIN).is_file()))
}

/// A folder that systemd has made for a service; the first of several.
pub fn by_systemd(variable: &str) -> Option<PathBuf> {
    let all = std::env::var(variable).ok()?;
    all.split(':').find(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The folder of event logs: by flag or environment, as systemd says, as the configuration says, the machine's where that is whose
/// configuration it is, else XDG's.
pub fn state_dir(global: &Global, settings: &Settings) -> Result<Chosen, Error> {
    if let Some(dir) = &global.state_dir {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::File(dir.display().to_string(), "is no folder; --state-dir names one".into()));
        }
        return Ok((dir.clone(), "flag or environment".to_owned()));
    }
    if let Some(dir) = by_systemd("STATE_DIRECTORY") {
        return Ok((dir, "STATE_DIRECTORY".to_owned()));
    }
    if let (Some(dir), Some(set)) = (settings.path(None, STATE_DIR), settings.of(None, STATE_DIR)) {
        return Ok((dir.to_owned(), format!("{}:{}", set.file.display(), set.line)));
    }
    if settings.dir.as_deref() == Some(Path::new(SYSTEM)) && rustix::process::geteuid().is_root() {
        return Ok((SYSTEM_STATE.into(), "default".to_owned()));
    }
    let base = etcetera::choose_base_strategy().map_err(|e| Error::File("the home directory".into(), e.to_string()))?;
    let state =
        base.state_dir().ok_or_else(|| Error::Usage("this system has no state folder; give --state-dir".into()))?;
    Ok((state.join("k0rotate"), "default".to_owned()))
}
