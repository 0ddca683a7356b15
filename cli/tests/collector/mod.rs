//! A collector in the process of the test: it speaks the published OTLP over gRPC or HTTP, keeps what it takes, and can be in a bad mood.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What it does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    Well,
    /// Says that it cannot now.
    Busy,
    /// Says nothing.
    Silent,
    /// Answers as a web server that knows nothing of it.
    Stranger,
}

/// How it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Grpc,
    Http,
}

/// See the file's sentence.
#[derive(Clone)]
pub struct Collector {
    at: SocketAddr,
    speaks: Speaks,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    mood: Mood,
    taken: Vec<ExportTraceServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    refused: usize,
    authorization: Option<String>,
}

/// A place at which nobody listens yet.
pub fn place() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it is bound")
}

impl Collector {
    pub fn new(speaks: Speaks) -> Self {
        Self::at(place(), speaks)
    }

    /// Comes up there, and serves until the process of the test ends.
    pub fn at(at: SocketAddr, speaks: Speaks) -> Self {
        let kept = Kept {
            mood: Mood::Well,
            taken: Vec::new(),
            logs: Vec::new(),
            metrics: Vec::new(),
            refused: 0,
            authorization: None,
        };
        let collector = Self { at, speaks, kept: Arc::new(Mutex::new(kept)) };
        let listener = TcpListener::bind(at).expect("the port is free");
        listener.set_nonblocking(true).expect("it is ours");
        let own = collector.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(own.serve(listener));
        });
        collector
    }

    async fn serve(self, listener: TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is bound");
        if self.speaks == Speaks::Grpc {
            let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
            let server = server.add_service(LogsServiceServer::new(self.clone()));
            let server = server.add_service(MetricsServiceServer::new(self));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("it serves");
        } else {
            let router = Router::new()
                .route("/v1/traces", post(over_http))
                .route("/v1/logs", post(logs_over_http))
                .route("/v1/metrics", post(metrics_over_http))
                .with_state(self);
            axum::serve(listener, router).await.expect("it serves");
        }
    }

    /// The variables that lead to it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        variables(self.at, self.speaks)
    }

    pub fn is(&self, mood: Mood) {
        self.kept().mood = mood;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it did not take something.
    pub fn refused(&self) -> usize {
        self.kept().refused
    }

    /// The credential of the last who asked.
    pub fn authorization(&self) -> Option<String> {
        self.kept().authorization.clone()
    }

    /// Every span of a history, as often as it came.
    pub fn spans(&self) -> Vec<Span> {
        self.all_spans().into_iter().filter(|span| span.kind != SpanKind::Client as i32).collect()
    }

    /// Every live span: of what was asked of hosts.
    pub fn commands(&self) -> Vec<Span> {
        self.all_spans().into_iter().filter(|span| span.kind == SpanKind::Client as i32).collect()
    }

    fn all_spans(&self) -> Vec<Span> {
        let kept = self.kept();
        let scopes = kept.taken.iter().flat_map(|request| &request.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Each span once; all that came several times were the same.
    pub fn each_once(&self) -> Vec<Span> {
        let mut once = BTreeMap::new();
        for span in self.spans() {
            let known = once.entry(span.span_id.clone()).or_insert_with(|| span.clone());
            assert_eq!(*known, span, "a span that is sent twice is the same");
        }
        once.into_values().collect()
    }

    /// Every log record, as often as it came.
    pub fn logs(&self) -> Vec<LogRecord> {
        let kept = self.kept();
        let scopes = kept.logs.iter().flat_map(|request| &request.resource_logs).flat_map(|of| &of.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }

    /// Each metric as it came last, by its name.
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let kept = self.kept();
        let scopes = kept.metrics.iter().flat_map(|request| &request.resource_metrics).flat_map(|of| &of.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).map(|metric| (metric.name.clone(), metric.clone())).collect()
    }

    /// Attributes of who measured.
    pub fn measuring(&self) -> Vec<(String, String)> {
        let kept = self.kept();
        let resources =
            kept.metrics.iter().flat_map(|request| &request.resource_metrics).filter_map(|of| of.resource.as_ref());
        let all = resources.flat_map(|resource| &resource.attributes);
        all.map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest) -> Mood {
        let mut kept = self.kept();
        if kept.mood == Mood::Well {
            kept.metrics.push(request);
        } else {
            kept.refused += 1;
        }
        kept.mood
    }

    fn take_logs(&self, request: ExportLogsServiceRequest) -> Mood {
        let mut kept = self.kept();
        if kept.mood == Mood::Well {
            kept.logs.push(request);
        } else {
            kept.refused += 1;
        }
        kept.mood
    }

    /// Attributes of who sent.
    pub fn resources(&self) -> Vec<(String, String)> {
        let kept = self.kept();
        let resources =
            kept.taken.iter().flat_map(|request| &request.resource_spans).filter_map(|of| of.resource.as_ref());
        resources
            .flat_map(|resource| &resource.attributes)
            .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
            .collect()
    }

    fn take(&self, request: ExportTraceServiceRequest, authorization: Option<&str>) -> Mood {
        let mut kept = self.kept();
        kept.authorization = authorization.map(str::to_owned);
        if kept.mood == Mood::Well {
            kept.taken.push(request);
        } else {
            kept.refused += 1;
        }
        kept.mood
    }
}

/// The variables that lead to a collector there.
pub fn variables(at: SocketAddr, speaks: Speaks) -> Vec<(&'static str, String)> {
    let protocol = if speaks == Speaks::Grpc { "grpc" } else { "http/protobuf" };
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{at}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collectors-own".to_owned()),
    ]
}

/// An attribute of a span, as text.
pub fn of(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == name);
    text(found.and_then(|pair| pair.value.as_ref()))
}

/// What a log record says.
pub fn body(record: &LogRecord) -> String {
    text(record.body.as_ref())
}

/// A value, as text.
pub fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let authorization =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        over_grpc(self.take(request.into_inner(), authorization.as_deref())).await
    }
}

async fn over_http(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Answer {
    let request = ExportTraceServiceRequest::decode(body).expect("it is what is published");
    let mood = collector.take(request, headers.get("authorization").and_then(|value| value.to_str().ok()));
    answer(mood, &ExportTraceServiceResponse::default()).await
}

async fn over_grpc<T: Default>(mood: Mood) -> Result<Response<T>, Status> {
    match mood {
        Mood::Well => Ok(Response::new(T::default())),
        Mood::Silent => std::future::pending().await,
        Mood::Busy | Mood::Stranger => Err(Status::unavailable("later")),
    }
}

async fn answer(mood: Mood, taken: &impl Message) -> Answer {
    match mood {
        Mood::Well => ([(header::CONTENT_TYPE, "application/x-protobuf")], taken.encode_to_vec()).into_response(),
        Mood::Silent => std::future::pending().await,
        Mood::Busy => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Stranger => ([(header::CONTENT_TYPE, "text/html")], "<h1>It works!</h1>").into_response(),
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        over_grpc(self.take_logs(request.into_inner())).await
    }
}

async fn logs_over_http(State(collector): State<Collector>, body: Bytes) -> Answer {
    let request = ExportLogsServiceRequest::decode(body).expect("it is what is published");
    answer(collector.take_logs(request), &ExportLogsServiceResponse::default()).await
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        over_grpc(self.take_metrics(request.into_inner())).await
    }
}

async fn metrics_over_http(State(collector): State<Collector>, body: Bytes) -> Answer {
    let request = ExportMetricsServiceRequest::decode(body).expect("it is what is published");
    answer(collector.take_metrics(request), &ExportMetricsServiceResponse::default()).await
}
