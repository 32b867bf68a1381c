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
use crate::commit::Staged;
use crate::operators::{DeviceUpdate, Rows, arrange_devices, commit, deliver, enrich, list_unknown, show, unscored};
use crate::record::Reading;
use crate::sink::Readings;
use crate::source::Time;

/// The whole of it; the probe follows what has reached the tables' writers.
pub fn ingest_transform_load(sources: Sources<'_>, mut equipment: Equipment) -> ProbeHandle<Time> {
    let flow = ProbeHandle::new();
    let (readings, staged) = collect(sources.records, &mut equipment);
    let (readings, staged) = join(readings, staged, sources.devices, &mut equipment);

    let readings = show(unscored(readings), equipment.board()).probe_with(&flow);
    let counts = equipment.reading_counts();
    let staged = staged.concat(deliver(
        readings,
        Readings::new(equipment.columns()),
        equipment.delivery(),
        counts,
    ));

    commit(staged, equipment.committer());
    flow
}

/// Readings with the facts of their devices. Where there is a device collection, devices that it does not know are listed.
pub(super) fn join<'scope>(
    readings: Rows<'scope, Reading>,
    staged: Rows<'scope, Staged>,
    devices: Rows<'scope, DeviceUpdate>,
    equipment: &mut Equipment,
) -> (Rows<'scope, Reading>, Rows<'scope, Staged>) {
    let readings = enrich(readings, arrange_devices(devices));
    if !equipment.has_device_collection() {
        return (readings, staged);
    }
    let list = equipment.unknown_devices();
    let (readings, listed) = list_unknown(readings, list, equipment.checkpoints());
    (readings, staged.concat(listed))
}
