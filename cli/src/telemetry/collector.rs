//! A collector, reached by OTLP. It is asked once each time: who sends knows when to try again, and has the rest of the history to send.

use super::settings::{Signal, Transport, is_secure};
use super::spans::Span;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use k0rotate_engine::clock::Timestamp;
use opentelemetry::trace::{Event, Link, SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use std::time::{Duration, SystemTime};

/// No answer takes longer than this, whatever OTEL_EXPORTER_OTLP_TIMEOUT says: the thread that waits must see the end of the process.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// See the file's sentence.
pub struct Collector {
    spans: Option<SpanExporter>,
    logs: Option<LogExporter>,
}

/// An exporter, of whichever signal: their builders have no type in common.
macro_rules! built {
    ($builder:expr, $transport:expr, $signal:expr) => {
        match $transport {
            Transport::Grpc => {
                $builder.with_tonic().with_tls_config(tls()).with_retry_policy(RetryPolicy::disabled()).build()
            }
            Transport::Http => {
                let client = Strict::of($signal)?;
                $builder.with_http().with_http_client(client).with_retry_policy(RetryPolicy::disabled()).build()
            }
        }
    };
}

/// A log record and who makes it.
pub type Scoped = (SdkLogRecord, InstrumentationScope);

impl Collector {
    /// For spans, as the environment says. Must be called on a runtime.
    pub fn of_spans(transport: Transport) -> Result<Self, String> {
        let built = built!(SpanExporter::builder(), transport, Signal::Traces);
        let mut exporter = built.map_err(|e| e.to_string())?;
        exporter.set_resource(&resource());
        Ok(Self { spans: Some(exporter), logs: None })
    }

    /// The same for log records.
    pub fn of_logs(transport: Transport) -> Result<Self, String> {
        let built = built!(LogExporter::builder(), transport, Signal::Logs);
        let mut exporter = built.map_err(|e| e.to_string())?;
        exporter.set_resource(&resource());
        Ok(Self { spans: None, logs: Some(exporter) })
    }

    /// Hands spans over; they were accepted if it answers so. The error holds nothing that a header or the collector said.
    pub async fn take(&self, spans: Vec<SpanData>) -> Result<(), String> {
        let Some(exporter) = &self.spans else { return Err("no collector of spans".into()) };
        in_time(exporter.export(spans)).await
    }

    /// The same of log records.
    pub async fn take_logs(&self, records: &[Scoped]) -> Result<(), String> {
        let Some(exporter) = &self.logs else { return Err("no collector of log records".into()) };
        let borrowed: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
        in_time(exporter.export(LogBatch::new(&borrowed))).await
    }
}

/// The same for metrics; who measures says what and when.
pub fn of_metrics(transport: Transport) -> Result<MetricExporter, String> {
    let built = built!(MetricExporter::builder(), transport, Signal::Metrics);
    built.map_err(|e| e.to_string())
}

/// An answer, or that none came.
pub async fn in_time(taken: impl Future<Output = OTelSdkResult>) -> Result<(), String> {
    match tokio::time::timeout(LONGEST_ANSWER, taken).await {
        Ok(taken) => taken.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {} s", LONGEST_ANSWER.as_secs())),
    }
}

fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_native_roots()
}

/// Roots of the system are read only where they are needed: a machine may have none.
fn over_https() -> Result<HttpsConnector<HttpConnector>, String> {
    let roots = HttpsConnectorBuilder::new().with_native_roots();
    let roots = roots.map_err(|e| format!("no roots of this system can be read: {e}"))?;
    Ok(roots.https_or_http().enable_http1().build())
}

/// A web server that says 200 to everything is no collector: what it "takes" would be lost.
#[derive(Debug)]
struct Strict(Box<dyn HttpClient>);

impl Strict {
    fn of(signal: Signal) -> Result<Self, String> {
        Ok(Self(if is_secure(signal) {
            Box::new(HyperClient::new(over_https()?, LONGEST_ANSWER, None))
        } else {
            Box::new(HyperClient::with_default_connector(LONGEST_ANSWER, None))
        }))
    }
}

#[async_trait::async_trait]
impl HttpClient for Strict {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.0.send_bytes(request).await?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let spoken = kind.starts_with("application/x-protobuf") || (kind.is_empty() && answer.body().is_empty());
        if answer.status().is_success() && !spoken {
            return Err("what answers does not speak OTLP".into());
        }
        Ok(answer)
    }
}

/// Who measures: of several processes that send the same metrics, each is another.
pub fn measuring(instance: &str) -> Resource {
    let in_list = std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|list| list.contains("service.instance.id="));
    let own = resource();
    let mut all: Vec<KeyValue> = own.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    if !in_list {
        all.push(KeyValue::new("service.instance.id", instance.to_owned()));
    }
    Resource::builder_empty().with_attributes(all).build()
}

/// Who sends: the same whichever process does.
fn resource() -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    let in_list = std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|list| list.contains("service.name="));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named || in_list { builder.build() } else { builder.with_service_name("k0rotate").build() }
}

/// A span as the exporter takes it; callers that it is linked to come from the caller.
pub fn data(span: &Span, callers: &[SpanContext]) -> SpanData {
    let event = |moment: &super::spans::Moment| Event::new(moment.name, time(moment.at), moment.attributes.clone(), 0);
    let mut events = SpanEvents::default();
    events.events = span.moments.iter().map(event).collect();
    let mut links = SpanLinks::default();
    links.links = callers.iter().map(|caller| Link::new(caller.clone(), Vec::new(), 0)).collect();
    SpanData {
        span_context: SpanContext::new(span.trace, span.id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent,
        parent_span_is_remote: false,
        span_kind: span.kind(),
        name: span.name.clone().into(),
        start_time: time(span.from),
        end_time: time(span.until),
        attributes: span.attributes.clone(),
        dropped_attributes_count: 0,
        events,
        links,
        status: span.error.as_ref().map_or(Status::Unset, |error| Status::error(error.clone())),
        instrumentation_scope: scope(),
    }
}

/// What makes all that is sent.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("k0rotate").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)
}
