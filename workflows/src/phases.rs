//! The headings of the runbooks: frozen slugs and free titles, as `docs/runbook.md` has them too.

/// Slug and title.
pub type Phase = (&'static str, &'static str);

/// Finds out what is there.
pub const CHECK_HOSTS: Phase = ("check-hosts", "Look at the hosts");
/// Keeps others away.
pub const HOLD: Phase = ("hold", "Hold the cluster");
/// Makes the way back.
pub const BACK_UP: Phase = ("back-up", "Back up");
/// On the operator's side.
pub const MAKE_TRUST: Phase = ("make-trust", "Make the new trust");
/// Beside the old files.
pub const COPY_KEYS: Phase = ("copy-keys", "Copy the keys");
/// So that nobody fetches a key in between.
pub const REVOKE_TOKENS: Phase = ("revoke-tokens", "Revoke the join tokens");
/// Only where somebody had to approve; therefore it has no number among the others.
pub const CHECK_APPROVED: Phase = ("check-approved", "See that all is as approved");
/// The API goes down.
pub const STOP: Phase = ("stop", "Stop the controllers");
/// By rename.
pub const SWAP: Phase = ("swap", "Put the new trust in place");
/// The API comes up.
pub const START: Phase = ("start", "Start the control plane");
/// Node by node, all at once.
pub const REJOIN: Phase = ("rejoin", "Re-join the nodes");
/// In place, or by reboot.
pub const REFRESH: Phase = ("refresh", "Refresh what holds the old trust in memory");
/// Through every controller.
pub const CHECK_NODES: Phase = ("check-nodes", "Check the nodes");
/// Tokens, staged files, published CAs, legacy tokens.
pub const CLEAN_UP: Phase = ("clean-up", "Clean up");
/// The matrix.
pub const PROVE: Phase = ("prove", "Prove it");
/// After finalize.
pub const VERIFY_AGAIN: Phase = ("verify-again", "Verify once more");
/// The end of the way back.
pub const DESTROY: Phase = ("destroy", "Destroy the old keys");

/// The way forward, in order.
pub const FORWARD: [Phase; 16] = [
    CHECK_HOSTS,
    HOLD,
    BACK_UP,
    MAKE_TRUST,
    COPY_KEYS,
    REVOKE_TOKENS,
    STOP,
    SWAP,
    START,
    REJOIN,
    REFRESH,
    CHECK_NODES,
    CLEAN_UP,
    PROVE,
    VERIFY_AGAIN,
    DESTROY,
];

/// Who came since, and who left.
pub const BACK_LOOK: Phase = ("back-look", "Look who is in the cluster today");
/// So that its refusal can be proved.
pub const BACK_REMEMBER: Phase = ("back-remember", "Remember what is accepted now");
/// All controllers that can be reached.
pub const BACK_STOP: Phase = ("back-stop", "Stop the controllers again");
/// Where the swap had begun.
pub const BACK_SWAP: Phase = ("back-swap", "Put the old trust back");
/// The API comes up.
pub const BACK_START: Phase = ("back-start", "Start the control plane with the old trust");
/// With their old files.
pub const BACK_NODES: Phase = ("back-nodes", "Bring the nodes back");
/// What had loaded the abandoned trust.
pub const BACK_REFRESH: Phase = ("back-refresh", "Refresh what holds the abandoned trust in memory");
/// Through every controller.
pub const BACK_CHECK: Phase = ("back-check", "Check the nodes again");
/// Tokens, published CAs, legacy tokens, staged files.
pub const BACK_CLEAN: Phase = ("back-clean", "Clean up after the way back");
/// The matrix, the other way.
pub const BACK_PROVE: Phase = ("back-prove", "Prove that the abandoned trust is refused");
/// New keys, marks.
pub const BACK_DESTROY: Phase = ("back-destroy", "Destroy the new keys and let the cluster go");
/// The end.
pub const BACK_VERIFY: Phase = ("back-verify", "Verify the first trust");

/// The way back from the first stop on, in order.
pub const BACK: [Phase; 12] = [
    BACK_LOOK,
    BACK_REMEMBER,
    BACK_STOP,
    BACK_SWAP,
    BACK_START,
    BACK_NODES,
    BACK_REFRESH,
    BACK_CHECK,
    BACK_CLEAN,
    BACK_PROVE,
    BACK_DESTROY,
    BACK_VERIFY,
];
