//! Carries lines of the audit as log records to a collector: there they are a copy that nobody who can write here can rewrite.

use super::collector::{Collector, Scoped, scope};
use super::courier::Load;
use super::sent::replace;
use super::settings::Transport;
use super::spans::root_of;
use crate::audit::{Line, parts};
use async_trait::async_trait;
use k0rotate_engine::log::EventLog;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{TraceFlags, TraceId};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::{Duration, SystemTime};

/// The cursor's name in the folder of the store.
const FILE: &str = "sent-logs.json";
/// Lines in a batch.
const BATCH: usize = 512;
/// The name by which a back end finds them.
pub const EVENT: &str = "k0rotate.audit";

/// The last line that was taken. Where another one stands in its place all are sent once more: the collector's copy shows both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    line: u64,
    hash: String,
}

/// See the file's sentence.
pub struct Logs {
    dir: PathBuf,
    sent: Sent,
    collector: Collector,
    logger: SdkLogger,
}

impl Logs {
    /// Must be called on a runtime.
    pub fn begin(dir: &Path, transport: Transport) -> Result<Self, String> {
        let sent = fs::read(dir.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // Nothing is emitted through it: it is what makes records.
        let logger = SdkLoggerProvider::builder().build().logger("k0rotate");
        let collector = Collector::of_logs(transport)?;
        Ok(Self { dir: dir.to_owned(), sent: sent.unwrap_or_default(), collector, logger })
    }

    fn record(&self, line: &Line) -> Scoped {
        let (entry, mut record) = (&line.entry, self.logger.create_log_record());
        let at = entry.time.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at.unwrap_or(0));
        let bad = entry.failure.is_some() || entry.outcome.as_deref() == Some("stuck");
        record.set_event_name(EVENT);
        record.set_timestamp(at);
        record.set_observed_timestamp(at);
        record.set_severity_number(if bad { Severity::Warn } else { Severity::Info });
        record.set_severity_text(if bad { "WARN" } else { "INFO" });
        record.set_body(AnyValue::from(line.text()));
        if let Ok(trace) = TraceId::from_hex(&entry.trace_id) {
            record.set_trace_context(trace, root_of(&entry.execution), Some(TraceFlags::SAMPLED));
        }
        (record, scope())
    }

    async fn send(&mut self, lines: &[Line]) -> Result<(), String> {
        for batch in lines.chunks(BATCH) {
            let records: Vec<Scoped> = batch.iter().map(|line| self.record(line)).collect();
            self.collector.take_logs(&records).await?;
            if let Some(last) = batch.last() {
                self.sent = Sent { line: last.line, hash: last.hash.clone() };
                let kept = serde_json::to_vec(&self.sent).map_err(|e| e.to_string())?;
                replace(&self.dir.join(FILE), &kept).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Load for Logs {
    async fn carry(&mut self, _: &Weak<dyn EventLog>) -> Result<(), String> {
        let lines = lines(&parts::from(&self.dir, self.sent.line));
        let known = lines.iter().position(|line| line.line == self.sent.line && line.hash == self.sent.hash);
        match known {
            Some(known) => self.send(&lines[known + 1..]).await,
            None => self.send(&self::lines(&parts::all(&self.dir))).await,
        }
    }
}

/// The whole lines of these files. What is not there yet the thread that writes it has not begun.
fn lines(files: &[PathBuf]) -> Vec<Line> {
    let text: String = files.iter().filter_map(|file| parts::text(file).ok()).collect();
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.filter_map(|line| serde_json::from_str(line).ok()).collect()
}
