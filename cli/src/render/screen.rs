//! The live view: plain lines, and on a terminal more of them below that move with what is under way.

use super::live::Live;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::Record;
use std::io::IsTerminal;
use std::time::Duration;

/// How often the lines below move.
const TICK: Duration = Duration::from_millis(120);

/// See the file's sentence.
pub struct Screen {
    live: Live,
    below: Option<Below>,
}

impl Screen {
    /// On standard error; the lines below only where that is a terminal.
    pub fn on_stderr(live: Live) -> Self {
        Self { live, below: std::io::stderr().is_terminal().then(Below::new) }
    }

    /// Shows a record; one from before this drive only counts for what comes.
    pub fn add(&mut self, record: &Record, new: bool) {
        let lines = self.live.add(record);
        if new {
            self.say(&lines);
        }
        if let Some(below) = &mut self.below {
            below.show(&self.live.under_way());
        }
    }

    /// Nothing moves from here on.
    pub fn end(&mut self, last: Timestamp) {
        let lines = self.live.end_phase(last);
        self.say(&lines);
        drop(self.below.take());
    }

    fn say(&self, lines: &[String]) {
        for line in lines {
            if let Some(below) = &self.below {
                below.all.suspend(|| eprintln!("{line}"));
            } else {
                eprintln!("{line}");
            }
        }
    }
}

/// The lines that move; gone when dropped.
struct Below {
    all: MultiProgress,
    head: ProgressBar,
    hosts: Vec<ProgressBar>,
}

impl Below {
    fn new() -> Self {
        let all = MultiProgress::new();
        let head = all.add(line("{spinner} {wide_msg} {elapsed:>6}"));
        head.enable_steady_tick(TICK);
        Self { all, head, hosts: Vec::new() }
    }

    /// The first line has the clock.
    fn show(&mut self, lines: &[String]) {
        let (head, hosts) = lines.split_first().map_or(("", &[][..]), |(head, hosts)| (head.as_str(), hosts));
        say_in(&self.head, head);
        while self.hosts.len() < hosts.len() {
            self.hosts.push(self.all.add(line("{wide_msg}")));
        }
        for gone in self.hosts.drain(hosts.len()..) {
            gone.finish_and_clear();
            self.all.remove(&gone);
        }
        self.hosts.iter().zip(hosts).for_each(|(bar, said)| say_in(bar, said));
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        self.hosts.iter().chain([&self.head]).for_each(ProgressBar::finish_and_clear);
    }
}

fn line(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn say_in(bar: &ProgressBar, said: &str) {
    if bar.message() != said {
        bar.set_message(said.to_owned());
    }
}
