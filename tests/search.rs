//! The search for canaries finds them in every form and every hiding place; and a way to use it on folders from outside.

#[allow(dead_code)] // each test file uses its part
mod canaries;
#[allow(dead_code)]
mod tables;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use canaries::{Search, forms};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

const CANARIES: [&str; 2] = ["Quenby7Name7Canary", "Quenby7Dob7Canary"];

fn search() -> Search {
    Search::of(CANARIES)
}

/// The canaries found in bytes.
fn found(bytes: &[u8]) -> Vec<String> {
    let finds = search().in_bytes(bytes, "here").finds;
    let mut canaries: Vec<String> = finds.into_iter().map(|find| find.canary).collect();
    canaries.dedup();
    canaries
}

fn around(bytes: &[u8]) -> Vec<u8> {
    [b"\x00before ", bytes, b" behind\xff"].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory takes all")
}

#[test]
fn every_form_of_every_canary_is_found() {
    for canary in CANARIES {
        for (form, bytes) in forms::of(canary) {
            assert_eq!(found(&around(&bytes)), [canary], "{form}");
        }
    }
    assert!(found(b"an ordinary text, Quenby, 7").is_empty());
    assert_eq!(
        found(b"Quenby7Na"),
        ["(its beginning)"],
        "a torn one is found by its beginning"
    );
}

#[test]
fn canaries_that_share_no_beginning_are_found_too() {
    let search = Search::of(["Aurelius9", "Zenobia4"]);
    for canary in ["Aurelius9", "Zenobia4"] {
        let finds = search
            .in_bytes(&forms::standard_base64(&around(canary.as_bytes())), "here")
            .finds;
        assert!(finds.iter().all(|find| find.canary == canary) && !finds.is_empty());
    }
}

/// What fills a file up: text that repeats, so that the canary is packed and not merely stored.
fn padded(canary: &str) -> Vec<u8> {
    format!("{}{canary}{}", "name=".repeat(500), "dob=".repeat(500)).into_bytes()
}

#[test]
fn packed_canaries_are_found_at_any_offset_and_depth_and_in_torn_frames() {
    for canary in CANARIES {
        let plain = padded(canary);
        for pack in [gzip, zstd] {
            let once = pack(&plain);
            assert_eq!(found(&around(&once)), [canary]);
            assert_eq!(
                found(&[&pack(b"another one before"), &around(&once)[..]].concat()),
                [canary]
            );
            assert_eq!(found(&around(&gzip(&around(&zstd(&around(&once)))))), [canary]);
            let torn = pack(&[&plain[..], &noise(300_000)].concat());
            assert_eq!(found(&around(&torn[..torn.len() - 20_000])), [canary]);
        }
    }
}

/// Bytes that do not let themselves be packed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn write_table(path: &Path, compression: Compression) {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("ordinary"),
        None,
        Some(CANARIES[0]),
        Some("ordinary"),
    ]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([
        &b""[..],
        b"a",
        b"b",
        CANARIES[1].as_bytes(),
    ]));
    let batch = RecordBatch::try_from_iter([("text", texts), ("bytes", bytes)]).expect("columns of one length");
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(path).expect("a new file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a schema");
    writer.write(&batch).expect("rows");
    writer.close().expect("a file");
}

#[test]
fn canaries_in_the_columns_of_parquet_are_found_whatever_packs_them() {
    let kinds = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
    ];
    for kind in kinds {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A staged file need not have the ending of a table's.
        write_table(&folder.path().join("staged"), kind);
        let seen = search().below(folder.path(), &[]);
        for canary in CANARIES {
            let finds = || seen.finds.iter().filter(|find| find.canary == canary);
            assert!(finds().any(|find| find.place.contains("decoded")), "{kind}: {canary}");
        }
        assert_eq!((seen.files, seen.cells), (1, 7), "{kind}");
    }
}

