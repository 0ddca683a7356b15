//! Printing that outlives its reader: `k0rotate rotate | head` must not die with the API down because somebody stopped to listen.

use std::io::{self, Write};
use std::sync::Mutex;

/// Why a result could not be written, the first time.
static UNPRINTED: Mutex<Option<String>> = Mutex::new(None);

/// Remembers an error; that nobody listens any more is none.
pub fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
        && let Ok(mut unprinted) = UNPRINTED.lock()
    {
        unprinted.get_or_insert_with(|| error.to_string());
    }
}

/// Writes what is still held back, and says why anything could not be written.
pub fn unprinted() -> Option<String> {
    note(io::stdout().flush());
    UNPRINTED.lock().ok().and_then(|unprinted| unprinted.clone())
}

/// As in `std`, but a stream that is closed is no panic.
macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        $crate::print::note(writeln!(std::io::stdout(), $($text)*));
    }};
}

/// As in `std`, but a stream that is closed is no panic.
macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        $crate::print::note(write!(std::io::stdout(), $($text)*));
    }};
}

/// As in `std`, but a stream that is closed is no panic.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
