//! Requests over real TLS.

use super::http;
use super::tls::{self, Keys};
use k0rotate_activities::pki::verify_name;
use k0rotate_activities::rehearsal::machine::{Call, End, Reply};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection, StreamOwned};
use std::io;
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A stream of TLS.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects; what was refused and what was not answered are told apart.
fn connect(address: &str) -> Result<TcpStream, End> {
    let mut last = End::Unroutable;
    for address in address.to_socket_addrs().map_err(|_| End::Unroutable)? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                let _ = stream.set_read_timeout(Some(ANSWER));
                let _ = stream.set_write_timeout(Some(ANSWER));
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => last = End::Refused,
            Err(_) => {}
        }
    }
    Err(last)
}

/// Opens a stream; the reply if there is none.
pub fn open(keys: &Keys, call: &Call) -> (Reply, Option<Stream>) {
    let tcp = match connect(&call.address) {
        Ok(tcp) => tcp,
        Err(end) => return (Reply::failed(end), None),
    };
    // With TLS 1.2 the server has judged us before the handshake ends.
    let old = call.path.is_empty();
    let config = tls::client(keys, call.trust.as_ref(), call.shows.as_deref(), old);
    let (config, judge) = config.expect("a client can be set up");
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client can be made");
    let mut stream = StreamOwned::new(connection, tcp);
    let ended = stream.conn.complete_io(&mut stream.sock);
    let (chain, mut untrusted) = judge.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let host = call.address.rsplit_once(':').map_or("", |(host, _)| host);
    if let (true, Some(leaf)) = (call.trust.is_some() && untrusted.is_none(), chain.first()) {
        untrusted = verify_name(leaf, host).err();
    }
    let chain = (!chain.is_empty()).then(|| chain.into());
    let end = match (untrusted, ended) {
        (Some(why), _) => End::NotTrusted(why),
        (None, Ok(_)) => return (Reply { chain, end: End::Handshake }, Some(stream)),
        (None, Err(error)) => end_of(&error),
    };
    (Reply { chain, end }, None)
}

/// Sends a request.
pub fn dial(keys: &Keys, call: &Call) -> Reply {
    let (reply, stream) = open(keys, call);
    let Some(mut stream) = stream else { return reply };
    if call.path.is_empty() {
        stream.conn.send_close_notify();
        let _ = stream.conn.complete_io(&mut stream.sock);
        return reply;
    }
    let end = match http::ask(&mut stream, call) {
        Ok((status, body)) => End::Answer(status, body),
        Err(error) => end_of(&error),
    };
    Reply { end, ..reply }
}

/// The status of an answer to a GET by somebody whom nobody knows; whoever answers is trusted.
pub fn asked(address: &str, path: &str) -> Option<u16> {
    let call = Call { address: address.to_owned(), path: path.to_owned(), ..Call::default() };
    match dial(&Keys::default(), &call).end {
        End::Answer(status, _) => Some(status),
        _ => None,
    }
}

fn end_of(error: &io::Error) -> End {
    let alert = match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => return End::Unroutable,
    };
    match alert {
        AlertDescription::InternalError | AlertDescription::CloseNotify => End::Unroutable,
        _ => End::NotAccepted,
    }
}
