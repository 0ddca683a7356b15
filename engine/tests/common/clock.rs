//! Time that jumps to the next sleeper whenever nothing else can go on.

use futures_util::future::BoxFuture;
use futures_util::task::ArcWake;
use futures_util::task::waker;
use k0rotate_engine::clock::{Clock, Timestamp};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Default)]
pub struct TestClock {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    next: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

/// 2026-11-24T00:00:00Z.
const START: u64 = 1_795_478_400_000;

impl TestClock {
    /// Jumps to the next sleeper; false if nobody sleeps.
    pub fn advance(&self) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let Some(((at, _), waker)) = inner.sleepers.pop_first() else { return false };
        inner.now = inner.now.max(at);
        drop(inner);
        waker.wake();
        true
    }
}

struct Sleep {
    inner: Arc<Mutex<Inner>>,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut inner = this.inner.lock().unwrap();
        if let Some(key) = this.key.take() {
            inner.sleepers.remove(&key);
        }
        if inner.now >= this.at {
            return Poll::Ready(());
        }
        let key = (this.at, inner.next);
        inner.next += 1;
        inner.sleepers.insert(key, cx.waker().clone());
        this.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.inner.lock().unwrap().sleepers.remove(&key);
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(START).plus(self.inner.lock().unwrap().now)
    }

    fn monotonic(&self) -> Duration {
        self.inner.lock().unwrap().now
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'_, ()> {
        let at = self.inner.lock().unwrap().now + d;
        Box::pin(Sleep { inner: self.inner.clone(), at, key: None })
    }
}

struct Flag(AtomicBool);

impl ArcWake for Flag {
    fn wake_by_ref(flag: &Arc<Self>) {
        flag.0.store(true, Ordering::SeqCst);
    }
}

/// Polls until ready; when nothing was woken, time jumps.
pub fn block_on<F: Future>(clock: &TestClock, future: F) -> F::Output {
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = waker(flag.clone());
    let mut future = pin!(future);
    for _ in 0..2_000_000 {
        if flag.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
        } else {
            assert!(clock.advance(), "nothing can go on and nobody sleeps");
        }
    }
    panic!("it goes on for ever");
}
