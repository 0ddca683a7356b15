//! The desk of one drive: what others asked of it, and what its hold last said. In memory; a crash forgets it.

use super::words::{Refused, Word};
use crate::failure::Failure;
use crate::workflow::Course;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};

type Reply = oneshot::Sender<Result<(), Refused>>;

/// A request with the place for its answer.
pub(crate) struct Asked {
    pub(crate) by: String,
    pub(crate) reason: String,
    reply: Option<Reply>,
}

impl Asked {
    pub(crate) fn new(by: String, reason: String, reply: Option<Reply>) -> Self {
        Self { by, reason, reply }
    }

    /// Tells whoever asked. Gives the answer back if it was the word that the drive began with: its rest says it.
    pub(crate) fn answer(self, answer: Result<(), Refused>) -> Option<Result<(), Refused>> {
        let Some(reply) = self.reply else { return Some(answer) };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
        None
    }
}

#[derive(Default)]
struct Papers {
    pause: Option<Asked>,
    roll_back: Option<Asked>,
    /// Words for an execution that rests while its drive sits a wait out.
    resting: Vec<(Word, Reply)>,
    sitting: bool,
    leave: bool,
    /// Why the word that the drive began with was not taken.
    refused: Option<Refused>,
    closed: bool,
    lapsed: Option<Failure>,
    course: Course,
}

/// See the file's sentence.
#[derive(Default)]
pub(crate) struct Desk {
    papers: Mutex<Papers>,
    /// Counts what was laid on the desk.
    bell: watch::Sender<u64>,
    interrupted: watch::Sender<bool>,
    hold_ends: watch::Sender<bool>,
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().expect("no code panics while it holds this lock")
    }

    /// Lays a word on the desk and waits until it is durable, or refused.
    pub(crate) async fn ask(&self, word: Word) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        {
            let mut papers = self.papers();
            match word {
                _ if papers.closed => return Err(Refused::Ended),
                Word::Pause { by, reason } if !papers.sitting => {
                    papers.pause = Some(Asked::new(by, reason, Some(reply)));
                }
                Word::RollBack { by, reason } if !papers.sitting => {
                    papers.roll_back = Some(Asked::new(by, reason, Some(reply)));
                }
                word if papers.sitting => papers.resting.push((word, reply)),
                _ => return Err(Refused::Driven),
            }
        }
        self.bell.send_modify(|n| *n += 1);
        answer.await.unwrap_or(Err(Refused::Ended))
    }

    /// The drive has ended: whatever was not taken is refused.
    pub(crate) fn close(&self) {
        let mut papers = self.papers();
        *papers = Papers { closed: true, ..Papers::default() };
    }

    pub(crate) fn pause(&self, asked: Asked) {
        self.papers().pause = Some(asked);
    }

    pub(crate) fn roll_back(&self, asked: Asked) {
        self.papers().roll_back = Some(asked);
    }

    pub(crate) fn pause_asked(&self) -> bool {
        self.papers().pause.is_some()
    }

    pub(crate) fn roll_back_asked(&self) -> bool {
        self.papers().roll_back.is_some()
    }

    pub(crate) fn take_pause(&self) -> Option<Asked> {
        self.papers().pause.take()
    }

    pub(crate) fn take_roll_back(&self) -> Option<Asked> {
        self.papers().roll_back.take()
    }

    /// From now on words are those for a resting execution, or no more.
    pub(crate) fn sit(&self, sitting: bool) {
        self.papers().sitting = sitting;
    }

    pub(crate) fn take_resting(&self) -> Vec<(Word, Reply)> {
        std::mem::take(&mut self.papers().resting)
    }

    /// Rings for whatever is laid on the desk from now on.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// The drive ends as soon as the control plane is up.
    pub(crate) fn leave_when_up(&self) {
        self.papers().leave = true;
        self.bell.send_modify(|n| *n += 1);
    }

    /// The word that the drive began with is refused: it goes no further.
    pub(crate) fn refuse(&self, refused: Refused) {
        self.papers().refused = Some(refused);
    }

    pub(crate) fn take_refused(&self) -> Option<Refused> {
        self.papers().refused.take()
    }

    pub(crate) fn leave_asked(&self) -> bool {
        self.papers().leave
    }

    /// The drive ends as if the process had.
    pub(crate) fn interrupt(&self) {
        self.interrupted.send_replace(true);
    }

    pub(crate) async fn interrupted(&self) {
        let mut interrupted = self.interrupted.subscribe();
        let _ = interrupted.wait_for(|now| *now).await;
    }

    pub(crate) fn lapsed(&self) -> Option<Failure> {
        self.papers().lapsed.clone()
    }

    pub(crate) fn set_lapsed(&self, lapsed: Option<Failure>) {
        self.papers().lapsed = lapsed;
    }

    pub(crate) fn course(&self) -> Course {
        self.papers().course.clone()
    }

    pub(crate) fn set_course(&self, course: Course) {
        self.papers().course = course;
    }

    pub(crate) fn hold_may_end(&self, ends: bool) {
        self.hold_ends.send_replace(ends);
    }

    pub(crate) async fn hold_ends(&self) {
        let mut ends = self.hold_ends.subscribe();
        let _ = ends.wait_for(|now| *now).await;
    }
}
