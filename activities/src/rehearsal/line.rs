//! The line to a stage in another process: length-prefixed questions and answers on a Unix socket, each answered at once.
//!
//! The world's time moves only when a client asks it to; a client that is killed loses nothing of the world.

use super::stage::Stage;
use super::stage::ask::{Answer, Ask};
use k0rotate_engine::clock::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A question or an answer may take this many bytes; the largest are archives of trust files.
const MOST_BYTES: u32 = 64 * 1024 * 1024;

/// So long a client of a stage that keeps a pace waits after one answer at the most: it is deaf to others meanwhile.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// An answer, and how late it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The true time after it.
    pub now: Timestamp,
    /// When something happens next by itself.
    pub next_due: Option<Timestamp>,
    /// The answer.
    pub answer: Answer,
    /// How long the client has to wait then, so that the stage keeps its pace.
    pub wait: Duration,
}

/// Asks a stage over its socket.
pub struct Line {
    stream: UnixStream,
}

impl Line {
    /// Connects to [`serve`].
    pub fn to(path: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path)? })
    }

    /// One question; an error means that the world is gone.
    pub fn ask(&mut self, ask: &Ask) -> io::Result<Reply> {
        send(&mut self.stream, ask)?;
        receive(&mut self.stream)
    }
}

/// A stage that several connections share.
pub type SharedStage = Arc<Mutex<Stage>>;

/// Serves a stage until the listener fails; each connection has a thread. `crashed` is called when a planned crash of the client
/// has come, before its connection is closed unanswered: it ends the client's process.
pub fn serve(listener: &UnixListener, stage: &SharedStage, crashed: &(impl Fn() + Send + Sync)) -> io::Result<()> {
    std::thread::scope(|scope| {
        for connection in listener.incoming() {
            let mut connection = connection?;
            // A client that is gone is the usual end of a connection.
            scope.spawn(move || drop(answer_all(&mut connection, stage, crashed)));
        }
        Ok(())
    })
}

fn answer_all(connection: &mut UnixStream, stage: &SharedStage, crashed: &impl Fn()) -> io::Result<()> {
    let mut begun = Vec::new();
    let end = loop {
        let ask: Ask = match receive(connection) {
            Ok(ask) => ask,
            Err(error) => break Err(error),
        };
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stage.now();
        let ask = in_short_steps(ask, &stage);
        let answer = stage.answer(ask);
        if let Answer::Begun(id) = &answer {
            begun.push(*id);
        }
        if stage.faults.crashed {
            stage.faults.crashed = false;
            crashed();
            break Ok(());
        }
        let wait = stage.pace.map_or(Duration::ZERO, |pace| stage.now().since(before) / pace.get());
        let reply = Reply { now: stage.now(), next_due: stage.next_due(), answer, wait };
        drop(stage);
        if let Err(error) = send(connection, &reply) {
            break Err(error);
        }
    };
    stage.lock().unwrap_or_else(PoisonError::into_inner).forget(&begun);
    end
}

/// Time that passes at a pace passes a bit at a time; whoever wants more asks again.
fn in_short_steps(ask: Ask, stage: &Stage) -> Ask {
    match (ask, stage.pace) {
        (Ask::Advance(until), Some(pace)) => {
            let most = stage.now().plus(LONGEST_WAIT * pace.get());
            Ask::Advance(Some(until.map_or(most, |until| until.min(most))))
        }
        (ask, _) => ask,
    }
}

fn send(to: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let body = bincode::serde::encode_to_vec(what, bincode::config::standard()).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or_else(|| io::Error::other("larger than the line takes"))?;
    to.write_all(&[&length.to_be_bytes()[..], &body].concat())
}

fn receive<T: DeserializeOwned>(from: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MOST_BYTES {
        return Err(io::Error::other("larger than the line takes"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    let (what, _) = bincode::serde::decode_from_slice(&body, bincode::config::standard()).map_err(io::Error::other)?;
    Ok(what)
}
