//! The three dataflows, each the one before it and more. Every file reads from top to bottom like the
//! figure it implements.
//!
//! In: raw records in epochs, the device collection's changes, the end of the input. Out: tables, committed.

mod equipment;
mod ingest_transform_load;
mod realtime_analytics;
mod sensor_collection;

use timely::dataflow::ProbeHandle;

pub use equipment::{Equipment, KeptByOne, Shared};
pub use ingest_transform_load::ingest_transform_load;
pub use realtime_analytics::realtime_analytics;
pub use sensor_collection::sensor_collection;

use crate::operators::{DeviceUpdate, EndOfInput, Rows};
use crate::settings::Dataflow;
use crate::source::{Chunk, Time};

/// What flows in, on each worker.
pub struct Sources<'scope> {
    /// Raw records of this worker, a chunk for each epoch.
    pub records: Rows<'scope, Chunk>,
    /// Changes of the device collection, on any worker.
    pub devices: Rows<'scope, DeviceUpdate>,
    /// The end of a finite input, on any one worker.
    pub ends: Rows<'scope, EndOfInput>,
}

/// How far a running dataflow has come.
pub struct Progress {
    /// Epochs that have reached the tables' writers: what bounds the epochs in flight.
    pub flow: ProbeHandle<Time>,
    /// Epochs whose results are committed.
    pub committed: ProbeHandle<Time>,
}

/// Builds the dataflow that the settings ask for.
pub fn build(sources: Sources<'_>, equipment: Equipment) -> Progress {
    match equipment.shared.settings.dataflow {
        Dataflow::SensorCollection => sensor_collection(sources, equipment),
        Dataflow::IngestTransformLoad => ingest_transform_load(sources, equipment),
        Dataflow::RealtimeAnalytics => realtime_analytics(sources, equipment),
    }
}
