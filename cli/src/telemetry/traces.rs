//! Carries spans: those that the histories of a store have ended since the cursor, to the collector, in batches.

use super::callers;
use super::collector::{Collector, data};
use super::courier::Load;
use super::sent::Sent;
use super::settings::Transport;
use super::spans::{About, Span, spans};
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::log::EventLog;
use opentelemetry::trace::SpanContext;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// The cursor's name in the folder of the store.
const FILE: &str = "sent-traces.json";
/// Spans in a batch: some hundred KiB, far below what collectors take.
const BATCH: usize = 512;

/// See the file's sentence.
pub struct Traces {
    dir: PathBuf,
    sent: Sent,
    collector: Collector,
}

impl Traces {
    /// Must be called on a runtime.
    pub fn begin(dir: &Path, transport: Transport) -> Result<Self, String> {
        let (sent, collector) = (Sent::read(&dir.join(FILE)), Collector::of_spans(transport)?);
        Ok(Self { dir: dir.to_owned(), sent, collector })
    }

    async fn carry_of(&mut self, execution: &ExecutionId, spans: Vec<Span>, events: Seq) -> Result<(), String> {
        let callers = callers::of(&self.dir, execution);
        let mut left: &[Span] = &spans;
        while !left.is_empty() {
            let (now, later) = left.split_at(BATCH.min(left.len()));
            let batch = now.iter().map(|span| data(span, &links(span, &callers))).collect();
            self.collector.take(batch).await?;
            // Several end with one event: where a batch ends between them, those before it are sent once more.
            self.sent.move_to(execution, later.first().map_or(events, |next| next.ended))?;
            left = later;
        }
        if spans.is_empty() { self.sent.move_to(execution, events) } else { Ok(()) }
    }
}

/// Who is linked: all callers with the execution, and with a phase the last before it began.
fn links(span: &Span, callers: &[(Seq, SpanContext)]) -> Vec<SpanContext> {
    match span.about {
        About::Execution => callers.iter().map(|(_, caller)| caller.clone()).collect(),
        About::Phase => {
            let before = callers.iter().rev().find(|(events, _)| *events <= span.began);
            before.map(|(_, caller)| caller.clone()).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[async_trait::async_trait]
impl Load for Traces {
    /// A history that the collector refuses keeps no other from it.
    async fn carry(&mut self, log: &Weak<dyn EventLog>) -> Result<(), String> {
        let read = async |log: Arc<dyn EventLog>, sent: &Sent| {
            let mut new = Vec::new();
            for head in log.heads().await.map_err(|e| e.to_string())? {
                let from = sent.of(&head.execution);
                if from < head.len {
                    let history = log.read(&head.execution, 0).await.map_err(|e| e.to_string())?;
                    let ended = spans(&history).into_iter().filter(|span| span.ended >= from).collect::<Vec<_>>();
                    new.push((head.execution, ended, history.len() as Seq));
                }
            }
            Ok::<_, String>(new)
        };
        // The store is not held open while a collector is waited for.
        let Some(log) = log.upgrade() else { return Ok(()) };
        let new = read(log, &self.sent).await?;
        let mut carried = Ok(());
        for (execution, spans, events) in new {
            carried = self.carry_of(&execution, spans, events).await.and(carried);
        }
        carried
    }
}
