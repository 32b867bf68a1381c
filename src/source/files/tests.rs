use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::source::commit_of;
use crate::source::testing::parser;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record as it should be found: its file, its number there, what is kept of it, its whole length.
#[derive(Clone, Debug, PartialEq)]
struct Want {
    position: u64,
    file: String,
    line: u64,
    kept: Vec<u8>,
    length: u64,
}

fn write(files: &[Vec<u8>]) -> (TempDir, Inputs) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut paths = Vec::new();
    for (i, bytes) in files.iter().enumerate() {
        let path = folder.path().join(format!("file-{i}.jsonl"));
        fs::write(&path, bytes).expect("a file");
        paths.push(path.display().to_string());
    }
    let inputs = Inputs::find(&paths).expect("files");
    (folder, inputs)
}

/// The lines of all files that are not blank, one after the other.
fn plain_list(files: &[Vec<u8>], max_record_bytes: usize) -> Vec<Want> {
    let mut all = Vec::new();
    for (i, bytes) in files.iter().enumerate() {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            all.push(Want {
                position: all.len() as u64,
                file: format!("file-{i}.jsonl"),
                line: number,
                kept: line[..line.len().min(max_record_bytes)].to_vec(),
                length: line.len() as u64,
            });
        }
    }
    all
}

/// The commit of each record: the next one begins when this one is full.
fn plain_commits(records: &[Want], cut: &Cut) -> Vec<u32> {
    let (mut commit, mut count, mut bytes) = (0, 0, 0);
    let mut commits = Vec::new();
    for record in records {
        if count >= cut.commit_records || bytes >= cut.commit_bytes {
            (commit, count, bytes) = (commit + 1, 0, 0);
        }
        commits.push(commit);
        (count, bytes) = (count + 1, bytes + record.length);
    }
    commits
}

/// All epochs, as the readers of all processes cut them: time, records in the workers' order, end of input.
fn read(inputs: &Inputs, cut: &Cut, processes: &[Range<usize>]) -> Vec<(Time, Vec<Want>, Vec<bool>)> {
    let reader = |mine: &Range<usize>| {
        Reader::new(
            inputs,
            Cut {
                mine: mine.clone(),
                ..cut.clone()
            },
            parser(),
            None,
        )
    };
    let mut readers: Vec<Reader> = processes.iter().map(reader).collect();
    let mut epochs = Vec::new();
    loop {
        let next: Vec<Option<Epoch>> = readers.iter_mut().map(|r| r.next_epoch().expect("readable")).collect();
        if next.iter().all(Option::is_none) {
            assert!(
                readers.iter_mut().all(|r| r.next_epoch().expect("readable").is_none()),
                "ended for good"
            );
            assert!(readers.iter().all(|r| r.records() == readers[0].records()));
            return epochs;
        }
        let next: Vec<Epoch> = next
            .into_iter()
            .map(|e| e.expect("processes cut the same epochs"))
            .collect();
        let time = next[0].time;
        assert!(next.iter().all(|epoch| epoch.time == time));
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        for (epoch, mine) in next.iter().zip(processes) {
            assert_eq!(epoch.chunks.len(), mine.len(), "a chunk for each worker");
            for chunk in &epoch.chunks {
                ends.push(chunk.ends_input);
                records.extend(chunk.records().map(|record| Want {
                    position: record.position,
                    file: record.file.name.clone(),
                    line: record.line,
                    kept: record.bytes.to_vec(),
                    length: record.length,
                }));
            }
        }
        epochs.push((time, records, ends));
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let blank = prop::sample::select(vec!["", "", " ", "\t \t", "\r", "  \r"]).prop_map(|s| s.as_bytes().to_vec());
    let body = (0usize..90, prop::sample::select(vec!["", "\r", " "]))
        .prop_map(|(length, end)| [&b"{"[..], &vec![b'x'; length], end.as_bytes()].concat());
    prop_oneof![1 => blank, 4 => body]
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), proptest::collection::vec(line(), 0..30), any::<bool>()).prop_map(|(mark, lines, last)| {
        let mut bytes = if mark { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
        bytes.extend(lines.join(&b'\n'));
        if last {
            bytes.push(b'\n');
        }
        bytes
    })
}

/// 1 to 3 processes with 1 to 5 workers in all.
fn processes() -> impl Strategy<Value = Vec<Range<usize>>> {
    (proptest::collection::vec(1usize..4, 1..4)).prop_filter_map("at most 5 workers", |counts| {
        let mut next = 0;
        let ranges: Vec<_> = counts
            .into_iter()
            .map(|count| {
                next += count;
                next - count..next
            })
            .collect();
        (next <= 5).then_some(ranges)
    })
}

