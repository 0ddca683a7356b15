//! The live view: plain lines, and on a terminal one more below them that moves with what is under way.

use super::live::Live;
use indicatif::{ProgressBar, ProgressStyle};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::Record;
use std::io::IsTerminal;
use std::time::Duration;

/// How often the line below moves.
const TICK: Duration = Duration::from_millis(120);

/// See the file's sentence.
pub struct Screen {
    live: Live,
    bar: Option<ProgressBar>,
}

impl Screen {
    /// On standard error; the line below only where that is a terminal.
    pub fn on_stderr(live: Live) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed:>6}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { live, bar }
    }

    /// Shows a record; one from before this drive only counts for what comes.
    pub fn add(&mut self, record: &Record, new: bool) {
        let lines = self.live.add(record);
        if new {
            self.say(&lines);
        }
        let Some(bar) = &self.bar else { return };
        let under_way = self.live.under_way();
        if bar.message() != under_way {
            bar.set_message(under_way);
        }
    }

    /// Nothing moves from here on.
    pub fn end(&mut self, last: Timestamp) {
        let lines = self.live.end_phase(last);
        self.say(&lines);
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, lines: &[String]) {
        for line in lines {
            if let Some(bar) = &self.bar {
                bar.suspend(|| eprintln!("{line}"));
            } else {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
