//! `deliver`: rows of a table to files in the staging folder.
//!
//! The rows of commit k and output shard s are written by worker (k × shards + s) mod W: one output shard does not tie a replay
//! to one worker, and no name or byte of a file depends on the workers.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Capability, Operator};
use xxhash_rust::xxh3::xxh3_64;

use super::Rows;
use super::batches::Batches;
use super::stash::Stash;
use crate::cluster::halt;
use crate::commit::{Staged, Tally, staging};
use crate::settings;
use crate::sink::{ByShard, Files, Table, TableWriter};
use crate::source::{commit_of, end_of_commit};

/// Where tables go and how they are cut.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub output: PathBuf,
    /// The run's number among those that have taken up its folders.
    pub incarnation: u64,
    pub shards: u32,
    pub compression: settings::Compression,
    /// Whether a thread of its own writes each table, so that rows behind need not wait.
    pub in_background: bool,
}

/// Rows of one worker for one shard of one commit.
#[derive(Clone, Serialize, Deserialize)]
struct Parcel<R> {
    commit: u32,
    shard: u32,
    rows: Vec<R>,
}

/// A commit's rows on this worker while they come, and the capability to report their files.
struct Growing {
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
    let scope = parcels.scope();
    parcels.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_writer, T::NAME, |_, info| {
        let Delivery {
            output: folder,
            incarnation,
            compression,
            in_background,
            ..
        } = delivery;
        let files = Files {
            table: Arc::clone(&table),
            staging: Box::new(move |commit| staging(&folder, incarnation, commit)),
            compression,
        };
        let mut writer = match in_background {
            false => TableWriter::here(files),
            true => {
                let wake = scope.worker().sync_activator_for(info.address.to_vec());
                let wake = move || _ = wake.activate(); // the worker may have ended
                TableWriter::on_thread(files, wake, |e| halt(e))
            }
        };
        let mut growing: BTreeMap<u32, Growing> = BTreeMap::new();
        let mut ended = VecDeque::new();
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], parcels)) = stash.complete(frontier) {
                let commit = commit_of(*capability.time());
                let of_commit = growing.entry(commit).or_insert_with(|| Growing {
                    tally: Tally::default(),
                    report_at: capability.clone(),
                });
                of_commit.report_at = capability;
                let mut shards: BTreeMap<u32, Batches<T::Row>> = BTreeMap::new();
                for Parcel { shard, rows, .. } in parcels {
                    rows.iter().for_each(|row| count(row, &mut of_commit.tally));
                    shards.entry(shard).or_default().add(rows);
                }
                let in_order = |rows: Batches<T::Row>| rows.in_order(|a, b| table.order(a, b));
                let shards: ByShard<T::Row> = shards
                    .into_iter()
                    .map(|(shard, rows)| (shard, in_order(rows)))
                    .collect();
                writer.write(commit, shards).unwrap_or_else(|e| halt(e));
            }
            while let Some(first) = growing.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                writer.finish(*first.key()).unwrap_or_else(|e| halt(e));
                ended.push_back(first.remove());
            }
            while let Some(files) = writer.finished()
                && let Some(Growing { mut tally, report_at }) = ended.pop_front()
            {
                tally.output_bytes = files.iter().map(|file| file.bytes).sum();
                output.session(&report_at).give(Staged {
                    files,
                    tally,
                    runs: Vec::new(),
                });
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
                    runs: Vec::new(),
                });
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::path::Path;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::super::replay::{Plan, replay};
    use super::super::{Committer, Committing, commit};
    use super::*;
    use crate::commit::{Belongings, Manifest, OutputFolder};
    use crate::record::{DeviceId, Reading, Scored};
    use crate::sink::{Readings, TableColumns};

    const DAY: i64 = 86_400_000_000;

    fn row(position: u64, (device, day, measure): (u8, i64, f64)) -> Scored {
        let reading = Reading {
            position,
            timestamp: day * DAY + position as i64,
            received: i64::MAX,
            device: DeviceId::new(format!("monitor-{device}")),
            patient: Some("p".into()),
            measures: [measure].as_slice().into(),
            fingerprint: 0,
            facts: None,
            late: false,
        };
        Scored {
            reading,
            score: None,
            attribution: None,
            threshold: None,
        }
    }

    /// Writes and commits the rows; the visible files and the manifest.
    fn write(
        plan: Plan,
        rows: Vec<Scored>,
        (shards, in_background): (u32, bool),
    ) -> (BTreeMap<String, Vec<u8>>, Manifest) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (output, state) = (root.path().join("out"), root.path().join("state"));
        let (to, kept) = (output.clone(), state.clone());
        replay::<_, (), _>(plan, rows, move |rows, _, _| {
            let committer = (rows.scope().index() == 0).then(|| {
                let folder = OutputFolder::open(&to, &kept).expect("a fresh folder");
                let belongs_to = Belongings {
                    program: "wardflow".into(),
                    dataflow: "sensor_collection".into(),
                    settings: "{}".into(),
                    input: None,
                    devices: None,
                };
                let manifest = folder.take_up(belongs_to).expect("a fresh folder");
                Rc::new(RefCell::new(Some(Committer::replaying(folder, manifest))))
            });
            let columns = TableColumns {
                measures: vec!["pulse".into()],
                further: Vec::new(),
                scored: false,
                ranges: false,
            };
            let compression = settings::Compression::Zstd;
            let delivery = Delivery {
                output: to.clone(),
                incarnation: 1,
                shards,
                compression,
                in_background,
            };
            let staged = deliver(rows, Readings::new(columns), delivery, |_, tally| tally.readings += 1);
            let hand_over = None;
            commit(staged, Committing { committer, hand_over });
        });
        let mut files = BTreeMap::new();
        collect(&output, &output, &mut files);
        let manifest = Manifest::read(&state).expect("readable").expect("there is one");
        (files, manifest)
    }

    fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(root, &path, files);
            } else {
                let name = path.strip_prefix(root).expect("below it").display().to_string();
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn files_are_the_same_to_the_byte_for_any_workers(
            records in proptest::collection::vec((0u8..5, 0i64..2, -9.0..9.0f64), 1..80),
            shards in 1u32..4, in_background in any::<bool>(), commit in 1u32..5, epochs in proptest::collection::vec(5usize..20, 1..4),
            plans in proptest::collection::vec(Plan::any(), 3),
        ) {
            let rows: Vec<Scored> = (0..).zip(&records).map(|(at, record)| row(at, *record)).collect();
            let (files, manifest) = write(Plan { epochs: epochs.clone(), commit, ..Plan::one(1) }, rows.clone(), (shards, false));
            prop_assert_eq!(manifest.tally.readings, rows.len() as u64);
            prop_assert_eq!(manifest.tally.output_bytes, files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
            prop_assert!(files.keys().all(|name| name.starts_with("readings/date=1970-01-0") && name.ends_with(".parquet")));
            for plan in plans {
                let plan = Plan { epochs: epochs.clone(), commit, ..plan };
                let shown = format!("{plan:?}");
                let (again, same) = write(plan, rows.clone(), (shards, in_background));
                prop_assert_eq!(again.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>(), "{}", shown);
                prop_assert!(again == files, "bytes differ with {}", shown);
                prop_assert_eq!(&same, &manifest, "{}", shown);
            }
        }
    }
}
