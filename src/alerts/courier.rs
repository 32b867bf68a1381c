//! Those who deliver: a thread for each destination. In: what waits in the outbox. Out: the world, and receipts of what has arrived.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::mqtt::Endpoint;

use super::outbox::{Destination, Outbox, OutboxError};
use super::publisher::Publisher;
use super::scribe::Scribe;

/// How often it is looked whether all has been delivered, once nothing more comes.
const LOOK: Duration = Duration::from_millis(5);

/// Which broker gets alerts, and how.
#[derive(Clone)]
pub struct Broker {
    pub endpoint: Endpoint,
    pub client_id: String,
    pub keep_alive: Duration,
    /// Above the manufacturers' levels.
    pub topic: String,
}

/// What a courier is told.
#[derive(Clone, Default)]
pub(super) struct Orders(Arc<AtomicBool>);

impl Orders {
    pub(super) fn leave(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The running threads.
pub struct Couriers {
    outbox: Arc<Outbox>,
    threads: Vec<JoinHandle<()>>,
    orders: Orders,
}

impl Couriers {
    /// Delivers what is in the outbox and what comes. `tell` hears in one line what the user should know; `fail` is called
    /// when the outbox cannot be used any more, and must not return.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        outbox: &Arc<Outbox>,
        broker: Option<Broker>,
        file: Option<PathBuf>,
        tell: impl Fn(&str) + Clone + Send + 'static,
        fail: impl Fn(OutboxError) + Clone + Send + 'static,
    ) -> std::io::Result<Couriers> {
        let orders = Orders::default();
        let mut threads = Vec::new();
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
        };
        if let Some(broker) = broker {
            let (runtime, fail) = (runtime()?, fail.clone());
            let publisher = Publisher::new(broker, Arc::clone(outbox), orders.clone(), tell.clone());
            let work = move || runtime.block_on(publisher.publish()).unwrap_or_else(fail);
            threads.push(thread::Builder::new().name("alerts to MQTT".into()).spawn(work)?);
        }
        if let Some(path) = file {
            let runtime = runtime()?;
            let scribe = Scribe::new(path, Arc::clone(outbox), orders.clone(), tell);
            let work = move || runtime.block_on(scribe.write()).unwrap_or_else(fail);
            threads.push(thread::Builder::new().name("alerts to file".into()).spawn(work)?);
        }
        Ok(Couriers {
            outbox: Arc::clone(outbox),
            threads,
            orders,
        })
    }

    /// Waits until all is delivered, but not for long; how many alerts are left, for the next run.
    pub fn finish(self, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        while self.outbox.waiting() > 0 && Instant::now() < until {
            thread::sleep(LOOK);
        }
        self.orders.0.store(true, Ordering::Release);
        self.outbox.wake();
        for thread in self.threads {
            let _ = thread.join(); // one that panicked has ended the process
        }
        self.outbox.waiting()
    }
}

impl Destination {
    /// Where the settings have alerts go.
    pub fn of(alerts: &crate::settings::Alerts) -> Vec<Destination> {
        let broker = (!alerts.topic.is_empty()).then_some(Destination::Broker);
        let file = (!alerts.file.is_empty()).then_some(Destination::File);
        broker.into_iter().chain(file).collect()
    }
}
