//! A collector, reached by OTLP. It is asked once each time: who sends knows when to try again, and has the rest of the history to send.

use super::settings::Transport;
use super::spans::Span;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use k0rotate_engine::clock::Timestamp;
use opentelemetry::trace::{Event, Link, SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use std::time::{Duration, SystemTime};

/// No answer takes longer than this, whatever OTEL_EXPORTER_OTLP_TIMEOUT says: the thread that waits must see the end of the process.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// See the file's sentence.
pub struct Collector {
    exporter: SpanExporter,
}

impl Collector {
    /// As the environment says. Must be called on a runtime.
    pub fn of(transport: Transport) -> Result<Self, String> {
        let builder = SpanExporter::builder();
        let built = match transport {
            Transport::Grpc => {
                let tls = ClientTlsConfig::new().with_native_roots();
                builder.with_tonic().with_tls_config(tls).with_retry_policy(RetryPolicy::disabled()).build()
            }
            Transport::Http => {
                let http = builder.with_http().with_retry_policy(RetryPolicy::disabled());
                if is_secure() {
                    http.with_http_client(Strict(HyperClient::new(over_https()?, LONGEST_ANSWER, None))).build()
                } else {
                    http.with_http_client(Strict(HyperClient::with_default_connector(LONGEST_ANSWER, None))).build()
                }
            }
        };
        let mut exporter = built.map_err(|e| e.to_string())?;
        exporter.set_resource(&resource());
        Ok(Self { exporter })
    }

    /// Hands spans over; they were accepted if it answers so. The error holds nothing that a header or the collector said.
    pub async fn take(&self, spans: Vec<SpanData>) -> Result<(), String> {
        match tokio::time::timeout(LONGEST_ANSWER, self.exporter.export(spans)).await {
            Ok(taken) => taken.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", LONGEST_ANSWER.as_secs())),
        }
    }
}

/// Roots of the system are read only where they are needed: a machine may have none.
fn over_https() -> Result<HttpsConnector<HttpConnector>, String> {
    let roots = HttpsConnectorBuilder::new().with_native_roots();
    let roots = roots.map_err(|e| format!("no roots of this system can be read: {e}"))?;
    Ok(roots.https_or_http().enable_http1().build())
}

fn is_secure() -> bool {
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    endpoints.iter().filter_map(|name| std::env::var(name).ok()).any(|to| to.starts_with("https:"))
}

/// A web server that says 200 to everything is no collector: what it "takes" would be lost.
#[derive(Debug)]
struct Strict<C>(C);

#[async_trait::async_trait]
impl<C: HttpClient> HttpClient for Strict<C> {
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
    let scope = InstrumentationScope::builder("k0rotate").with_version(env!("CARGO_PKG_VERSION")).build();
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
        instrumentation_scope: scope,
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)
}
