//! The stored form of a record: a versioned envelope, chained by hashes within its history.

use crate::clock::Timestamp;
use crate::event::{Event, Record};
use crate::ids::{ExecutionId, Incarnation, Seq};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::fmt;

/// The format that this release writes. Older ones are decoded by upcasters; newer ones are refused.
pub const FORMAT: u16 = 1;

/// Nothing that is stored decodes to more than this; without a limit nine crafted bytes end the process.
const LIMIT: usize = 4 << 20;

/// Bytes of the hash that ends each stored record.
const HASH: usize = 32;

/// The hash of a history up to one record: SHA-256 over the hash before it and the record's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(pub [u8; HASH]);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// Where in its store a record was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the append, over all histories, from 1.
    pub commit: u64,
    /// Events in the store after that append.
    pub total: u64,
}

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The record.
    pub record: Record,
    /// Where it was written.
    pub place: Place,
    /// The hash it ends with.
    pub chain: Chain,
}

/// Why stored bytes are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A later release wrote it.
    #[error("format {0} is newer than this release knows")]
    Format(u16),
    /// The bytes are not a record.
    #[error("the bytes are not a record")]
    Bytes,
    /// The hash does not follow from the record before it.
    #[error("the hash chain is broken")]
    Chain,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u16,
    /// The index of the event's variant: lets a reader count kinds without knowing their fields.
    kind: u8,
    execution: ExecutionId,
    seq: Seq,
    time: Timestamp,
    commit: u64,
    total: u64,
    incarnation: Incarnation,
    /// The event; bincode writes its length before it.
    body: Vec<u8>,
}

/// Encodes a record that follows the one whose hash is `previous`; the first follows `Chain::default()`.
pub fn seal(record: &Record, place: Place, previous: Chain) -> Result<(Vec<u8>, Chain), EnvelopeError> {
    let body = encode(&record.event)?;
    let envelope = Envelope {
        format: FORMAT,
        kind: *body.first().ok_or(EnvelopeError::Bytes)?,
        execution: record.execution.clone(),
        seq: record.seq,
        time: record.time,
        commit: place.commit,
        total: place.total,
        incarnation: record.incarnation.clone(),
        body,
    };
    let mut bytes = encode(&envelope)?;
    let chain = link(previous, &bytes);
    bytes.extend_from_slice(&chain.0);
    Ok((bytes, chain))
}

/// Decodes a record without looking at what came before it.
pub fn open(bytes: &[u8]) -> Result<Opened, EnvelopeError> {
    let (front, hash) = split(bytes)?;
    // The format is the first field, so that a newer one is told from broken bytes.
    let (format, _) = bincode::serde::decode_from_slice::<u16, _>(front, config()).map_err(|_| EnvelopeError::Bytes)?;
    if format > FORMAT {
        return Err(EnvelopeError::Format(format));
    }
    let envelope: Envelope = decode(front)?;
    let event: Event = decode(&envelope.body)?;
    if envelope.body.first() != Some(&envelope.kind) {
        return Err(EnvelopeError::Bytes);
    }
    let Envelope { execution, seq, time, commit, total, incarnation, .. } = envelope;
    let record = Record { execution, seq, time, incarnation, event };
    Ok(Opened { record, place: Place { commit, total }, chain: hash })
}

/// Decodes a record that must follow the one whose hash is `previous`.
pub fn open_after(bytes: &[u8], previous: Chain) -> Result<Opened, EnvelopeError> {
    let (front, hash) = split(bytes)?;
    if link(previous, front) != hash {
        return Err(EnvelopeError::Chain);
    }
    open(bytes)
}

/// Encodes a whole history as a store that wrote one record at a time would have.
pub fn seal_all(records: &[Record]) -> Result<Vec<Vec<u8>>, EnvelopeError> {
    let mut chain = Chain::default();
    let mut sealed = Vec::with_capacity(records.len());
    for (n, record) in (1..).zip(records) {
        let (bytes, next) = seal(record, Place { commit: n, total: n }, chain)?;
        chain = next;
        sealed.push(bytes);
    }
    Ok(sealed)
}

fn link(previous: Chain, bytes: &[u8]) -> Chain {
    Chain(Sha256::new().chain_update(previous.0).chain_update(bytes).finalize().into())
}

fn split(bytes: &[u8]) -> Result<(&[u8], Chain), EnvelopeError> {
    let (front, hash) = bytes.split_last_chunk::<HASH>().ok_or(EnvelopeError::Bytes)?;
    Ok((front, Chain(*hash)))
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EnvelopeError> {
    bincode::serde::encode_to_vec(value, config()).map_err(|_| EnvelopeError::Bytes)
}

/// All bytes must be consumed: what is left over would be lost silently.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => Err(EnvelopeError::Bytes),
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}
