//! Versions of a collection: what becomes of its file, and what is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, LocalDisk};
use crate::record::Zone;

const HEADER: &str = "device_id,manufacturer,model\n";

fn wanted() -> Wanted {
    Wanted {
        further: Vec::new(),
        zone: Zone::new(jiff::tz::TimeZone::UTC, 1000),
    }
}

/// A collection of so many devices.
fn csv(devices: usize, maker: &str) -> String {
    let rows = (0..devices).map(|n| format!("d{n},{maker},m\n"));
    HEADER.to_owned() + &rows.collect::<String>()
}

/// A file that is watched, and a clock for its times: looks may follow each other faster than a file system's.
struct Ward {
    folder: TempDir,
    history: History,
    written: SystemTime,
}

impl Ward {
    /// With `content` in force.
    fn new(content: &str, max_loss: f64) -> (Ward, Watch) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let versions = Versions::new(LocalDisk, folder_of(folder.path()), wanted());
        let mut ward = Ward {
            history: History::new(versions, Vec::new(), None),
            folder,
            written: SystemTime::UNIX_EPOCH,
        };
        ward.write(content);
        let content = Content::read(&ward.path()).expect("a file");
        ward.history.keep(&content).expect("kept");
        ward.history.reached(0, Some(content.fingerprint()));
        let caution = Caution { max_loss };
        let in_force = content.fingerprint().clone();
        let watch = Watch::new(&ward.path(), ward.history.clone(), caution, in_force, None);
        (ward, watch)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("devices.csv")
    }

    fn write(&mut self, content: impl AsRef<[u8]>) {
        fs::write(self.path(), content).expect("a file");
        self.touch();
    }

    fn touch(&mut self) {
        self.written += Duration::from_secs(1);
        let file = File::options().append(true).open(self.path()).expect("a file");
        file.set_modified(self.written).expect("its time is set");
    }

    fn kept(&self) -> usize {
        let names = LocalDisk.names(&folder_of(self.folder.path()));
        names.expect("a folder").len()
    }
}

/// What so many looks have told, and the new versions.
fn look(watch: &mut Watch, times: usize) -> (Vec<String>, Vec<NewVersion>) {
    let (mut told, mut new) = (Vec::new(), Vec::new());
    for _ in 0..times {
        match watch.look() {
            Look::Nothing => {}
            Look::Told(what) => told.push(what),
            Look::New(version) => new.push(version),
        }
    }
    (told, new)
}

#[test]
fn a_new_version_is_taken_once_it_is_settled_and_kept_by_then() {
    let (mut ward, mut watch) = Ward::new(&csv(3, "Acme"), 0.5);
    assert!(matches!(look(&mut watch, 5), (told, new) if told.is_empty() && new.is_empty()));
    ward.write(csv(4, "Acme"));
    assert!(look(&mut watch, 1).1.is_empty(), "not settled");
    ward.write(csv(5, "Acme") + "d0,Acme,m\n");
    assert!(look(&mut watch, 1).1.is_empty(), "not settled");
    let (told, new) = look(&mut watch, 5);
    assert!(told.is_empty(), "{told:?}");
    let [new] = new.as_slice() else { panic!("one version") };
    assert_eq!(new.changes.to_string(), "2 added, 0 changed, 0 gone");
    let kept = ward.history.versions().load(Some(&new.version)).expect("it is kept");
    assert_eq!(kept.len(), 5);
}

#[test]
fn the_same_content_changes_nothing_however_often_it_is_written() {
    let (mut ward, mut watch) = Ward::new(&csv(3, "Acme"), 0.5);
    for _ in 0..3 {
        ward.write(csv(3, "Acme"));
        assert!(matches!(look(&mut watch, 3), (told, new) if told.is_empty() && new.is_empty()));
    }
    assert_eq!(ward.kept(), 1);
}

#[test]
fn what_is_wrong_with_a_version_is_told_once_and_the_old_one_stays() {
    let (mut ward, mut watch) = Ward::new(&csv(10, "Acme"), 0.5);
    let half = csv(10, "Bolt");
    let wrong: [(&[u8], &str); 8] = [
        (b"", "no column device_id"),
        (&half.as_bytes()[..half.len() - 9], "values where the header has"),
        (&half.as_bytes()[..half.len() - 1], "last line is not ended"),
        (HEADER.as_bytes(), "10 of 10 devices are gone"),
        (&csv(4, "Acme").into_bytes(), "6 of 10 devices are gone"),
        (&csv(20, "Acme").replace('d', "e").into_bytes(), "no column device_id"),
        (
            &csv(20, "Acme").replace("\nd", "\nother").into_bytes(),
            "10 of 10 devices are gone",
        ),
        (b"\xff\xfe\n", "devices.csv"),
    ];
    for (content, why) in wrong {
        ward.write(content);
        let (told, new) = look(&mut watch, 4);
        assert!(new.is_empty(), "{why}");
        let [told] = told.as_slice() else {
            panic!("told once: {told:?}, {why}")
        };
        assert!(
            told.contains(why) && told.contains("stays in force"),
            "{told}, not {why}"
        );
        assert!(told.contains("devices.csv") && !told.contains('\n'), "{told}");
        ward.touch();
        assert!(look(&mut watch, 4).0.is_empty(), "the same one, touched");
    }
    fs::remove_file(ward.path()).expect("removed");
    let (told, _) = look(&mut watch, 6);
    assert!(
        matches!(told.as_slice(), [told] if told.contains("no such file")),
        "{told:?}"
    );
    assert_eq!(ward.kept(), 1);

    ward.write(csv(10, "Acme"));
    let (told, new) = look(&mut watch, 6);
    assert!(
        new.is_empty() && matches!(told.as_slice(), [told] if told.contains("again")),
        "{told:?}"
    );
    ward.write(csv(5, "Bolt"));
    let (told, new) = look(&mut watch, 6);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(new[0].changes.to_string(), "0 added, 5 changed, 5 gone");
}

