//! Runs one program between two sentinel lines, so that a lost link, noise of a login shell and an exit status are told apart.

use super::link::{As, Link, Started};
use crate::host::{HostError, Output};
use aws_lc_rs::rand;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const FRAME: &str = include_str!("frame.sh");

/// How much longer than the program's own deadline we wait: the end of it there, and the way.
const GRACE: Duration = Duration::from_secs(20);
/// What `timeout` exits with when it ended a program.
const TIMED_OUT: i32 = 124;
/// What a program exits with that was killed.
const KILLED: i32 = 137;

/// A word that no output can hold by chance.
pub fn nonce() -> String {
    let mut bytes = [0_u8; 12];
    rand::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().fold("k0rotate-".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs a program as root with something to read.
pub async fn run(link: &dyn Link, argv: &[&str], stdin: &[u8], deadline: Duration) -> Result<Output, HostError> {
    let nonce = nonce();
    let seconds = deadline.as_secs().max(1).to_string();
    let mut framed = vec!["sh", "-c", FRAME, "frame", &nonce, &seconds];
    framed.extend(argv);
    let begun = Instant::now();
    let talk = async { talk(link.start(As::Root, &framed).await?, stdin).await };
    let (stdout, stderr) = timeout(deadline + GRACE, talk).await.map_err(|_| HostError::Deadline)??;
    let mut output = unframe(&nonce, &stdout, &stderr)?;
    if output.status == KILLED && begun.elapsed() >= deadline {
        output.status = TIMED_OUT;
    }
    Ok(output)
}

/// Writes and reads at once: a program may answer before it has read all.
async fn talk(mut program: Started, stdin: &[u8]) -> Result<(Vec<u8>, Vec<u8>), HostError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let write = async {
        // A program need not read what it is given; whether it got what it needed shows in what it says.
        let _ = program.stdin.write_all(stdin).await;
        let _ = program.stdin.shutdown().await;
        drop(program.stdin);
    };
    let reads = async {
        let (out, err) = tokio::join!(program.stdout.read_to_end(&mut stdout), program.stderr.read_to_end(&mut stderr));
        out.and(err)
    };
    let ((), read) = tokio::join!(write, reads);
    drop(program.keep);
    read.map_err(|_| HostError::Lost)?;
    Ok((stdout, stderr))
}

/// What stands between the two lines, and the status in the last.
fn unframe(nonce: &str, stdout: &[u8], stderr: &[u8]) -> Result<Output, HostError> {
    let begin = format!("{nonce} begin\n");
    let end = format!("\n{nonce} end ");
    let Some(start) = find(stdout, begin.as_bytes()) else { return Err(not_begun(stderr)) };
    let body = &stdout[start + begin.len()..];
    let at = find(body, end.as_bytes()).ok_or(HostError::Lost)?;
    let status = std::str::from_utf8(&body[at + end.len()..]).ok().and_then(|s| s.trim_end().parse().ok());
    let complaint = find(stderr, begin.as_bytes()).map_or(stderr, |at| &stderr[at + begin.len()..]);
    Ok(Output { status: status.ok_or(HostError::Lost)?, stdout: body[..at].to_vec(), stderr: complaint.to_vec() })
}

/// Why nothing was begun, as far as sudo or a shell say so.
fn not_begun(stderr: &[u8]) -> HostError {
    let text = String::from_utf8_lossy(stderr);
    if text.contains("sudo:") {
        HostError::Denied
    } else if text.contains("not found") || text.contains("not available") {
        HostError::Refused("shell".to_owned())
    } else {
        HostError::Lost
    }
}

/// Where `needle` first stands.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_before_the_first_line_is_not_output() {
        // Goal: what a login shell prints is never taken for an answer.
        let out = unframe("n", b"Welcome!\nn begin\nhello\nn end 3\n", b"motd\nn begin\noops").unwrap();
        assert_eq!((out.status, out.stdout.as_slice(), out.stderr.as_slice()), (3, &b"hello"[..], &b"oops"[..]));
    }

    #[test]
    fn an_output_without_its_last_line_is_a_lost_link() {
        // Goal: half an answer is never taken for one.
        assert_eq!(unframe("n", b"n begin\nhello\nn en", b"").unwrap_err(), HostError::Lost);
        assert_eq!(unframe("n", b"n begin\nhello\nn end ", b"").unwrap_err(), HostError::Lost);
        assert_eq!(unframe("n", b"", b"").unwrap_err(), HostError::Lost);
    }

    #[test]
    fn sudo_that_asks_is_a_denial() {
        // Goal: a missing right is told from a lost link.
        assert_eq!(unframe("n", b"", b"sudo: a password is required\n").unwrap_err(), HostError::Denied);
    }
}