#[test]
fn canaries_in_every_table_of_a_database_are_found_even_if_they_are_only_in_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("vault.of.any.name");
    let database = rusqlite::Connection::open(&path).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE a (x); CREATE TABLE \"b c\" (x, y);",
        )
        .expect("tables");
    let packed = zstd(&padded(CANARIES[1]));
    database
        .execute("INSERT INTO a VALUES (?1)", [CANARIES[0]])
        .expect("a row");
    database
        .execute("INSERT INTO \"b c\" VALUES (1, ?1)", [packed])
        .expect("a row");
    // The connection is still open: what was inserted is in the log.
    let seen = search().below(folder.path(), &[]);
    let places: Vec<String> = seen.finds.iter().map(|find| find.to_string()).collect();
    assert!(
        places
            .iter()
            .any(|p| p.starts_with("the table a of vault") && p.contains("Name")),
        "{places:?}"
    );
    assert!(
        places
            .iter()
            .any(|p| p.starts_with("the table b c of vault") && p.contains("Dob")),
        "{places:?}"
    );
    assert!(
        folder
            .path()
            .join("vault.of.any.name-wal")
            .metadata()
            .expect("a log")
            .len()
            > 0
    );
}

#[test]
fn names_of_files_are_searched_and_what_is_excepted_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("deep/.hidden")).expect("a folder");
    fs::create_dir_all(folder.path().join("in")).expect("a folder");
    fs::write(folder.path().join("in/input"), CANARIES[0]).expect("a file");
    fs::write(folder.path().join("deep/.hidden").join(CANARIES[1]), "").expect("a file");
    let seen = search().below(folder.path(), &["in/"]);
    assert_eq!(seen.files, 1);
    assert!(
        seen.finds.iter().all(|find| find.canary == CANARIES[1]),
        "{:?}",
        seen.finds
    );
    assert!(!seen.finds.is_empty());
}

#[test]
#[should_panic(expected = "log holds the canary Quenby7Name7Canary (plain)")]
fn a_find_fails_the_test() {
    search().assert_absent(&around(CANARIES[0].as_bytes()), "log");
}

#[test]
#[should_panic(expected = "there are no files to search")]
fn an_empty_folder_proves_nothing() {
    search().assert_absent_below(tempfile::tempdir().expect("a temporary folder").path(), &[]);
}

proptest! {
    /// Whichever of its characters are escaped, in whatever way, and however often.
    #[test]
    fn mixed_escapes_are_found(ways in proptest::collection::vec(0..4u8, CANARIES[0].len()), twice: bool) {
        let mut text: String = CANARIES[0].bytes().zip(ways).map(|(b, way)| match way {
            0 => format!("\\u{b:04x}"),
            1 => format!("\\u{b:04X}"),
            _ => char::from(b).to_string(),
        }).collect();
        if twice {
            text = text.replace('\\', "\\\\");
        }
        // Its unescaped beginning may be found as well.
        prop_assert!(found(&around(text.as_bytes())).iter().any(|canary| canary == CANARIES[0]));
    }

    /// Wherever it lies in what is written as base64 or packed.
    #[test]
    fn any_offset_is_found(before in proptest::collection::vec(any::<u8>(), 0..200), behind in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&before[..], CANARIES[0].as_bytes(), &behind].concat();
        prop_assert_eq!(found(&forms::standard_base64(&bytes)), [CANARIES[0]]);
        prop_assert_eq!(found(&[&before[..], &zstd(&bytes), &behind].concat()), [CANARIES[0]]);
    }

    #[test]
    fn noise_is_no_canary_and_breaks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0..100usize) {
        let packed = zstd(&bytes);
        let damaged = [&packed[..packed.len().min(cut)], b"\\u00", &bytes[..], b"\x1f\x8b\x08", &bytes[..], b"\\"].concat();
        prop_assert!(found(&damaged).is_empty());
    }
}

/// For harnesses in other languages: `SEARCHED_FOLDERS`, separated by colons, are searched for `CANARIES`, separated by commas.
#[test]
#[ignore = "searches the folders that SEARCHED_FOLDERS names"]
fn folders_from_outside_hold_no_canary() {
    let canaries = std::env::var("CANARIES").expect("CANARIES is set: texts separated by commas");
    let folders = std::env::var_os("SEARCHED_FOLDERS").expect("SEARCHED_FOLDERS is set: paths separated by colons");
    let search = Search::of(canaries.split(','));
    for folder in std::env::split_paths(&folders).collect::<Vec<PathBuf>>() {
        let seen = search.assert_absent_below(&folder, &[]);
        println!(
            "{}: {} files, {} bytes, {} packed frames, {} values of databases, {} cells of tables",
            folder.display(),
            seen.files,
            seen.bytes,
            seen.frames,
            seen.values,
            seen.cells
        );
    }
}
