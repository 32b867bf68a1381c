//! The three dataflows, each the one before it and more. Every file reads from top to bottom like the
//! figure it implements.
//!
//! In: raw records in epochs, the device collection's changes, the end of the input. Out: tables, committed.

mod equipment;
mod ingest_transform_load;
mod realtime_analytics;
mod sensor_collection;

use timely::dataflow::ProbeHandle;

pub use equipment::{Equipment, KeptByOne, Shared, columns, parser, watermark_rules};
pub use ingest_transform_load::ingest_transform_load;
pub use realtime_analytics::realtime_analytics;
pub use sensor_collection::sensor_collection;

use crate::operators::{DeviceUpdate, Mark, Rows};
use crate::settings::Dataflow;
use crate::source::{Chunk, Time};

/// What flows in, on each worker.
pub struct Sources<'scope> {
    /// Raw records of this worker, a chunk for each epoch.
    pub records: Rows<'scope, Chunk>,
    /// Changes of the device collection, on any worker.
    pub devices: Rows<'scope, DeviceUpdate>,
    /// The end of a finite input and the silences of a live one, on any one worker.
    pub marks: Rows<'scope, Mark>,
}

/// Builds the dataflow that the settings ask for. The probe follows the epochs that have reached the tables' writers: what
/// bounds the epochs in flight. The dataflow is complete when everything is committed.
pub fn build(sources: Sources<'_>, equipment: Equipment) -> ProbeHandle<Time> {
    match equipment.shared.settings.dataflow {
        Dataflow::SensorCollection => sensor_collection(sources, equipment),
        Dataflow::IngestTransformLoad => ingest_transform_load(sources, equipment),
        Dataflow::RealtimeAnalytics => realtime_analytics(sources, equipment),
    }
}
