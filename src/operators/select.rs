//! `select`: keeps the readings of the patients and devices that the dataflow file names.

use std::collections::HashSet;

use compact_str::CompactString;
use timely::dataflow::channels::pact::Pipeline;

use super::Rows;
use super::fork::fork;
use crate::record::Parsed;

/// Readings whose patient is in `patients` and whose device is in `devices`, an empty set meaning all; and how many were not.
pub fn select<'scope>(
    parsed: Rows<'scope, Parsed>,
    patients: HashSet<CompactString>,
    devices: HashSet<CompactString>,
) -> (Rows<'scope, Parsed>, Rows<'scope, u64>) {
    let wanted = move |parsed: &Parsed| {
        let reading = &parsed.reading;
        (devices.is_empty() || devices.contains(reading.device.text()))
            && (patients.is_empty() || reading.patient.as_ref().is_some_and(|id| patients.contains(id)))
    };
    fork(parsed, Pipeline, "Select", move |input, _, selected, not_selected| {
        input.for_each_stamp(|stamp, batches| {
            let mut dropped = 0;
            for batch in batches {
                let before = batch.len();
                batch.retain(&wanted);
                dropped += (before - batch.len()) as u64;
                selected.session(&stamp).give_container(batch);
            }
            if dropped > 0 {
                not_selected.session(&stamp).give(dropped);
            }
        });
    })
}
