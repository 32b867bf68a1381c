use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::files::Epoch;
use super::*;
use crate::source::testing::parser;
use crate::source::{Cut, Reader, Speed, commit_of};

/// A line: a time in seconds, or none that can be read.
type Times = Vec<Vec<Option<i64>>>;

fn write(files: &Times) -> (TempDir, Inputs) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut paths = Vec::new();
    for (i, times) in files.iter().enumerate() {
        let line =
            |time: &Option<i64>| time.map_or("{\"t\":\"soon\"}\n".to_owned(), |time| format!("{{\"t\":{time}}}\n"));
        let path = folder.path().join(format!("{i}.jsonl"));
        fs::write(&path, times.iter().map(line).collect::<String>()).expect("a file");
        paths.push(path.display().to_string());
    }
    let inputs = Inputs::find(&paths).expect("files");
    (folder, inputs)
}

fn cut(epoch_records: u64, commit_records: u64) -> Cut {
    Cut {
        epoch_records,
        commit_records,
        commit_bytes: u64::MAX,
        max_record_bytes: 100,
        workers: 2,
        mine: 0..2,
    }
}

fn epochs(mut reader: Reader) -> Vec<Epoch> {
    std::iter::from_fn(|| reader.next_epoch().expect("readable")).collect()
}

/// (file, line, commit) of every record, in order.
fn order(epochs: &[Epoch]) -> Vec<(usize, u64, u32)> {
    let mut all = Vec::new();
    for epoch in epochs {
        for record in epoch.chunks.iter().flat_map(|chunk| chunk.records()) {
            assert_eq!(record.position, all.len() as u64);
            let file = record.file.stem.parse().expect("a number");
            all.push((file, record.line, commit_of(epoch.time)));
        }
    }
    all
}

fn files() -> impl Strategy<Value = Times> {
    proptest::collection::vec(
        proptest::collection::vec(proptest::option::weighted(0.9, 0i64..30), 0..30),
        1..6,
    )
}

proptest! {
    /// Taking the earliest head is a sort by the highest time that each file has come to, ties by file and line.
    #[test]
    fn merging_is_a_sort(files in files(), epoch in 1u64..20) {
        let (_folder, inputs) = write(&files);
        let mut want = Vec::new();
        for (i, times) in files.iter().enumerate() {
            let mut high = i64::MIN;
            for (time, line) in times.iter().zip(1u64..) {
                high = high.max(time.unwrap_or(high));
                want.push((high, i, line));
            }
        }
        want.sort();
        let got = order(&epochs(Reader::new(&inputs.merged(), cut(epoch, 1000), parser(), None)));
        prop_assert_eq!(
            got.iter().map(|(file, line, _)| (*file, *line)).collect::<Vec<_>>(),
            want.iter().map(|(_, file, line)| (*file, *line)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn pacing_changes_neither_order_nor_commits(
        files in files(), merge in any::<bool>(), commit in 1u64..30,
        speed in prop::sample::select(vec!["0.5x", "10x", "70", "1e9x"]),
    ) {
        let (_folder, inputs) = write(&files);
        let inputs = if merge { inputs.merged() } else { inputs };
        let speed: Speed = speed.parse().expect("a speed");
        let plain = epochs(Reader::new(&inputs, cut(7, commit), parser(), None));
        let paced = epochs(Reader::new(&inputs, cut(7, commit), parser(), Some(speed)));
        prop_assert_eq!(order(&plain), order(&paced));
        prop_assert!(paced.is_sorted_by_key(|epoch| epoch.due), "time passes");
        prop_assert!(plain.iter().all(|epoch| epoch.due.is_none()));
    }
}

#[test]
fn an_epoch_holds_a_tenth_of_a_second_of_the_wall_clock() {
    let (_folder, inputs) = write(&vec![(0..100).map(|i| Some(i / 2)).collect()]);
    let paced = epochs(Reader::new(
        &inputs,
        cut(1000, 1000),
        parser(),
        Some("60x".parse().expect("a speed")),
    ));
    let sizes: Vec<usize> = paced
        .iter()
        .map(|epoch| epoch.chunks.iter().map(|c| c.len()).sum())
        .collect();
    assert_eq!(
        sizes,
        [12, 12, 12, 12, 12, 12, 12, 12, 4],
        "six seconds of event time each"
    );
    assert_eq!(paced[0].due, Some(Duration::from_secs(5) / 60));
}
