//! Clients that ask the balancer and each controller ten times a second whether an API answers.

use crate::lab::address;
use crate::os_machine::asked;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions of one client.
const EVERY: Duration = Duration::from_millis(100);
/// Where `tests/lab` puts the balancer.
const BALANCER: &str = "10.77.0.1";

/// They ask until they are ended.
pub struct Clients {
    over: Arc<AtomicBool>,
    each: Vec<JoinHandle<Duration>>,
}

impl Clients {
    /// One for the balancer, one for each controller.
    pub fn start(controllers: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let addresses = std::iter::once(BALANCER.to_owned()).chain((1..=controllers).map(address));
        let one = |address: String| {
            let over = over.clone();
            std::thread::spawn(move || longest_away(&format!("{address}:6443"), &over))
        };
        Self { each: addresses.map(one).collect(), over }
    }

    /// For how long the balancer and the slowest controller had no API, at the longest.
    pub fn end(self) -> (Duration, Duration) {
        self.over.store(true, Ordering::SeqCst);
        let mut away = self.each.into_iter().map(|client| client.join().expect("no client panics"));
        let balancer = away.next().expect("there is a client of the balancer");
        (balancer, away.max().unwrap_or_default())
    }
}

/// The longest time between two answers.
fn longest_away(address: &str, over: &AtomicBool) -> Duration {
    let (mut answered, mut longest) = (Instant::now(), Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        // k0s' API server knows no anonymous users: 401 is an answer.
        if asked(address, "/readyz").is_some_and(|status| status < 500) {
            longest = longest.max(answered.elapsed());
            answered = Instant::now();
        }
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    longest.max(answered.elapsed())
}
