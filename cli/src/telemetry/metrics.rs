//! What is measured of this process and the clusters that it holds, by OTLP and on a page for Prometheus.
//!
//! Modules in reading order.

pub mod names;

pub mod measured;

pub mod meters;

pub mod store;

pub mod push;

pub mod page;

use super::collector::measuring;
use super::settings::{Setting, Signal, setting};
use k0rotate_engine::log::sled::Timed;
use meters::Instruments;
use opentelemetry_sdk::metrics::Temporality;
use page::Served;
use prometheus::Registry;
use push::{Pusher, Shared, Way};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Whether somebody is to read a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nobody asked for one.
    Unasked,
    /// At this address.
    At(SocketAddr),
}

/// All that this process measures. Dropped, what was measured last is sent.
pub struct Meters {
    instruments: Arc<Instruments>,
    /// Nobody locks it: it makes a thing that one thread drops a thing that several share.
    _pusher: Mutex<Option<Pusher>>,
    _page: Option<Served>,
}

/// Those of this process, while somebody keeps them.
static OF_PROCESS: Mutex<Weak<Meters>> = Mutex::new(Weak::new());

/// Those of this process, if anybody wants to know; begun with the first that asks. What is set wrongly is said, and is no error.
pub fn of_process(instance: &str, page: Page) -> Option<Arc<Meters>> {
    let mut known = OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(meters) = known.upgrade() {
        return Some(meters);
    }
    let way = match setting(Signal::Metrics, &|name| std::env::var(name).ok()) {
        Ok(Setting::Off) => Ok(None),
        Ok(Setting::Otlp(transport)) => Way::to(transport).map(Some),
        Err(wrong) => Err(wrong),
    };
    let way = way.unwrap_or_else(|wrong| {
        eprintln!("· no metrics are sent: {wrong}");
        None
    });
    if way.is_none() && page == Page::Unasked {
        return None;
    }
    let meters = Meters::begin(instance, way, page).map(Arc::new);
    match meters {
        Ok(meters) => {
            *known = Arc::downgrade(&meters);
            Some(meters)
        }
        Err(why) => {
            eprintln!("· nothing is measured: {why}");
            None
        }
    }
}

impl Meters {
    fn begin(instance: &str, way: Option<Way>, page: Page) -> Result<Self, String> {
        let counted = Shared::new(way.as_ref().map_or(Temporality::Cumulative, Way::temporality));
        let registry = Registry::new();
        let readers = (counted.clone(), page::exporter(&registry)?);
        let instruments = Arc::new(Instruments::new(measuring(instance), readers));
        let pusher = way.and_then(|way| Pusher::begin(way, instruments.clone(), counted));
        let page = match page {
            Page::At(at) => page::serve(at, &instruments, &registry),
            Page::Unasked => None,
        };
        Ok(Self { instruments, _pusher: Mutex::new(pusher), _page: page })
    }

    /// What counts.
    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// Counts the commits of a store.
    pub fn commits(&self) -> Timed {
        let instruments = self.instruments.clone();
        Arc::new(move |took| instruments.commit(took))
    }
}
