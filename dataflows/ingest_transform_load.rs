//! Streaming ingest, transform, load: the readings of the sensor collection, joined with the device collection.
//!
//! ```text
//!  records ── sensor collection ── enrich ── readings/
//!                                    │
//!            device collection ── arranged
//! ```

use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::{Concat, Probe};

use super::sensor_collection::collect;
use super::{Equipment, Sources};
use crate::operators::{arrange_devices, commit, deliver, enrich, list_unknown, unscored};
use crate::sink::Readings;
use crate::source::Time;

/// The whole of it; the probe follows what has reached the tables' writers.
pub fn ingest_transform_load(sources: Sources<'_>, mut equipment: Equipment) -> ProbeHandle<Time> {
    let flow = ProbeHandle::new();
    let (readings, staged) = collect(sources.records, &mut equipment);
    let devices = arrange_devices(sources.devices);
    let readings = enrich(readings, devices);
    let (readings, listed) = list_unknown(readings, equipment.unknown_devices());

    let readings = unscored(readings).probe_with(&flow);
    let counts = equipment.reading_counts();
    let staged = staged.concat(listed).concat(deliver(
        readings,
        Readings::new(equipment.columns()),
        equipment.delivery(),
        counts,
    ));

    commit(staged, equipment.committer());
    flow
}