#[test]
fn a_loss_that_is_meant_is_let_pass_and_lines_that_were_never_ended_are_no_mistake() {
    let (mut ward, mut watch) = Ward::new(csv(10, "Acme").trim_end(), 1.0);
    ward.write(csv(1, "Acme").trim_end());
    let (told, new) = look(&mut watch, 3);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(new[0].changes.gone, 9);
}

#[test]
fn a_version_that_a_folder_in_its_place_interrupts_is_taken_when_it_is_back() {
    let (mut ward, mut watch) = Ward::new(&csv(2, "Acme"), 0.5);
    fs::remove_file(ward.path()).expect("removed");
    fs::create_dir(ward.path()).expect("a folder");
    let (told, _) = look(&mut watch, 4);
    assert!(matches!(told.as_slice(), [told] if told.contains("folder")), "{told:?}");
    fs::remove_dir(ward.path()).expect("removed");
    ward.write(csv(3, "Acme"));
    assert_eq!(look(&mut watch, 3).1.len(), 1);
}

#[test]
fn a_version_comes_back_as_it_was_or_is_refused() {
    let disk = MemoryDisk::default();
    let folder = Path::new("/state/devices");
    let versions = Versions::new(disk.clone(), folder.to_owned(), wanted());
    let content = Content::of_text(&csv(7, "Acme"));
    versions.keep(&content).expect("kept");
    versions.keep(&content).expect("kept twice");
    let version = content.fingerprint();
    assert_eq!(versions.load(Some(version)).expect("there").len(), 7);
    assert!(versions.load(None).expect("no collection").is_empty());
    assert!(!versions.has("0123").expect("readable"));
    let missing = versions.load(Some("0123")).expect_err("missing").to_string();
    assert!(missing.contains("--devices"), "{missing}");
    let beside = versions.clone().beside(Some(Content::of_text(&csv(2, "Bolt"))));
    let other = Content::of_text(&csv(2, "Bolt"));
    assert_eq!(beside.load(Some(other.fingerprint())).expect("at hand").len(), 2);

    let path = disk
        .paths()
        .into_iter()
        .find(|path| path.starts_with(folder))
        .expect("a file");
    disk.flip(&path, 8 * 20);
    let damaged = versions.load(Some(version)).expect_err("damaged").to_string();
    assert!(damaged.contains("damaged"), "{damaged}");
    versions.keep(&content).expect("kept anew");
    assert_eq!(versions.load(Some(version)).expect("whole").len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Versions come and go, some of them again; what the retained epochs have met is never removed, and little else stays.
    #[test]
    fn no_version_is_removed_that_a_retained_epoch_has_met(
        steps in proptest::collection::vec((0usize..4, 0u64..4, any::<bool>()), 1..30),
    ) {
        let versions = Versions::new(MemoryDisk::default(), "/state/devices".into(), wanted());
        let contents: Vec<Content> = (0..4).map(|n| Content::of_text(&csv(n, "Acme"))).collect();
        let history = History::new(versions.clone(), Vec::new(), None);
        let (mut met, mut time) = (Vec::new(), 0);
        for (version, gap, forgets) in steps {
            let fingerprint = contents[version].fingerprint();
            history.keep(&contents[version]).expect("kept");
            if forgets {
                // Between the version's being kept and its epoch.
                history.forget_before(time).expect("forgotten");
                met.retain(|(of, _)| *of >= time);
                prop_assert!(versions.has(fingerprint).expect("readable"));
            }
            time += gap + 1;
            history.reached(time, Some(fingerprint));
            (time..=time + gap).for_each(|time| met.push((time, fingerprint)));
            time += gap;
            for (_, fingerprint) in &met {
                prop_assert!(versions.has(fingerprint).expect("readable"));
            }
            let past = history.through(u64::MAX);
            prop_assert!(past.is_sorted_by(|a, b| a.from < b.from && a.version != b.version));
        }
        history.forget_before(time).expect("forgotten");
        let kept = contents.iter().filter(|content| versions.has(content.fingerprint()).expect("readable"));
        prop_assert_eq!(kept.count(), 1);
    }

    #[test]
    fn changes_from_one_version_to_another_make_the_one_the_other(
        versions in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0u8..3), 0..12), 2),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("d.csv");
        let collection = |version: &Vec<Option<u8>>| {
            let row = |(device, maker): (usize, &Option<u8>)| Some(format!("d{device},maker{},m\n", (*maker)?));
            let rows: String = version.iter().enumerate().filter_map(row).collect();
            fs::write(&path, HEADER.to_owned() + &rows).expect("a file");
            Collection::load(&path, &wanted()).expect("a collection")
        };
        let changes = Changes::between(collection(&versions[0]), collection(&versions[1]));
        prop_assert_eq!(changes.devices.len(), changes.added + changes.changed + changes.gone);
        let mut now: std::collections::BTreeMap<_, _> = collection(&versions[0]).into_devices().collect();
        for (id, known) in changes.devices {
            let was = now.remove(&id);
            prop_assert_ne!(&was, &known, "only what differs");
            now.extend(known.map(|known| (id, known)));
        }
        prop_assert_eq!(now, collection(&versions[1]).into_devices().collect());
    }
}
