//! Printing that outlives its reader: `k0rotate rotate | head` must not die with the API down because somebody stopped to listen.

/// As in `std`, but a stream that is closed is no panic.
macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// As in `std`, but a stream that is closed is no panic.
macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}

/// As in `std`, but a stream that is closed is no panic.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
