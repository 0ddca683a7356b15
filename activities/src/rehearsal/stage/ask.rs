//! What a client can ask of a stage, as data, so that the stage can live in another process.

use super::{FlightId, Stage};
use crate::host::{
    Change, ClientIdentity, Command, Fence, FileInfo, HostError, Mark, Output, Process, TlsEnd, TlsRequest, TlsSeen,
};
use crate::secret::Secret;
use k0rotate_engine::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// A question about one host, or about what was begun.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// How late it is.
    Time,
    /// Lets time pass; see [`Stage::advance`].
    Advance(Option<Timestamp>),
    /// The end of what was begun, if it has ended.
    Take(FlightId),
    /// A look at a host, or the start of something on it.
    Of(String, Box<Question>),
}

/// What can be asked of a host.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the method of Host that has its name")]
pub enum Question {
    Exec(#[serde(with = "CommandData")] Command),
    Read(String),
    Files(Vec<String>),
    Processes,
    BootId,
    Clock,
    Tls(#[serde(with = "TlsRequestData")] TlsRequest),
    TarOut(Vec<String>),
    Mark,
    MarkReplace(Option<Mark>, Option<Mark>),
    Change(Fence, Vec<OneChange>),
    UnitsBelow(Fence),
    StopUnit(String),
}

/// A change that can be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneChange(#[serde(with = "ChangeData")] pub Change);

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is what the method of Host answers")]
pub enum Answer {
    Done,
    Refused(#[serde(with = "HostErrorData")] HostError),
    Bytes(Option<Sent>),
    Files(Vec<FileInfo>),
    Processes(Vec<Process>),
    Text(String),
    Number(u64),
    Tls(#[serde(with = "TlsSeenData")] TlsSeen),
    Mark(Option<Mark>),
    Begun(FlightId),
    Running,
    Ended(#[serde(with = "OutputData")] Output),
    Names(Vec<String>),
}

/// Secret bytes on their way between two processes of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent(#[serde(with = "secret")] pub Secret);

impl Stage {
    /// Answers a client.
    pub fn answer(&mut self, ask: Ask) -> Answer {
        self.faults.count_question();
        match ask {
            Ask::Time => Answer::Done,
            Ask::Advance(until) => {
                self.advance(until);
                Answer::Done
            }
            Ask::Take(id) => match self.take(id) {
                None => Answer::Running,
                Some(Ok(output)) => Answer::Ended(output),
                Some(Err(error)) => Answer::Refused(error),
            },
            Ask::Of(host, question) => self.look(&host, *question).unwrap_or_else(Answer::Refused),
        }
    }

    fn look(&mut self, host: &str, question: Question) -> Result<Answer, HostError> {
        self.reach(host)?;
        Ok(match question {
            Question::Exec(command) => Answer::Begun(self.begin_command(host, &command)),
            Question::Read(path) => Answer::Bytes(self.read(host, &path)?.map(|bytes| Sent(Secret::new(bytes)))),
            Question::Files(roots) => Answer::Files(self.files(host, &roots)?),
            Question::Processes => Answer::Processes(self.processes(host)?),
            Question::BootId => Answer::Text(self.world.boot_id(host)),
            Question::Clock => Answer::Number(self.world.clock(host)),
            Question::Tls(request) => Answer::Tls(self.tls(host, &request)?),
            Question::TarOut(paths) => Answer::Bytes(Some(Sent(Secret::new(self.world.tar_out(host, &paths))))),
            Question::Mark => Answer::Mark(self.mark(host)),
            Question::MarkReplace(expected, new) => {
                self.mark_replace(host, expected.as_ref(), new.as_ref())?;
                Answer::Done
            }
            Question::Change(fence, changes) => {
                let changes = changes.into_iter().map(|change| change.0).collect();
                Answer::Begun(self.begin_change(host, &fence, changes))
            }
            Question::UnitsBelow(fence) => Answer::Names(self.units_below(host, &fence)),
            Question::StopUnit(name) => {
                self.stop_unit(host, &name);
                Answer::Done
            }
        })
    }
}

// The types of hosts have no `Serialize`, so that nobody writes a secret into a log by it; these copies of their shapes go over our own socket only.

mod secret {
    use crate::secret::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        Vec::deserialize(from).map(Secret::new)
    }
}

mod some_secret {
    use super::Sent;
    use crate::secret::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
    pub fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        secret.clone().map(Sent).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<Sent>::deserialize(from)?.map(|sent| sent.0))
    }
}

mod identity {
    use super::ClientIdentity;
    use crate::secret::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
    pub fn serialize<S: Serializer>(identity: &Option<ClientIdentity>, to: S) -> Result<S::Ok, S::Error> {
        identity.as_ref().map(|i| (&i.certificate, i.key.expose())).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ClientIdentity>, D::Error> {
        let pair = Option::<(String, Vec<u8>)>::deserialize(from)?;
        Ok(pair.map(|(certificate, key)| ClientIdentity { certificate, key: Secret::new(key) }))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Command")]
struct CommandData {
    program: String,
    args: Vec<String>,
    #[serde(with = "secret")]
    stdin: Secret,
    deadline: std::time::Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Change")]
enum ChangeData {
    Write {
        path: String,
        #[serde(with = "secret")]
        bytes: Secret,
        mode: u32,
        owner: crate::host::OwnerIds,
    },
    Rename {
        from: String,
        to: String,
    },
    Copy {
        from: String,
        to: String,
    },
    MakeDir {
        path: String,
        mode: u32,
    },
    Remove {
        path: String,
    },
    Signal {
        process: Process,
        signal: i32,
    },
    Run(#[serde(with = "CommandData")] Command),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TlsRequest")]
struct TlsRequestData {
    address: String,
    path: String,
    trust: String,
    #[serde(with = "identity")]
    identity: Option<ClientIdentity>,
    #[serde(with = "some_secret")]
    bearer: Option<Secret>,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TlsSeen")]
struct TlsSeenData {
    chain: Vec<Vec<u8>>,
    #[serde(with = "TlsEndData")]
    end: TlsEnd,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TlsEnd")]
enum TlsEndData {
    Refused,
    NotAccepted,
    NotTrusted,
    Handshake,
    Answer(u16, Vec<u8>),
    Broken,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Output")]
struct OutputData {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HostError")]
enum HostErrorData {
    Unreachable,
    Lost,
    Deadline,
    Fenced(Option<Box<Mark>>),
    Denied,
    HostKey,
    Refused(String),
}
