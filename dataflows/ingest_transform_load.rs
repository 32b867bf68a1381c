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
use super::{Equipment, Progress, Sources};
use crate::operators::{arrange_devices, commit, deliver, enrich, list_unknown, unscored};
use crate::sink::Readings;

/// The whole of it.
pub fn ingest_transform_load(sources: Sources<'_>, mut equipment: Equipment) -> Progress {
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

    let committed = commit(staged, equipment.committer());
    Progress { flow, committed }
}
