//! Ctrl-C and SIGTERM while an execution is driven.

use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::ids::ExecutionId;
use tokio::signal::unix::{SignalKind, signal};

/// The first Ctrl-C pauses where the API is up, the second leaves. SIGTERM and SIGHUP leave once the control plane is up, a second of the
/// same kind at once: who pauses and then closes the terminal has not said that the API may stay down.
pub async fn obey(engine: Engine, execution: ExecutionId) {
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    let (mut paused, mut ended, mut hung_up) = (false, false, false);
    loop {
        tokio::select! {
            _ = int.recv() => {
                if std::mem::replace(&mut paused, true) {
                    engine.interrupt(&execution);
                    return;
                }
                eprintln!("· pausing at the next place where the API is up; once more leaves at once");
                let word = Word::Pause { by: crate::open::who(), reason: "Ctrl-C".into() };
                let engine = engine.clone();
                let execution = execution.clone();
                tokio::spawn(async move { engine.say(&execution, word).await });
            }
            _ = term.recv() => leave(&engine, &execution, std::mem::replace(&mut ended, true)),
            _ = hup.recv() => leave(&engine, &execution, std::mem::replace(&mut hung_up, true)),
        }
    }
}

fn leave(engine: &Engine, execution: &ExecutionId, again: bool) {
    if again {
        engine.interrupt(execution);
    } else {
        engine.leave_when_up(execution);
    }
}
