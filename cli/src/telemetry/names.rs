//! The names of attributes and events in traces and metrics: those of the semantic conventions, then our own; docs/telemetry.md has the same table.

/// The workflow.
pub const PIPELINE: &str = "cicd.pipeline.name";
/// What is done with it: it runs.
pub const PIPELINE_ACTION: &str = "cicd.pipeline.action.name";
/// The execution.
pub const RUN: &str = "cicd.pipeline.run.id";
/// How the execution ended.
pub const RUN_RESULT: &str = "cicd.pipeline.result";
/// The activity.
pub const TASK: &str = "cicd.pipeline.task.name";
/// The step, with the place of the event that began it.
pub const TASK_RUN: &str = "cicd.pipeline.task.run.id";
/// How the step ended.
pub const TASK_RESULT: &str = "cicd.pipeline.task.run.result";
/// The code of a failure, as in docs/failures.md.
pub const ERROR: &str = "error.type";
/// The cluster.
pub const CLUSTER: &str = "k8s.cluster.name";
/// A host, by its name in the inventory.
pub const HOST: &str = "host.name";
/// The address at which a step's host is asked.
pub const ADDRESS: &str = "server.address";
/// The program that was run on a host, without its path.
pub const PROGRAM: &str = "process.executable.name";
/// How that program ended.
pub const EXIT_CODE: &str = "process.exit.code";

/// The workflow's version.
pub const VERSION: &str = "k0rotate.workflow.version";
/// Who asked for it, `user@machine`.
pub const BY: &str = "k0rotate.by";
/// Why, as they said it.
pub const REASON: &str = "k0rotate.reason";
/// Hosts that it went on without.
pub const LEFT: &str = "k0rotate.left";
/// `forward` or `back`.
pub const LEG: &str = "k0rotate.leg";
/// The slug of a phase.
pub const PHASE: &str = "k0rotate.phase";
/// The step's name.
pub const STEP: &str = "k0rotate.step";
/// The host that a step acts on, or what else it is about.
pub const TARGET: &str = "k0rotate.target";
/// The group of a step that runs beside others.
pub const GROUP: &str = "k0rotate.group";
/// Whether the step takes another one back.
pub const UNDO: &str = "k0rotate.undo";
/// `done`, `failed` or `left`.
pub const STEP_OUTCOME: &str = "k0rotate.step.outcome";
/// How many attempts were recorded for the step so far.
pub const ATTEMPTS: &str = "k0rotate.step.attempts";
/// `absent` or `unknown`: what is known of the effect of a step that failed.
pub const EFFECT: &str = "k0rotate.step.effect";
/// The number of an attempt.
pub const ATTEMPT: &str = "k0rotate.attempt";
/// `done`, `failed`, `left`, `interrupted`, `deadline` or `panicked`.
pub const ATTEMPT_OUTCOME: &str = "k0rotate.attempt.outcome";
/// Which opening of the store wrote it.
pub const INCARNATION: &str = "k0rotate.incarnation";
/// The wait, or `stuck`.
pub const REST: &str = "k0rotate.rest";
/// Why it was stuck, or turned back, in words.
pub const CAUSE: &str = "k0rotate.cause";
/// `free`, `down`, `held` or `final`.
pub const ZONE: &str = "k0rotate.zone";
/// `running`, `waiting`, `stuck`, `rolling-back`, `completed` or `rolled-back`.
pub const STATE: &str = "k0rotate.state";
/// What a host was asked: to run a program, to read a file, to change something, …
pub const ASKED: &str = "k0rotate.asked";
/// A trust root.
pub const ROOT: &str = "k0rotate.root";
/// `root`, or `leaf` for what it signed.
pub const CERTIFICATE: &str = "k0rotate.certificate";

/// Event: a zone was entered.
pub const ZONE_ENTERED: &str = "k0rotate.zone_entered";
/// Event: another opening of the store goes on: after a crash, a pause, or an operator's word.
pub const OPENED: &str = "k0rotate.opened";
/// Event: the way back was taken.
pub const TURNED_BACK: &str = "k0rotate.roll_back_started";
/// Event: it goes on after it was stuck.
pub const RESUMED: &str = "k0rotate.resumed";
/// Event: hosts were left behind by an operator's word.
pub const LEFT_BEHIND: &str = "k0rotate.left_behind";
/// Event: another machine took it over.
pub const ADOPTED: &str = "k0rotate.adopted";

/// All of them, in the order of the table.
pub const ALL: [&str; 42] = [
    PIPELINE,
    PIPELINE_ACTION,
    RUN,
    RUN_RESULT,
    TASK,
    TASK_RUN,
    TASK_RESULT,
    ERROR,
    CLUSTER,
    HOST,
    ADDRESS,
    PROGRAM,
    EXIT_CODE,
    VERSION,
    BY,
    REASON,
    LEFT,
    LEG,
    PHASE,
    STEP,
    TARGET,
    GROUP,
    UNDO,
    STEP_OUTCOME,
    ATTEMPTS,
    EFFECT,
    ATTEMPT,
    ATTEMPT_OUTCOME,
    INCARNATION,
    REST,
    CAUSE,
    ZONE,
    STATE,
    ASKED,
    ROOT,
    CERTIFICATE,
    ZONE_ENTERED,
    OPENED,
    TURNED_BACK,
    RESUMED,
    LEFT_BEHIND,
    ADOPTED,
];
