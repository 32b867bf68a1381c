use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, DiskFile};

const FOLDER: &str = "/state/snapshots";

type State = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn snapshots(disk: &MemoryDisk) -> Snapshots<MemoryDisk> {
    Snapshots::new(disk.clone(), PathBuf::from(FOLDER))
}

/// (operator, key, value) of a commit, with gaps that pack well and bytes that do not.
fn changes() -> impl Strategy<Value = Vec<(u8, u8, Option<Vec<u8>>)>> {
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (1usize..400_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    proptest::collection::vec((0u8..3, 0u8..12, proptest::option::weighted(0.7, value)), 0..12)
}

fn entries(changes: &[(u8, u8, Option<Vec<u8>>)]) -> Vec<Entry> {
    let entry = |(operator, key, value): &(u8, u8, Option<Vec<u8>>)| match value {
        Some(value) => Entry::put(*operator, vec![*key; usize::from(*key)], value.clone()),
        None => Entry::forget(*operator, vec![*key; usize::from(*key)]),
    };
    changes.iter().map(entry).collect()
}

fn apply(state: &mut State, entries: Vec<Entry>) {
    for Entry { operator, key, value } in entries {
        match value {
            Some(value) => state.insert((operator, key.into()), value.into()),
            None => state.remove(&(operator, key.into())),
        };
    }
}

fn content(restored: &Restored) -> State {
    (0..=u8::MAX)
        .flat_map(|operator| {
            let entries = restored.take(operator);
            let owned = |(key, value): &KeyValue| ((operator, key.to_vec()), value.to_vec());
            entries.iter().map(owned).collect::<Vec<_>>()
        })
        .collect()
}

fn error(result: Result<Restored, SnapshotError>) -> SnapshotError {
    result.err().expect("it must not be read")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_loaded_is_what_the_commits_made_of_it_however_runs_are_merged(
        commits in proptest::collection::vec(changes(), 0..14),
        merges in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
    ) {
        let disk = MemoryDisk::default();
        let snapshots = snapshots(&disk);
        let (mut runs, mut state): (Vec<Run>, _) = (Vec::new(), State::new());
        for (commit, changes) in (0..).zip(&commits) {
            runs.extend(snapshots.write(commit, entries(changes)).expect("written"));
            apply(&mut state, entries(changes));
            if commit % 3 == 2 && let Some(due) = Snapshots::<MemoryDisk>::due(&runs) {
                let merged = snapshots.merge(commit, &runs[due.clone()], due.start == 0).expect("merged");
                runs.splice(due, merged);
            }
        }
        for (commit, (from, to)) in (1_000..).zip(merges) {
            if runs.len() < 2 { break }
            let from = from.index(runs.len() - 1);
            let to = from + 2 + to.index(runs.len() - from - 1);
            let merged = snapshots.merge(commit, &runs[from..to], from == 0).expect("merged");
            runs.splice(from..to, merged);
        }
        if runs.len() > 1 {
            runs = snapshots.merge(2_000, &runs, true).expect("merged").into_iter().collect();
            prop_assert_eq!(runs.iter().map(|run| run.entries).sum::<u64>(), state.len() as u64, "at the bottom no tombstone is left");
        }
        snapshots.remove_all_but(&runs).expect("removed");
        prop_assert_eq!(disk.paths().len(), runs.len());
        let crashed = self::snapshots(&disk.after_crash(|_| 0)); // everything was made durable
        let restored = crashed.load(&runs, 1).expect("whole");
        prop_assert!(content(&restored) == state);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_and_so_is_a_file_cut_short(
        commits in proptest::collection::vec(changes(), 1..4), bit in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let disk = MemoryDisk::default();
        let snapshots = snapshots(&disk);
        let write = |(commit, changes): (u32, &Vec<_>)| snapshots.write(commit, entries(changes)).expect("written");
        let runs: Vec<Run> = (0..).zip(&commits).filter_map(write).collect();
        prop_assume!(!runs.is_empty());
        let run = at.get(&runs);
        let path = Path::new(FOLDER).join(&run.name);
        let bit = bit.index(run.bytes as usize * 8);
        disk.flip(&path, bit);
        let told = error(snapshots.load(&runs, 1));
        prop_assert!(matches!(told, SnapshotError::Damaged { .. }), "{told}");
        prop_assert!(told.to_string().contains(&run.name), "{told}");
        prop_assert!(runs.len() < 2 || snapshots.merge(2_000, &runs, true).is_err());
        disk.flip(&path, bit);
        prop_assert!(snapshots.load(&runs, 1).is_ok());
        disk.cut(&path, cut.index(run.bytes as usize) as u64).expect("cut");
        let cut_short = error(snapshots.load(&runs, 1));
        prop_assert!(matches!(cut_short, SnapshotError::Damaged { .. }), "{cut_short}");
    }

    #[test]
    fn bytes_that_are_no_run_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        let disk = MemoryDisk::default();
        disk.create_folder(Path::new(FOLDER)).expect("a folder");
        let bytes = if head { [b"WFSTATE\x01".to_vec(), bytes].concat() } else { bytes };
        disk.create(&Path::new(FOLDER).join("x.state")).expect("a file").append(&bytes).expect("written");
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes);
        let run = Run { name: "x.state".into(), bytes: bytes.len() as u64, entries: 1, checksum };
        prop_assert!(snapshots(&disk).load(&[run], 1).is_err());
    }

    /// Commits of very different sizes: few runs, little garbage, every byte rewritten a few times only.
    #[test]
    fn merging_when_due_keeps_few_runs_and_costs_little(sizes in proptest::collection::vec(prop_oneof![1u64..10, 100u64..1000, 1_000u64..100_000], 1..600)) {
        let run = |bytes| Run { name: String::new(), bytes, entries: 0, checksum: 0 };
        let (mut runs, mut given, mut rewritten): (Vec<Run>, u64, u64) = (Vec::new(), 0, 0);
        for size in sizes {
            runs.push(run(size));
            given += size;
            if let Some(due) = Snapshots::<MemoryDisk>::due(&runs) {
                let bytes: u64 = runs[due.clone()].iter().map(|run| run.bytes).sum();
                rewritten += bytes;
                runs.splice(due, [run(bytes)]);
                prop_assert!(Snapshots::<MemoryDisk>::due(&runs).is_none(), "one merge is enough");
            }
            let newer: u64 = runs[1..].iter().map(|run| run.bytes).sum();
            prop_assert!(newer < runs[0].bytes || runs.len() == 1, "less than half of the bytes is not in the oldest");
            prop_assert!(runs.len() <= 5 + given.ilog2() as usize, "{} runs", runs.len());
        }
        prop_assert!(rewritten <= given * 2 * (1 + u64::from(given.ilog2())), "{rewritten} of {given}");
    }

    #[test]
    fn values_come_back_with_every_bit_and_other_versions_are_refused(bits in any::<u64>(), text in ".{0,9}", version in 1u8..9) {
        let value = (f64::from_bits(bits), text, Some(-1i64));
        let bytes = encode(Some(3), &value);
        let back: (f64, String, Option<i64>) = decode("x", Some(3), &bytes).expect("of this version");
        prop_assert_eq!((back.0.to_bits(), &back.1, back.2), (bits, &value.1, value.2));
        if version != 3 {
            let told = decode::<(f64, String, Option<i64>)>("x", Some(version), &bytes);
            prop_assert!(told.is_err());
        }
        prop_assert!(decode::<(f64, String, Option<i64>)>("x", Some(3), &[&bytes[..], &[0]].concat()).is_err(), "more than the value");
        prop_assert!(decode::<(f64, String, Option<i64>)>("x", Some(3), &bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn a_run_of_a_later_format_is_told_apart_from_a_damaged_one() {
    let disk = MemoryDisk::default();
    let snapshots = snapshots(&disk);
    let run = snapshots
        .write(4, vec![Entry::put(1, vec![1], vec![2])])
        .expect("written");
    let mut run = run.expect("something has changed");
    let path = Path::new(FOLDER).join(&run.name);
    disk.flip(&path, 7 * 8 + 1); // 1 becomes 3
    assert!(matches!(
        error(snapshots.load(&[run.clone()], 1)),
        SnapshotError::Damaged { .. }
    ));
    run.checksum = xxhash_rust::xxh3::xxh3_64(&disk.read(&path).expect("there"));
    let told = error(snapshots.load(&[run.clone()], 1)).to_string();
    assert!(told.contains("format 3") && told.contains("0000000004.state"), "{told}");
    disk.remove(&path).expect("removed");
    let told = error(snapshots.load(&[run], 1)).to_string();
    assert!(told.contains("is gone") && !told.contains('\n'), "{told}");
}

#[test]
fn nothing_changed_writes_nothing_and_foreign_files_stay() {
    let disk = MemoryDisk::default();
    let snapshots = snapshots(&disk);
    assert_eq!(snapshots.write(0, Vec::new()).expect("nothing to do"), None);
    assert!(disk.paths().is_empty());
    disk.create_folder(Path::new(FOLDER)).expect("a folder");
    disk.create(&Path::new(FOLDER).join("notes.txt")).expect("a file");
    snapshots.remove_all_but(&[]).expect("nothing of ours");
    assert_eq!(disk.paths().len(), 1);
}

#[test]
fn what_was_collected_is_taken_once_and_in_the_order_of_the_commits() {
    let collected = Collected::default();
    let put = |value: u8| vec![Entry::put(1, vec![1], vec![value])];
    for commit in [3, 1, 2] {
        collected.put(commit, put(commit as u8));
    }
    let values = |entries: Vec<Entry>| -> Vec<u8> {
        entries
            .iter()
            .filter_map(|e| e.value.as_ref()?.first().copied())
            .collect()
    };
    assert_eq!(values(collected.take_through(2)), [1, 2]);
    assert!(values(collected.take_through(2)).is_empty());
    assert_eq!(values(collected.take_through(u32::MAX)), [3]);
}

#[test]
fn a_state_is_given_to_every_worker_and_then_let_go() {
    let snapshots = snapshots(&MemoryDisk::default());
    let run = snapshots
        .write(0, vec![Entry::put(5, vec![1], vec![2])])
        .expect("written");
    let restored = snapshots.load(run.as_slice(), 2).expect("whole");
    assert_eq!(restored.look(5).len(), 1);
    let (first, second) = (restored.take(5), restored.take(5));
    assert_eq!((first.len(), second.len(), restored.take(5).len()), (1, 1, 0));
}
