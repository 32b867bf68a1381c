//! Files: their names, many of them, large ones, and what happens when one cannot be written.

use std::error::Error;
use std::io;
use std::os::unix::fs::symlink;

use super::*;
use crate::record::{DeviceId, Measures, Reading, Scored, date_of};

const DAY: i64 = 86_400_000_000;

fn row(position: u64, day: i64) -> Scored {
    let reading = Reading {
        position,
        timestamp: day * DAY + position as i64,
        received: i64::MAX,
        device: DeviceId::new(format!("monitor-{}", position % 7)),
        patient: None,
        measures: Measures::from_slice(&[position as f64 / 3.0, f64::NAN]),
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

fn table() -> Readings {
    Readings::new(columns(false))
}

#[test]
fn staged_files_have_names_that_no_reader_looks_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = write(table(), vec![row(0, 17_454)], folder.path(), Compression::Zstd);
    assert_eq!(files[0].path, "readings/date=2017-10-15/part-00000003-01.parquet");
    assert_eq!(
        StagedFile::staged(&files[0].path),
        "readings/date=2017-10-15/part-00000003-01"
    );
    assert!(
        folder
            .path()
            .join("readings/date=2017-10-15/part-00000003-01")
            .is_file()
    );
    assert!(!folder.path().join(&files[0].path).exists());
}

#[test]
fn no_rows_make_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(write(table(), Vec::new(), folder.path(), Compression::Zstd), []);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn thousands_of_dates_make_a_file_each() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let days = -500..1500;
    // Each date twice, far apart: the rows of a date wait for each other.
    let rows = (0..)
        .zip(days.clone().chain(days.clone()))
        .map(|(position, day)| row(position, day))
        .collect();
    let files = write(table(), rows, folder.path(), Compression::Zstd);
    assert_eq!(files.len(), 2000);
    for (day, file) in days.zip(&files) {
        assert_eq!(
            file.path,
            format!("readings/date={}/part-00000003-01.parquet", date_of(day))
        );
        assert_eq!(file.rows, 2);
    }
    for file in files.iter().step_by(250) {
        let times: Vec<Cell> = read(folder.path(), file)
            .into_iter()
            .map(|row| row[0].1.clone())
            .collect();
        assert!(
            matches!(times[..], [Cell::Time(a), Cell::Time(b)] if b - a == 2000),
            "{times:?}"
        );
    }
}

#[test]
fn however_the_rows_are_handed_over_they_are_read_in_order() {
    let rows: Vec<Scored> = (0..40_000)
        .map(|position| row(position, i64::from(position % 9 == 0)))
        .collect();
    for cut in [40_000, 1, 5000, 8192, 16_385] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = CommitWriter::new(Arc::new(table()), target(folder.path(), Compression::Zstd));
        rows.chunks(cut)
            .for_each(|rows| writer.write(rows.to_vec()).expect("written"));
        let files = writer.finish().expect("finished");
        for (day, file) in [0, 1].into_iter().zip(&files) {
            let want = rows
                .iter()
                .map(|row| row.reading.timestamp)
                .filter(|time| time / DAY == day);
            let got = read(folder.path(), file).into_iter().map(|row| row[0].1.clone());
            assert!(got.eq(want.map(Cell::Time)), "handed over by {cut}");
        }
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 40_000);
    }
}

/// The error of writing rows where `prepare` has been at work.
fn failed(prepare: impl FnOnce(&Path), rows: Vec<Scored>) -> SinkError {
    let folder = tempfile::tempdir().expect("a temporary folder");
    prepare(folder.path());
    let mut writer = CommitWriter::new(Arc::new(table()), target(folder.path(), Compression::None));
    match writer.write(rows) {
        Ok(()) => writer.finish().expect_err("it cannot be written"),
        Err(error) => error,
    }
}

#[test]
fn a_full_disk_is_told_with_advice_whenever_it_shows() {
    if !Path::new("/dev/full").exists() {
        return; // only Linux has a device that is always full
    }
    let full = |folder: &Path| {
        let date = folder.join("readings/date=1970-01-01");
        fs::create_dir_all(&date).expect("a folder");
        symlink("/dev/full", date.join("part-00000003-01")).expect("a link");
    };
    for rows in [1, 200_000] {
        let error = failed(full, (0..rows).map(|position| row(position, 0)).collect());
        assert!(
            matches!(&error, SinkError::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        let told = error.to_string();
        assert!(
            told.contains("part-00000003-01: the disk is full; free some space"),
            "{told}"
        );
        assert!(!told.contains('\n'), "one line");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told_by_its_path() {
    let blocked = |folder: &Path| fs::write(folder.join("readings"), "a file in the way").expect("a file");
    let error = failed(blocked, vec![row(0, 0)]);
    let told = error.to_string();
    assert!(
        told.contains("readings/date=1970-01-01: cannot be written; nothing of this commit is visible"),
        "{told}"
    );
    assert!(error.source().is_none(), "the line says all");
}

#[test]
fn every_kind_of_failure_has_its_advice() {
    for (kind, advice) in [
        (io::ErrorKind::StorageFull, "free some space"),
        (io::ErrorKind::QuotaExceeded, "free some space"),
        (io::ErrorKind::PermissionDenied, "owner and mode"),
        (io::ErrorKind::Other, "start again"),
    ] {
        let told = SinkError::io(Path::new("out/x"))(kind.into()).to_string();
        assert!(told.starts_with("out/x: ") && told.contains(advice), "{told}");
    }
}
