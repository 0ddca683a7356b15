//! Files and folders of ours: events name hosts and people, so only their owner can read them.

use crate::error::Error;
use rustix::fs::Mode;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// From now on no file of this process can be read by others, whoever in it makes the file: sled makes its own.
pub fn from_now_on() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Makes a folder that is not there, and those above it.
pub fn dir(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::File(path.display().to_string(), e.to_string()))
}

/// Writes a file; one that is there becomes private before anything is written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).and_then(|mut file| {
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(content)
        });
    written.map_err(|e| Error::File(path.display().to_string(), e.to_string()))
}
