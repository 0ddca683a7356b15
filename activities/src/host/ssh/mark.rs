//! The mark as a text that `sh` can read: a key and a value a line.

use crate::host::{HostError, Mark};

/// The mark as it stands on a host.
pub fn to_text(mark: &Mark) -> Result<String, HostError> {
    let fence = mark.fence.to_string();
    let fields = [
        ("execution", &mark.execution),
        ("incarnation", &mark.incarnation),
        ("fence", &fence),
        ("direction", &mark.direction),
        ("phase", &mark.phase),
        ("by", &mark.by),
    ];
    if fields.iter().any(|(_, value)| value.contains(['\n', '\0'])) {
        return Err(HostError::Refused("mark".to_owned()));
    }
    let lines: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    Ok(lines.concat())
}

/// Reads it back.
pub fn from_text(text: &str) -> Result<Mark, HostError> {
    let field = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(str::to_owned).ok_or_else(|| HostError::Refused("mark".to_owned()))
    };
    Ok(Mark {
        execution: field("execution")?,
        incarnation: field("incarnation")?,
        fence: field("fence")?.parse().map_err(|_| HostError::Refused("mark".to_owned()))?,
        direction: field("direction")?,
        phase: field("phase")?,
        by: field("by")?,
    })
}
