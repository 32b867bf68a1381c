//! `deidentify`: parts a reading from the patient's identity, on the worker that received it.
//!
//! The reading goes on without it. The identity is sealed by the vault's intake before it can leave this
//! worker; what is new of it travels to the vault once a commit, under lock.

use std::collections::BTreeMap;

use timely::dataflow::channels::pact::Pipeline;

use super::Rows;
use super::fork::fork;
use crate::cluster::halt;
use crate::record::{Parsed, Reading};
use crate::source::commit_of;
use crate::vault::{Intake, Sighting};

/// Readings without identity, and sealed sightings of patients for the vault.
pub fn deidentify<'scope>(
    parsed: Rows<'scope, Parsed>,
    mut intake: Intake,
) -> (Rows<'scope, Reading>, Rows<'scope, Sighting>) {
    // The capability to hand over a commit's sightings, held until the commit is complete here.
    let mut open = BTreeMap::new();
    fork(
        parsed,
        Pipeline,
        "Deidentify",
        move |input, frontier, readings, sightings| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                let held = open.entry(commit_of(time)).or_insert_with(|| stamp.delayed(&time, 1));
                held.downgrade(&time);
                for batch in batches {
                    let mut without = Vec::with_capacity(batch.len());
                    for Parsed { reading, identity } in batch.drain(..) {
                        if let Some(patient) = &reading.patient {
                            let (name, dob) = (identity.name.as_deref(), identity.dob.as_deref());
                            let seen = intake.see(patient, reading.timestamp, name, dob);
                            seen.unwrap_or_else(|e| halt(e));
                        }
                        without.push(reading);
                    }
                    readings.session(&stamp).give_container(&mut without);
                }
            });
            // Epochs come in order, so that what was seen up to here belongs to this commit or to one before it.
            while let Some(first) = open.first_entry() {
                if frontier.less_equal(&crate::source::end_of_commit(*first.key())) {
                    break;
                }
                let held = first.remove();
                sightings.session(&held).give_iterator(intake.drain().into_iter());
            }
        },
    )
}
