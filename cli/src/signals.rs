//! Ctrl-C and SIGTERM while an execution is driven.

use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::ids::ExecutionId;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The first Ctrl-C pauses where the API is up, the second leaves. SIGTERM and SIGHUP leave once the control plane is up, or after
/// `longest`; a second of the same kind at once: who pauses and then closes the terminal has not said that the API may stay down.
pub async fn obey(engine: Engine, execution: ExecutionId, longest: Duration) {
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    let (mut paused, mut ended, mut hung_up) = (false, false, false);
    let mut limit = pin!(tokio::time::sleep(longest));
    loop {
        let leaves = ended || hung_up;
        let again = tokio::select! {
            _ = int.recv() => {
                let again = std::mem::replace(&mut paused, true);
                if !again {
                    ask_to_pause(&engine, &execution);
                }
                again
            }
            _ = term.recv() => std::mem::replace(&mut ended, true),
            _ = hup.recv() => std::mem::replace(&mut hung_up, true),
            () = &mut limit, if leaves => {
                eprintln!("· the control plane did not come up within {} s of the signal", longest.as_secs());
                true
            }
        };
        if again {
            engine.interrupt(&execution);
            return;
        }
        if !leaves && (ended || hung_up) {
            limit.as_mut().reset(tokio::time::Instant::now() + longest);
            engine.leave_when_up(&execution);
        }
    }
}

fn ask_to_pause(engine: &Engine, execution: &ExecutionId) {
    eprintln!("· pausing at the next place where the API is up; once more leaves at once");
    let word = Word::Pause { by: crate::open::who(), reason: "Ctrl-C".into() };
    let (engine, execution) = (engine.clone(), execution.clone());
    tokio::spawn(async move {
        if let Err(refused) = engine.say(&execution, word).await {
            eprintln!("· not paused: {refused}");
        }
    });
}
