//! Ctrl-C and SIGTERM while an execution is driven.

use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::ids::ExecutionId;
use tokio::signal::unix::{SignalKind, signal};

/// The first Ctrl-C pauses where the API is up, the second leaves. SIGTERM and SIGHUP leave once the control plane is up.
pub async fn obey(engine: Engine, execution: ExecutionId) {
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = int.recv() => {
                if asked {
                    engine.interrupt(&execution);
                    return;
                }
                eprintln!("· pausing at the next place where the API is up; once more leaves at once");
                let word = Word::Pause { by: crate::open::who(), reason: "Ctrl-C".into() };
                let engine = engine.clone();
                let execution = execution.clone();
                tokio::spawn(async move { engine.say(&execution, word).await });
            }
            _ = term.recv() => leave(&engine, &execution, asked),
            _ = hup.recv() => leave(&engine, &execution, asked),
        }
        asked = true;
    }
}

fn leave(engine: &Engine, execution: &ExecutionId, again: bool) {
    if again {
        engine.interrupt(execution);
    } else {
        engine.leave_when_up(execution);
    }
}
