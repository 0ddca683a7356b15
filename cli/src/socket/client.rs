//! Asks whoever serves a cluster, and notices where nobody answers.

use super::routes::Refusal;
use super::{ALIVE, ANSWER, Address, MOST_BYTES, Said};
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::net::UnixStream;

/// A whole history, page by page.
pub async fn history(address: &Address, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
    pages(address, &format!("/history/{execution}")).await
}

/// The events of a history from this one on, as soon as there are some; none if none came in this time.
pub async fn events(
    address: &Address,
    execution: &ExecutionId,
    from: usize,
    wait: Duration,
) -> Result<Vec<Record>, Error> {
    get(address, &format!("/history/{execution}?from={from}&wait={}", wait.as_millis())).await
}

/// The stored bytes of each event of a history, page by page.
pub async fn stored(address: &Address, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, Error> {
    let all: Vec<String> = pages(address, &format!("/stored/{execution}")).await?;
    let decoded = all.iter().map(|text| BASE64.decode(text));
    decoded
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Log(format!("what the driving process sent is no base64: {e}")))
}

/// The lines of the audit for so many events of an execution, with those between them, page by page.
pub async fn audit(address: &Address, execution: &ExecutionId, events: usize) -> Result<String, Error> {
    let lines: Vec<String> = pages(address, &format!("/audit/{execution}/{events}")).await?;
    Ok(lines.concat())
}

/// What was written stays as it is, so pages fit together whatever is written meanwhile.
async fn pages<T: DeserializeOwned>(address: &Address, what: &str) -> Result<Vec<T>, Error> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let more: Vec<T> = get(address, &format!("{what}?from={}", all.len())).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

/// Asks about the cluster.
pub async fn get<T: DeserializeOwned>(address: &Address, what: &str) -> Result<T, Error> {
    get_at(address, &address.about(what)).await
}

/// Asks about no cluster.
pub async fn get_at<T: DeserializeOwned>(address: &Address, path: &str) -> Result<T, Error> {
    let request = Request::get(path).header("host", "k0rotate").body(Full::default());
    let asked = ask(address, request.map_err(|e| Error::Usage(e.to_string()))?);
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(silent(address).await),
    }
}

/// Says a word to the process that drives. It is answered when it is durable, which may take as long as a step: so the process is asked
/// meanwhile whether it lives.
pub async fn post(address: &Address, what: &str, said: &Said) -> Result<(), Error> {
    send(address, what, said).await
}

/// The same of anything that may take its time.
pub async fn send<T: DeserializeOwned>(address: &Address, what: &str, body: &impl Serialize) -> Result<T, Error> {
    send_at(address, &address.about(what), body).await
}

/// The same of whoever serves there, at this path.
pub async fn send_at<T: DeserializeOwned>(address: &Address, path: &str, body: &impl Serialize) -> Result<T, Error> {
    let body = serde_json::to_vec(body).map_err(|e| Error::Usage(e.to_string()))?;
    let request = Request::post(path).header("host", "k0rotate");
    let request = request.header("content-type", "application/json");
    let said = ask(address, request.body(Full::from(body)).map_err(|e| Error::Usage(e.to_string()))?);
    let silence = async {
        loop {
            tokio::time::sleep(ALIVE).await;
            // One that has ended answered the word before, or the word is lost with it: the other question says so.
            let alive = if address.daemon { "/health".to_owned() } else { address.about("/executions") };
            if let Err(error @ Error::Silent(_)) = get_at::<serde_json::Value>(address, &alive).await {
                break error;
            }
        }
    };
    tokio::select! {
        answer = said => answer,
        error = silence => Err(error),
    }
}

/// The error of a process that has the socket and says nothing.
async fn silent(address: &Address) -> Error {
    // The kernel accepts for a process that hangs, and knows who it is.
    let peer = UnixStream::connect(&address.socket).await.ok().and_then(|stream| stream.peer_cred().ok()?.pid());
    Error::Silent(peer.map_or_else(|| address.socket.display().to_string(), |pid| format!("process {pid}")))
}

async fn ask<T: DeserializeOwned>(address: &Address, request: Request<Full<Bytes>>) -> Result<T, Error> {
    let lost = |e: String| address.lost(&e);
    let stream = UnixStream::connect(&address.socket).await.map_err(|e| lost(e.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(e.to_string()))?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| lost(e.to_string()))?;
    let status = answer.status();
    let body =
        Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| lost(e.to_string()))?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| lost(e.to_string()));
    }
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => Err(refusal.error),
        Err(_) => Err(Error::Word(String::from_utf8_lossy(&body).into_owned())),
    }
}
