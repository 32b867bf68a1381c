//! Sensor data collection: devices' records in, readings without identities out.
//!
//! ```text
//!  records ── parse ── select ── de-identify ── deduplicate ── readings/
//!               │                     │
//!          quarantine/              vault
//! ```

use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::{Concat, Probe};

use super::{Equipment, Sources};
use crate::commit::{Staged, Tally};
use crate::operators::{
    Rows, collect_identities, commit, count_dropped, deduplicate, deidentify, deliver, parse, select, show, unscored,
};
use crate::record::Reading;
use crate::sink::{Quarantine, Readings};
use crate::source::{Chunk, Time};

/// The whole of it; the probe follows what has reached the tables' writers.
pub fn sensor_collection(sources: Sources<'_>, mut equipment: Equipment) -> ProbeHandle<Time> {
    let flow = ProbeHandle::new();
    let (readings, staged) = collect(sources.records, &mut equipment);

    let readings = show(unscored(readings), equipment.board()).probe_with(&flow);
    let staged = staged.concat(deliver(
        readings,
        Readings::new(equipment.columns()),
        equipment.delivery(),
        |row, tally| {
            tally.readings += 1;
            tally.late += u64::from(row.reading.late);
        },
    ));

    commit(staged, equipment.committer());
    flow
}

/// Records to readings without identities; identities to the vault, unusable records to quarantine. The start of all three dataflows.
pub(super) fn collect<'scope>(
    records: Rows<'scope, Chunk>,
    equipment: &mut Equipment,
) -> (Rows<'scope, Reading>, Rows<'scope, Staged>) {
    let (parsed, quarantined) = parse(records, equipment.parser(), equipment.payload_sealer());
    let (selected, not_selected) = select(parsed, equipment.selection());
    let (readings, sightings) = deidentify(selected, equipment.intake());
    let vault = equipment.vault();
    let (readings, duplicates) = deduplicate(readings, equipment.deduplication_horizon(), equipment.checkpoints());

    let staged = deliver(quarantined, Quarantine::new(), equipment.delivery(), |row, tally| {
        *tally.quarantined.entry(row.reason).or_default() += 1;
    })
    .concat(collect_identities(sightings, vault, equipment.checkpoints()))
    .concat(count_dropped(not_selected, |not_selected| Tally {
        not_selected,
        ..Tally::default()
    }))
    .concat(count_dropped(duplicates, |duplicates| Tally {
        duplicates,
        ..Tally::default()
    }));
    (readings, staged)
}
