//! `deliver`: rows of a table to files in the staging folder.
//!
//! The rows of commit k and output shard s are written by worker (k × shards + s) mod W: one output shard does not tie a replay
//! to one worker, and no name or byte of a file depends on the workers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Capability, Operator};
use xxhash_rust::xxh3::xxh3_64;

use super::Rows;
use super::stash::Stash;
use crate::cluster::halt;
use crate::commit::{Staged, Tally, staging};
use crate::settings;
use crate::sink::{CommitWriter, Table, Target};
use crate::source::{commit_of, end_of_commit};

/// Where tables go and how they are cut.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub output: PathBuf,
    pub shards: u32,
    pub compression: settings::Compression,
}

/// Rows of one worker for one shard of one commit.
#[derive(Clone, Serialize, Deserialize)]
struct Parcel<R> {
    commit: u32,
    shard: u32,
    rows: Vec<R>,
}

/// A commit's files on this worker while they grow, and the capability to report them.
struct Growing<T: Table> {
    writers: BTreeMap<u32, CommitWriter<T>>,
    tally: Tally,
    report_at: Capability<crate::source::Time>,
}

/// Stages the rows of `table`; `count` says what each row adds to the tally.
pub fn deliver<'scope, T: Table>(
    rows: Rows<'scope, T::Row>,
    table: T,
    delivery: Delivery,
    count: impl Fn(&T::Row, &mut Tally) + 'static,
) -> Rows<'scope, Staged> {
    let table = Arc::new(table);
    let parcels = pack(rows, Arc::clone(&table), delivery.shards);
    let shards = u64::from(delivery.shards);
    let to_writer =
        Exchange::new(move |parcel: &Parcel<T::Row>| u64::from(parcel.commit) * shards + u64::from(parcel.shard));
    let mut stash = Stash::<Parcel<T::Row>>::default();
    let mut growing: BTreeMap<u32, Growing<T>> = BTreeMap::new();
    parcels.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_writer, T::NAME, |_, _| {
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], parcels)) = stash.complete(frontier) {
                let commit = commit_of(*capability.time());
                let commit_files = growing.entry(commit).or_insert_with(|| Growing {
                    writers: BTreeMap::new(),
                    tally: Tally::default(),
                    report_at: capability.clone(),
                });
                commit_files.report_at = capability;
                let mut shards: BTreeMap<u32, Vec<T::Row>> = BTreeMap::new();
                for parcel in parcels {
                    shards.entry(parcel.shard).or_default().extend(parcel.rows);
                }
                for (shard, mut rows) in shards {
                    rows.sort_by(|a, b| table.order(a, b));
                    rows.iter().for_each(|row| count(row, &mut commit_files.tally));
                    let target = || Target {
                        staging: staging(&delivery.output, commit),
                        commit,
                        shard,
                        compression: delivery.compression,
                    };
                    let writer = commit_files
                        .writers
                        .entry(shard)
                        .or_insert_with(|| CommitWriter::new(Arc::clone(&table), target()));
                    writer.write(rows).unwrap_or_else(|e| halt(e));
                }
            }
            while let Some(first) = growing.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                let Growing {
                    writers,
                    mut tally,
                    report_at,
                } = first.remove();
                let mut files = Vec::new();
                for writer in writers.into_values() {
                    files.extend(writer.finish().unwrap_or_else(|e| halt(e)));
                }
                tally.output_bytes = files.iter().map(|file| file.bytes).sum();
                output.session(&report_at).give(Staged { files, tally });
            }
        }
    })
}

/// Rows by output shard, whole batches where there is only one.
fn pack<'scope, T: Table>(rows: Rows<'scope, T::Row>, table: Arc<T>, shards: u32) -> Rows<'scope, Parcel<T::Row>> {
    rows.unary::<CapacityContainerBuilder<Vec<Parcel<T::Row>>>, _, _, _>(Pipeline, "Pack", move |_, _| {
        move |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(commit) = stamp.least().map(|time| commit_of(*time)) else {
                    return;
                };
                let mut session = output.session(&stamp);
                for batch in batches.map(std::mem::take) {
                    if shards == 1 {
                        session.give(Parcel {
                            commit,
                            shard: 0,
                            rows: batch,
                        });
                        continue;
                    }
                    let mut by_shard: BTreeMap<u32, Vec<T::Row>> = BTreeMap::new();
                    for row in batch {
                        let shard = (xxh3_64(table.shard_key(&row)) % u64::from(shards)) as u32;
                        by_shard.entry(shard).or_default().push(row);
                    }
                    session.give_iterator(by_shard.into_iter().map(|(shard, rows)| Parcel { commit, shard, rows }));
                }
            });
        }
    })
}

/// Tells the commit of records that end in no table.
pub fn count_dropped<'scope>(counts: Rows<'scope, u64>, tally: fn(u64) -> Tally) -> Rows<'scope, Staged> {
    counts.unary::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(Pipeline, "CountDropped", move |_, _| {
        move |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let dropped = batches.flat_map(|batch| batch.drain(..)).sum();
                output.session(&stamp).give(Staged {
                    files: Vec::new(),
                    tally: tally(dropped),
                });
            });
        }
    })
}