fn cut() -> impl Strategy<Value = Cut> {
    let bytes = prop_oneof![1u64..400, Just(1 << 40)];
    (1u64..20, 1u64..40, bytes, 1usize..80).prop_map(
        |(epoch_records, commit_records, commit_bytes, max_record_bytes)| Cut {
            epoch_records,
            commit_records,
            commit_bytes,
            max_record_bytes,
            workers: 0,
            mine: 0..0,
        },
    )
}

proptest! {
    #[test]
    fn cuts_follow_from_the_lines_alone(
        files in proptest::collection::vec(file(), 1..4), cut in cut(), processes in processes(),
    ) {
        let cut = Cut { workers: processes.last().map_or(0, |mine| mine.end), ..cut };
        let (_folder, inputs) = write(&files);
        let epochs = read(&inputs, &cut, &processes);

        let want = plain_list(&files, cut.max_record_bytes);
        let got: Vec<Want> = epochs.iter().flat_map(|(_, records, _)| records.clone()).collect();
        prop_assert_eq!(&got, &want);

        let commits: Vec<u32> = epochs.iter().flat_map(|(time, records, _)| records.iter().map(|_| commit_of(*time))).collect();
        prop_assert_eq!(commits, plain_commits(&want, &cut));

        prop_assert!(epochs.is_sorted_by(|a, b| a.0 < b.0), "times increase");
        let (last, before) = epochs.split_last().expect("even an empty input has an epoch that ends it");
        prop_assert!(last.2.iter().all(|ends| *ends), "the last epoch ends the input for every worker");
        prop_assert!(before.iter().all(|(_, records, ends)| !ends.contains(&true) && !records.is_empty()));
        prop_assert!(epochs.iter().all(|(_, records, _)| records.len() as u64 <= cut.epoch_records));
    }
}

#[test]
fn an_epoch_ends_after_its_bytes_too_and_counts_what_it_does_not_keep() {
    let line = [vec![b'x'; 9 << 20], b"\n".to_vec()].concat();
    let (_folder, inputs) = write(&[line.repeat(3)]);
    let cut = Cut {
        epoch_records: 1000,
        commit_records: 1000,
        commit_bytes: u64::MAX,
        max_record_bytes: 5,
        workers: 2,
        mine: 0..2,
    };
    let epochs = read(&inputs, &cut, &[0..1, 1..2]);
    let lengths: Vec<Vec<u64>> = epochs
        .iter()
        .map(|(_, records, _)| records.iter().map(|r| r.length).collect())
        .collect();
    assert_eq!(lengths, [vec![9 << 20, 9 << 20], vec![9 << 20]]);
    assert!(
        epochs
            .iter()
            .flat_map(|(_, records, _)| records)
            .all(|r| r.kept == b"xxxxx")
    );
}

#[test]
fn a_file_that_is_gone_is_named() {
    let (folder, inputs) = write(&[b"{}\n{}\n".to_vec(), b"{}\n".to_vec()]);
    fs::remove_file(folder.path().join("file-1.jsonl")).expect("removed");
    let cut = Cut {
        epoch_records: 1,
        commit_records: 10,
        commit_bytes: 1000,
        max_record_bytes: 10,
        workers: 1,
        mine: 0..1,
    };
    let mut reader = Reader::new(&inputs, cut, parser(), None);
    assert!(reader.next_epoch().is_ok() && reader.next_epoch().is_ok());
    let error = reader.next_epoch().err().expect("gone");
    assert!(error.file.ends_with("file-1.jsonl"), "{}", error.file);
    assert_eq!(error.error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_chunk_that_is_done_with_leaves_its_buffer_to_a_later_one_and_none_of_its_records() {
    let (_folder, inputs) = write(&[b"{\"of\":\"the first\"}\n{}\n".to_vec()]);
    let cut = Cut {
        epoch_records: 1,
        commit_records: 10,
        commit_bytes: 1000,
        max_record_bytes: 100,
        workers: 1,
        mine: 0..1,
    };
    let mut reader = Reader::new(&inputs, cut, parser(), None);
    let mut next = || {
        reader
            .next_epoch()
            .expect("readable")
            .expect("an epoch")
            .chunks
            .remove(0)
    };
    let first = next();
    let buffer = first.bytes.as_ptr();
    drop(first);
    let second = next();
    assert_eq!(second.bytes.as_ptr(), buffer);
    assert!(second.records().map(|record| record.bytes).eq([b"{}"]));
    assert_eq!(second.bytes, b"{}");
}
