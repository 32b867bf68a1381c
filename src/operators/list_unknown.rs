//! `list_unknown`: which devices send readings that the device collection does not know, and how many.
//!
//! A changing collection, and kept as one: differential counts the readings of each unknown device, and worker 0 writes
//! the list beside the state at every commit, for those who maintain the collection.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use compact_str::CompactString;
use differential_dataflow::AsCollection;
use differential_dataflow::operators::CountTotal;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::Rows;
use super::tap::tap;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::record::Reading;
use crate::sink::SinkError;
use crate::source::{Time, commit_of, end_of_commit};

/// Where the list goes; there on worker 0 only.
pub struct UnknownDevices {
    path: PathBuf,
    readings: BTreeMap<CompactString, isize>,
}

impl UnknownDevices {
    /// The list is written to `path`, as CSV.
    pub fn new(path: PathBuf) -> UnknownDevices {
        UnknownDevices {
            path,
            readings: BTreeMap::new(),
        }
    }

    fn write(&self) -> Result<(), SinkError> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| SinkError::io(&self.path)(io::Error::other(e));
        csv.write_record(["device_id", "readings"]).map_err(failed)?;
        for (device, readings) in &self.readings {
            csv.write_record([device.as_str(), &readings.to_string()])
                .map_err(failed)?;
        }
        let bytes = csv
            .into_inner()
            .map_err(|e| SinkError::io(&self.path)(e.into_error()))?;
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, bytes)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(SinkError::io(&self.path))
    }
}

/// The readings unchanged. What else comes out is progress: the list of a commit is written before the commit is made.
pub fn list_unknown<'scope>(
    readings: Rows<'scope, Reading>,
    mut list: Option<UnknownDevices>,
) -> (Rows<'scope, Reading>, Rows<'scope, Staged>) {
    let (readings, unknown) =
        tap::<_, _, _, CapacityContainerBuilder<Vec<CompactString>>, _>(readings, "Unknown", |reading: &Reading| {
            reading.facts.is_none().then(|| reading.device.text().clone())
        });
    let counts = changes(unknown).as_collection().count_total().inner;
    let to_one = Exchange::new(|_: &((CompactString, isize), Time, isize)| 0);
    let mut held = BTreeMap::new();
    let staged =
        counts.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_one, "ListUnknown", |_, _| {
            move |(input, frontier), _output| {
                input.for_each_stamp(|stamp, batches| {
                    let Some(time) = stamp.least().copied() else { return };
                    let (_, changes) = held
                        .entry(commit_of(time))
                        .or_insert_with(|| (stamp.delayed(&time, 0), Vec::new()));
                    batches.for_each(|batch| changes.append(batch));
                });
                while let Some(first) = held.first_entry() {
                    if frontier.less_equal(&end_of_commit(*first.key())) {
                        break;
                    }
                    let (_capability, mut changes) = first.remove();
                    if let Some(list) = list.as_mut() {
                        changes.sort_by_key(|(_, time, change)| (*time, *change)); // a count goes before the next one comes
                        for ((device, readings), _, change) in changes {
                            if change > 0 {
                                list.readings.insert(device, readings);
                            }
                        }
                        list.write().unwrap_or_else(|e| halt(e));
                    }
                }
            }
        });
    (readings, staged)
}

/// Rows as changes of a collection, each at its own epoch.
fn changes(devices: Rows<'_, CompactString>) -> Rows<'_, (CompactString, Time, isize)> {
    devices.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Changes", |_, _| {
        |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                let devices = batches.flat_map(|batch| batch.drain(..));
                output
                    .session(&stamp)
                    .give_iterator(devices.map(|device| (device, time, 1)));
            });
        }
    })
}
