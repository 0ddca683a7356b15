//! A rotation because the keys leaked: what it does not wait for, who is told, what it does not cover, and the second word for its way back.

use crate::config::{Settings, keys};
use crate::error::Error;
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::{BreakGlass, Rotate};

/// What the audit says that such an execution is about.
pub const ABOUT: &str = "break-glass";
/// The second word, as it is typed.
pub const SECOND_WORD: &str = "the leaked trust";
/// The same where nobody is asked.
pub const FLAG: &str = "--bring-back-the-leaked-trust";

/// What a rotation does not cover: whoever asked for one must look there.
pub const NOT_COVERED: [&str; 5] = [
    "what whoever had the keys did before: RBAC, ServiceAccounts and webhooks that they made, Secrets that they read",
    "the key of encryption at rest: replace it, and write all Secrets anew",
    "etcd's jwt keys (pki/etcd/jwt.key on each controller): they stay",
    "your own older backups and images of disks: they hold the leaked keys, and bring the leaked trust back where they are restored",
    "keys that this cluster did not make: of ssh, of clouds, of registries, and whatever else lay beside the leaked ones",
];

/// What everybody has to do afterwards.
pub const KUBECONFIGS: &str =
    "everybody needs a new kubeconfig: k0sctl kubeconfig -c INVENTORY; users: k0s kubeconfig create NAME";

/// What such a rotation did not wait for, if it is one.
pub fn of(view: &ExecutionView) -> Option<BreakGlass> {
    let rotate: Option<Rotate> = view.input.decode().ok().filter(|_| view.workflow == "rotate");
    rotate.and_then(|rotate| rotate.break_glass)
}

/// Marks a rotation as one: its windows and approval are not waited for.
pub fn mark(rotate: &mut Rotate, settings: &Settings, cluster: &str) {
    let window = settings.has(cluster) && settings.of(Some(cluster), keys::WINDOW_AT).is_some();
    let approval = settings.wants_approval(cluster);
    rotate.break_glass = Some(BreakGlass { window, approval });
}

/// What was not waited for, in words.
pub fn skipped(of: BreakGlass) -> &'static str {
    match (of.window, of.approval) {
        (true, true) => "its window and somebody else's approval are not waited for",
        (true, false) => "its window is not waited for",
        (false, true) => "somebody else's approval is not waited for",
        (false, false) => "it has no window and wants no approval that could be skipped",
    }
}

/// The same for the audit; none where nothing was skipped.
pub fn recorded(of: BreakGlass) -> Option<String> {
    let skipped = [("window", of.window), ("approval", of.approval)].into_iter().filter(|(_, skipped)| *skipped);
    let skipped: Vec<&str> = skipped.map(|(what, _)| what).collect();
    (!skipped.is_empty()).then(|| format!("skipped: {}", skipped.join(", ")))
}

/// What is shown before it is begun.
pub fn ahead(of: BreakGlass) -> String {
    format!(
        "break-glass, for the keys leaked: all roots, and every join token is revoked before the stop; {}; it is recorded, and told to everybody in who.approve; a roll-back would bring the leaked trust back and asks twice",
        skipped(of)
    )
}

/// That nobody is told, if so.
pub fn untold(settings: &Settings, cluster: &str) -> Option<String> {
    let told = settings.has(cluster) && settings.path(Some(cluster), keys::NOTIFY_COMMAND).is_some();
    let nobody = "nobody is told of it but by you: there is no notify.command (docs/configuration.md)";
    (!told).then(|| nobody.to_owned())
}

/// Flags that would leave something of the leaked trust in use, or wait.
pub fn refuse_beside(given: &[(&str, bool)]) -> Result<(), Error> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "--compromised and {flag} do not go together: all roots are replaced at once, and nothing that was issued before is kept"
        ))),
        None => Ok(()),
    }
}

/// What is to be typed besides before the way back of such a rotation; none where the word was given, or where it has ended.
pub fn second(view: &ExecutionView, given: bool) -> Option<String> {
    of(view).filter(|_| !given && !view.state.status.ended())?;
    Some(format!(
        "{} replaced a trust whose keys leaked. Going back puts that trust in use again: whoever has the keys is let in as before",
        view.execution
    ))
}

/// That the second word is missing, where nobody is asked for it.
pub fn not_given() -> Error {
    Error::NotConfirmed(format!(
        "a way back to a trust whose keys leaked wants a second word: {FLAG} (--yes alone is not enough)"
    ))
}

/// What its report says of it.
pub fn section(view: &ExecutionView) -> String {
    let Some(skipped_of) = of(view) else { return String::new() };
    let begun = format!("## Break-glass\n\nIt was asked for because the keys leaked: {}.", skipped(skipped_of));
    if view.state.status == Status::RolledBack {
        return begun + "\n";
    }
    let all = NOT_COVERED.map(|what| format!("- {what}")).join("\n");
    format!("{begun} Not covered, to be looked at by whoever asked:\n\n{all}\n\nAfterwards {KUBECONFIGS}\n")
}

/// What is said where it is verified.
pub fn lines(view: &ExecutionView) -> Vec<String> {
    if of(view).is_none() {
        return Vec::new();
    }
    let covered = NOT_COVERED.iter().map(|what| format!("not covered, look yourself: {what}"));
    covered.chain([KUBECONFIGS.to_owned()]).collect()
}

/// Where such a rotation has gone back to, for its state.
pub fn back_at(view: &ExecutionView) -> Option<&'static str> {
    of(view).filter(|_| view.state.status == Status::RolledBack)?;
    Some("; THE LEAKED TRUST IS IN USE: whoever has its keys is let in. Ask for it again: rotate --compromised")
}
