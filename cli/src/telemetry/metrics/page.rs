//! The page of metrics for Prometheus, on a loopback address alone: whoever is on this machine may read it.

use super::meters::Instruments;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder, Registry, TextEncoder};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections at the same time; Prometheus needs one.
const MOST_CONNECTIONS: usize = 16;
/// How long a request's head may take to come.
const HEAD: Duration = Duration::from_secs(10);
/// A connection that takes longer is closed.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it is waited where the address cannot be had, or the kernel opens no connection.
const AGAIN: Duration = Duration::from_secs(5);

/// The text of the page.
pub fn text(instruments: &Instruments, counted: &Registry) -> Result<String, String> {
    let standing = Registry::new();
    let exporter = exporter(&standing)?;
    let provider = instruments.standing(exporter);
    let families = [counted.gather(), standing.gather()].concat();
    drop(provider);
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&families, &mut bytes).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// A reader whose metrics come to this registry.
pub fn exporter(registry: &Registry) -> Result<opentelemetry_prometheus::PrometheusExporter, String> {
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    exporter.scope_info_enabled(false).without_target_info().build().map_err(|e| e.to_string())
}

/// Serves it as long as it is kept.
pub struct Served {
    _end: oneshot::Sender<()>,
}

/// Serves the page from a thread of its own. An address that cannot be had is told and tried again: no rotation is refused for it.
pub fn serve(at: SocketAddr, instruments: &Arc<Instruments>, counted: &Registry) -> Option<Served> {
    let (end, ended) = oneshot::channel();
    let (instruments, counted) = (Arc::downgrade(instruments), counted.clone());
    let router = Router::new().route("/metrics", get(async move || answer(&instruments, &counted)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let begun = runtime.and_then(|runtime| {
        let thread = std::thread::Builder::new().name("metrics-page".into());
        thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // An error means the same: whoever kept it is gone.
                    _ = ended => {}
                    () = listen(at, router) => {}
                }
            });
        })
    });
    match begun {
        Ok(_) => Some(Served { _end: end }),
        Err(error) => {
            tracing::error!("no page of metrics: {error}");
            None
        }
    }
}

fn answer(instruments: &Weak<Instruments>, counted: &Registry) -> Response {
    let Some(instruments) = instruments.upgrade() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match text(&instruments, counted) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn listen(at: SocketAddr, router: Router) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(at).await {
            Ok(listener) => break listener,
            Err(error) if !told => {
                tracing::error!("no page of metrics at {at} yet: {error}");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    };
    tracing::info!("metrics are at http://{at}/metrics");
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(room) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone(), room))),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, router: Router, _room: OwnedSemaphorePermit) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A peer that is gone, or that takes too long, is the end of a connection.
    let _ = tokio::time::timeout(LONGEST, served).await;
}
