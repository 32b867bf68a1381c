//! How fast the journal takes records, beside the disk itself.
//!
//! `cargo bench --bench journal` (`-- FOLDER` for another disk than that of the temporary folder). Records of 1 KB from the simulator
//! are appended in groups, each durable before the next, as in a live run: identities cut out and sealed under their
//! patients' keys (made beforehand), the rest compressed, sealed, checksummed, written, fsynced. Then the disk writes the very same bytes in the same groups, with nothing else done.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wardflow::dataflows::parser;
use wardflow::disk::LocalDisk;
use wardflow::journal::{Journal, Limits, Separator};
use wardflow::settings::{KeySource, Record};
use wardflow::simulate::{Plan, Simulation};
use wardflow::vault::{KeyEncryptionKey, Sealer, SegmentKeys, Vault};

/// Records of a run at most; and the time it may take.
const RECORDS: usize = 200_000;
const LONGEST: Duration = Duration::from_secs(10);

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let place = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = place.join(format!("wardflow-bench-journal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder to work in");
    let records: Vec<Vec<u8>> = Simulation::new(Plan::default())
        .expect("the default plan is possible")
        .take(RECORDS)
        .map(|record| record.payload)
        .collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!("{RECORDS} records of {} bytes", bytes / RECORDS);
    for group in [1, 16, 256, 4096] {
        measure(&folder.join(group.to_string()), &records, group);
    }
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| eprintln!("{}: {e}", folder.display()));
}

fn measure(folder: &Path, records: &[Vec<u8>], group: usize) {
    std::fs::create_dir_all(folder).expect("a folder to work in");
    let key = KeyEncryptionKey::load(&KeySource::StateFolder, folder)
        .expect("a key")
        .key;
    let path = folder.join("vault.sqlite");
    let vault = Vault::open_writer(&path, &key).expect("a vault");
    let sealer = Arc::new(Sealer::with_vault(&key, &vault).expect("random bytes"));
    let mut separator = Separator::new(parser(&Record::default()), sealer, &path).expect("a vault");
    let keys = Arc::new(SegmentKeys::new(&key));
    let limits = Limits {
        segment_bytes: u64::MAX,
    };
    let (mut journal, _) =
        Journal::open(LocalDisk, &folder.join("journal"), keys, limits, 0, 0).expect("an empty journal");
    let mut entries = |records: &[Vec<u8>]| -> Vec<_> {
        let mut entry =
            |record: &Vec<u8>| separator.separate(0, "LifeSupportDevice/Sensor", record, record.len() as u64);
        let entries = records.iter().map(|record| entry(record).expect("a vault")).collect();
        separator.keep_keys().expect("a vault");
        entries
    };
    entries(records); // every patient has a key now
    let (began, mut taken, mut groups) = (Instant::now(), 0, Vec::new());
    for records in records.chunks(group) {
        let before = journal.bytes();
        journal.append(&entries(records)).expect("room on the disk");
        groups.push((journal.bytes() - before) as usize);
        taken += records.len();
        if began.elapsed() > LONGEST {
            break;
        }
    }
    let ours = began.elapsed();

    let zeros = vec![0; groups.iter().copied().max().unwrap_or(0)];
    let mut file = File::create(folder.join("bare")).expect("room on the disk");
    let began = Instant::now();
    for length in &groups {
        file.write_all(&zeros[..*length])
            .and_then(|()| file.sync_data())
            .expect("room on the disk");
    }
    let bare = began.elapsed();
    let size: usize = records[..taken].iter().map(Vec::len).sum();
    println!(
        "groups of {group:4}   {:9.0} records/s  {:6.1} MB/s of records, {:4.2} of their size on disk   the disk alone {:6.1} MB/s, the journal {:4.0} % of it",
        taken as f64 / ours.as_secs_f64(),
        size as f64 / 1e6 / ours.as_secs_f64(),
        groups.iter().sum::<usize>() as f64 / size as f64,
        size as f64 / 1e6 / bare.as_secs_f64(),
        100.0 * bare.as_secs_f64() / ours.as_secs_f64(),
    );
}
