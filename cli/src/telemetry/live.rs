//! Live spans: told while something happens, and in no history. They wait in a bounded queue for a thread that sends them; what does not
//! fit, or is not taken by the end of the process, is lost, and counted.

use super::collector::{Collector, scope};
use super::courier::LAST_MOMENT;
use super::settings::{Setting, Signal, Transport, setting};
use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// What live spans are told under; no filter of the log lets it through.
pub const TARGET: &str = "live-spans";
/// Spans that may wait: some megabytes.
const MOST_WAITING: usize = 8192;
/// Spans in a batch.
const BATCH: usize = 512;
/// How long is waited for more that goes together.
const PAUSE: Duration = Duration::from_secs(1);
/// After a failure it is tried again this much later.
const AGAIN: Duration = Duration::from_secs(5);

static LIVE: OnceLock<Live> = OnceLock::new();

/// What makes them and what sends them, in this process.
struct Live {
    queue: Queue,
    _provider: SdkTracerProvider,
}

/// What tells live spans to the collector of traces, where the environment names one. Once in a process.
pub fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // What is set wrongly is said by whoever sends the spans of histories.
    let Ok(Setting::Otlp(transport)) = setting(Signal::Traces, &|name| std::env::var(name).ok()) else { return None };
    let queue = Queue::begin(transport)?;
    let provider = SdkTracerProvider::builder().with_span_processor(queue.clone());
    // Each rotation is told whole, whatever is set for samplers.
    let provider = provider.with_sampler(Sampler::AlwaysOn).build();
    let tracer: SdkTracer = provider.tracer_with_scope(scope());
    LIVE.set(Live { queue, _provider: provider }).ok()?;
    let layer = OpenTelemetryLayer::new(tracer).with_location(false).with_threads(false).with_target(false);
    Some(layer.with_level(false).with_tracked_inactivity(false).with_filter(filter_fn(|of| of.target() == TARGET)))
}

/// A last moment begins, of the process or of one of its stores: what waits is sent now.
pub fn last_moment() {
    LIVE.get().into_iter().for_each(|live| live.queue.hurry());
}

/// Waits for the end of the last moment, and says what was not taken.
pub fn end() {
    let lost = LIVE.get().map_or(0, |live| live.queue.end());
    if lost > 0 {
        eprintln!("· {lost} spans of commands were not taken: they are in no history, and not sent again");
    }
}

/// What waits, and the thread that sends it.
#[derive(Clone, Debug)]
struct Queue {
    waits: Arc<(Mutex<Waits>, Condvar)>,
    more: Arc<Notify>,
    hurry: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waits {
    spans: VecDeque<SpanData>,
    /// With the collector right now.
    away: usize,
    lost: usize,
    /// When the last moment began.
    last: Option<Instant>,
}

impl Queue {
    /// Its thread waits until there is something to send; none if there can be no thread.
    fn begin(transport: Transport) -> Option<Self> {
        let queue = Self { waits: Arc::default(), more: Arc::default(), hurry: Arc::default() };
        let sends = queue.clone();
        let thread = std::thread::Builder::new().name("live-spans".into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        thread.spawn(move || runtime.block_on(sends.send(transport))).ok()?;
        Some(queue)
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, transport: Transport) {
        let mut collector = None;
        loop {
            self.more.notified().await;
            self.pause(PAUSE).await;
            if collector.is_none() {
                collector = Collector::of_spans(transport).ok();
            }
            while let Some(batch) = self.next() {
                let taken = match &collector {
                    Some(collector) => collector.take(batch.clone()).await,
                    None => Err("there can be no collector".to_owned()),
                };
                let failed = taken.is_err();
                self.back(if failed { batch } else { Vec::new() });
                if failed {
                    self.pause(AGAIN).await;
                }
            }
        }
    }

    /// Nobody waits in the last moment.
    async fn pause(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.hurry.notified()).await;
    }

    fn next(&self) -> Option<Vec<SpanData>> {
        let mut waits = self.waits();
        let count = waits.spans.len().min(BATCH);
        waits.away = count;
        (count > 0).then(|| waits.spans.drain(..count).collect())
    }

    /// What was not taken waits again, before the others.
    fn back(&self, batch: Vec<SpanData>) {
        let mut waits = self.waits();
        batch.into_iter().rev().for_each(|span| waits.spans.push_front(span));
        waits.away = 0;
        self.waits.1.notify_all();
    }

    fn hurry(&self) {
        self.waits().last = Some(Instant::now());
        self.hurry.notify_one();
    }

    fn end(&self) -> usize {
        self.hurry.notify_one();
        let waits = self.waits();
        let left = waits.last.map_or(LAST_MOMENT, |last| LAST_MOMENT.saturating_sub(last.elapsed()));
        let waits = self.waits.1.wait_timeout_while(waits, left, |waits| waits.away + waits.spans.len() > 0);
        let (waits, _) = waits.unwrap_or_else(PoisonError::into_inner);
        waits.lost + waits.away + waits.spans.len()
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut waits = self.waits();
        if waits.spans.len() < MOST_WAITING {
            waits.spans.push_back(span);
        } else {
            waits.lost += 1;
        }
        drop(waits);
        self.more.notify_one();
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Shows that nobody waits for live spans, and that what does not fit is counted.

    use super::{BATCH, MOST_WAITING, Queue};
    use crate::telemetry::collector::data;
    use crate::telemetry::spans::{About, Span};
    use k0rotate_engine::clock::Timestamp;
    use opentelemetry::trace::{SpanId, TraceId};
    use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
    use std::sync::Arc;

    fn span() -> SpanData {
        let (trace, id, parent) = (TraceId::from(1), SpanId::from(2), SpanId::INVALID);
        let (from, until) = (Timestamp(1), Timestamp(2));
        let (name, attributes, moments) = (String::new(), Vec::new(), Vec::new());
        let about = About::Attempt;
        data(
            &Span { about, trace, id, parent, name, from, until, began: 0, ended: 1, attributes, moments, error: None },
            &[],
        )
    }

    /// Goal: so many wait and no more; what was not taken waits again, and whatever is left at the end is told.
    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = Queue { waits: Arc::default(), more: Arc::default(), hurry: Arc::default() };
        for _ in 0..MOST_WAITING + 3 {
            queue.on_end(span());
        }
        let lost = queue.waits().lost;
        assert_eq!((queue.waits().spans.len(), lost), (MOST_WAITING, 3));
        let batch = queue.next().expect("there are some");
        assert_eq!((batch.len(), queue.waits().spans.len()), (BATCH, MOST_WAITING - BATCH));
        queue.back(batch);
        assert_eq!(queue.waits().spans.len(), MOST_WAITING);
        while queue.next().is_some() {}
        assert_eq!(queue.end(), 3, "all others were taken");
    }
}
