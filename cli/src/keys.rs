//! Makes the identity that seals keys and backups.

use crate::args::Global;
use crate::error::Error;
use crate::exit::Exit;
use crate::seals;
use k0rotate_activities::vault::make_identity;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes a new identity, readable by its owner alone, and prints its recipient. A file that is there is never touched.
pub fn new(global: &Global, to: Option<&PathBuf>) -> Result<Exit, Error> {
    let path = match to {
        Some(path) => path.clone(),
        None => seals::identity_path(global)?,
    };
    let recipient = make(&path)?;
    println!("{recipient}");
    let path = path.display();
    eprintln!("· identity written to {path}; keep a copy elsewhere: what is sealed opens with it alone,");
    eprintln!("  or with those whose recipients you write into {path}.recipients, one a line");
    Ok(Exit::Done)
}

/// Writes a new identity and gives its recipient.
pub fn make(path: &Path) -> Result<String, Error> {
    let failed = |e: std::io::Error| Error::File(path.display().to_string(), e.to_string());
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    let (identity, recipient) = make_identity();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(identity.expose())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(recipient)
}
