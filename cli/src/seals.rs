//! Which age identity opens what is sealed, and to whom it is sealed besides.

use crate::args::Global;
use crate::config::{Settings, keys};
use crate::error::Error;
use etcetera::BaseStrategy;
use k0rotate_activities::secret::Secret;
use k0rotate_activities::vault::{is_recipient, recipient_of};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Further recipients stand in a file of this ending beside the identity, one a line, as age's own `-R` takes them.
const RECIPIENTS: &str = ".recipients";

/// An identity, and all recipients, its own first.
pub struct Seals {
    /// Opens what is sealed.
    pub identity: Secret,
    /// Each can open what is sealed.
    pub recipients: Vec<String>,
}

/// Where the identity is unless a flag says otherwise.
pub fn identity_path(global: &Global) -> Result<PathBuf, Error> {
    global.identity.clone().map_or_else(usual_identity, Ok)
}

/// Where it is if nobody says so.
pub fn usual_identity() -> Result<PathBuf, Error> {
    let base = etcetera::choose_base_strategy().map_err(|e| Error::File("the home directory".into(), e.to_string()))?;
    Ok(base.config_dir().join("k0rotate").join("identity"))
}

/// Reads both for a cluster: what a flag names, else what is configured for it, if it is, else the usual.
pub fn read(global: &Global, cluster: &str) -> Result<Seals, Error> {
    read_as(global, &global.settings, Some(cluster).filter(|name| global.settings.has(name)))
}

/// The same by these settings.
pub fn read_as(global: &Global, settings: &Settings, cluster: Option<&str>) -> Result<Seals, Error> {
    let configured = cluster.and_then(|cluster| settings.path(Some(cluster), keys::IDENTITY));
    let path = match (&global.identity, configured) {
        (None, Some(path)) => path.to_owned(),
        _ => identity_path(global)?,
    };
    let wrong = |e: String| Error::Identity(format!("{}: {e}", path.display()));
    let identity = Secret::new(std::fs::read(&path).map_err(|e| wrong(e.to_string()))?);
    let own = recipient_of(&identity).map_err(|e| wrong(e.to_string()))?;
    let configured = cluster.map(|cluster| settings.recipients(Some(cluster)).to_vec()).unwrap_or_default();
    let mut recipients = vec![own];
    for other in others(&path)?.into_iter().chain(configured) {
        if !recipients.contains(&other) {
            recipients.push(other);
        }
    }
    Ok(Seals { identity, recipients })
}

/// None if there is no such file; empty lines and comments are passed over.
fn others(identity: &Path) -> Result<Vec<String>, Error> {
    let mut name = OsString::from(identity.as_os_str());
    name.push(RECIPIENTS);
    let text = match std::fs::read_to_string(&name) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::File(PathBuf::from(name).display().to_string(), e.to_string())),
    };
    let mut found = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
        if !is_recipient(line) {
            let place = format!("{}:{}", PathBuf::from(&name).display(), at + 1);
            return Err(Error::File(place, "no recipient of age (age1…)".to_owned()));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    //! Shows who is sealed to.

    use super::{RECIPIENTS, others};
    use crate::error::Error;
    use k0rotate_activities::vault::make_identity;

    /// Goal: the file is optional, comments are passed over, and a line that is no recipient is named by its number.
    #[test]
    fn further_recipients() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let identity = dir.path().join("identity");
        assert!(others(&identity).expect("no file is fine").is_empty());
        let file = dir.path().join(format!("identity{RECIPIENTS}"));
        let escrow = make_identity().1;
        std::fs::write(&file, format!("# escrow\n\n{escrow}\n")).expect("it can be written");
        assert_eq!(others(&identity).expect("one recipient"), [escrow]);
        std::fs::write(&file, "# escrow\nage1nobody\n").expect("it can be written");
        let refused = others(&identity);
        assert!(
            matches!(&refused, Err(Error::File(place, _)) if place.ends_with("identity.recipients:2")),
            "{refused:?}"
        );
    }
}
