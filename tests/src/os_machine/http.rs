//! As much of HTTP/1 as the stand-in speaks.

use k0rotate_activities::rehearsal::machine::{Call, Verb};
use std::fmt::Write as _;
use std::io::{self, Read, Write};

/// The largest message.
const LIMIT: usize = 16 << 20;

/// An answer, or a request before it is read.
struct Message {
    head: String,
    body: Vec<u8>,
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads a head and as much body as it announces; without a length all there is if `to_the_end`.
fn read_message(stream: &mut impl Read, to_the_end: bool) -> io::Result<Message> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok());
            let wanted = at + 4 + length.unwrap_or(0);
            if bytes.len() >= wanted && (length.is_some() || !to_the_end) {
                return Ok(Message { head, body: bytes[at + 4..wanted].to_vec() });
            }
        }
        let read = match stream.read(&mut piece) {
            // Many peers close without a farewell.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            other => other?,
        };
        if read == 0 || bytes.len() > LIMIT {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| odd("no head"))?;
    Ok(Message { head: String::from_utf8_lossy(&bytes[..at]).into_owned(), body: bytes[at + 4..].to_vec() })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
}

/// Sends a request of HTTP/1.0 and reads the answer.
pub fn ask(stream: &mut (impl Read + Write), call: &Call) -> io::Result<(u16, Vec<u8>)> {
    let (method, kind) = match call.verb {
        Verb::Get => ("GET", "application/json"),
        Verb::Post => ("POST", "application/json"),
        Verb::Put => ("PUT", "application/json"),
        Verb::Patch => ("PATCH", "application/merge-patch+json"),
        Verb::JsonPatch => ("PATCH", "application/json-patch+json"),
        Verb::Delete => ("DELETE", "application/json"),
    };
    let mut head = format!("{method} {} HTTP/1.0\r\nHost: {}\r\nContent-Type: {kind}\r\n", call.path, call.address);
    let _ = write!(head, "Content-Length: {}\r\n", call.body.len());
    for (name, value) in &call.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if let Some(bearer) = &call.bearer {
        let _ = write!(head, "Authorization: Bearer {bearer}\r\n");
    }
    // Who refuses our certificate says so in an alert that is read below.
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", &call.body].concat());
    let _ = stream.flush();
    let message = read_message(stream, true)?;
    let status = message.head.split(' ').nth(1).and_then(|s| s.get(..3)?.parse().ok());
    Ok((status.ok_or_else(|| odd("no status"))?, message.body))
}

/// Reads a request; who shows what is not known here.
pub fn read_request(stream: &mut impl Read) -> io::Result<Call> {
    let message = read_message(stream, false)?;
    let mut first = message.head.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let kind = header(&message.head, "content-type").unwrap_or_default();
    let verb = match method {
        "GET" => Verb::Get,
        "POST" => Verb::Post,
        "PUT" => Verb::Put,
        "PATCH" if kind.contains("json-patch") => Verb::JsonPatch,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => return Err(odd("method")),
    };
    let headers = message.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers: Vec<(String, String)> = headers.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
    let bearer = header(&message.head, "authorization").and_then(|v| v.strip_prefix("Bearer ")).map(str::to_owned);
    Ok(Call { verb, path: path.to_owned(), body: message.body, bearer, headers, ..Call::default() })
}

/// Sends an answer.
pub fn reply(stream: &mut impl Write, status: u16, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.0 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()
}
