//! Sends all metrics to a collector every so often, and once more at the end; a thread of its own, so that nothing waits for the collector.

use super::meters::Instruments;
use crate::telemetry::collector::{in_time, of_metrics};
use crate::telemetry::settings::Transport;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How long the end of a process is held up.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// The specification's.
const EVERY: Duration = Duration::from_secs(60);
const EVERY_VARIABLE: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// A reader that is asked by whoever shares it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<ManualReader>);

impl Shared {
    /// Reads sums so.
    pub fn new(temporality: Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality).build()))
    }
}

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, all: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(all)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// A way to a collector, with the runtime that it lives on.
pub struct Way {
    runtime: Runtime,
    exporter: MetricExporter,
}

impl Way {
    /// As the environment says.
    pub fn to(transport: Transport) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let exporter = {
            let _on = runtime.enter();
            of_metrics(transport)?
        };
        Ok(Self { runtime, exporter })
    }

    /// How the collector wants its sums.
    pub fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// See the file's sentence. Dropped, it gets a last moment.
pub struct Pusher {
    end: Option<oneshot::Sender<()>>,
    done: mpsc::Receiver<Result<(), String>>,
}

impl Pusher {
    /// Begins.
    pub fn begin(way: Way, instruments: Arc<Instruments>, counted: Shared) -> Option<Self> {
        let (end, ended) = oneshot::channel();
        let (say, done) = mpsc::channel();
        let thread = std::thread::Builder::new().name("metrics".into());
        let begun = thread.spawn(move || {
            let Way { runtime, exporter } = way;
            // Nobody listens where the process did not wait.
            let _ = say.send(runtime.block_on(run(&exporter, &instruments, &counted, ended)));
        });
        begun.ok().map(|_| Self { end: Some(end), done })
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        drop(self.end.take());
        let said = self.done.recv_timeout(LAST_MOMENT).unwrap_or_else(|_| Err("no answer in time".to_owned()));
        if let Err(why) = said {
            eprintln!("· the last metrics were not taken ({why})");
        }
    }
}

async fn run(
    exporter: &MetricExporter,
    instruments: &Instruments,
    counted: &Shared,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), String> {
    loop {
        tokio::select! {
            biased;
            _ = &mut ended => return push(exporter, instruments, counted).await,
            () = tokio::time::sleep(every()) => {
                if let Err(why) = push(exporter, instruments, counted).await {
                    tracing::debug!(why, "metrics were not taken");
                }
            }
        }
    }
}

async fn push(exporter: &MetricExporter, instruments: &Instruments, counted: &Shared) -> Result<(), String> {
    let (mut sums, mut standing) = (ResourceMetrics::default(), ResourceMetrics::default());
    counted.collect(&mut sums).map_err(|e| e.to_string())?;
    let reader = Shared::new(Temporality::Cumulative);
    let provider = instruments.standing(reader.clone());
    reader.collect(&mut standing).map_err(|e| e.to_string())?;
    drop(provider);
    in_time(exporter.export(&sums)).await?;
    in_time(exporter.export(&standing)).await
}

fn every() -> Duration {
    let set = std::env::var(EVERY_VARIABLE).ok().and_then(|text| text.trim().parse().ok());
    set.filter(|millis| *millis > 0).map_or(EVERY, Duration::from_millis)
}
