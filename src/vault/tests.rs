//! The vault as a whole: from records through several workers into the database and out again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

mod canaries;

fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey(zeroize::Zeroizing::new([byte; 32]))
}

struct Scene {
    folder: TempDir,
    path: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state").join("vault.db");
        Self { folder, path }
    }

    fn writer(&self) -> Vault {
        Vault::open_writer(&self.path, &key(1)).expect("opens")
    }

    fn reader(&self) -> VaultReader {
        VaultReader::open(&self.path, &key(1)).expect("opens")
    }

    fn show(&self, patient: &str) -> PatientRecord {
        let shown = self.reader().show(patient).expect("readable");
        shown.expect("a patient the vault knows")
    }

    /// Beside the vault's own ways, for looking at rows and for damage.
    fn direct(&self) -> Connection {
        Connection::open(&self.path).expect("opens")
    }
}

fn intake() -> Intake {
    Intake::new(Arc::new(Sealer::new(&key(1)).expect("random bytes")))
}

fn see(intake: &mut Intake, patient: &str, at: i64, name: &str, dob: &str) {
    intake.see(patient, at, Some(name), Some(dob)).expect("seals");
}

fn refusal<T>(result: Result<T, VaultError>) -> VaultError {
    result.err().expect("must be refused")
}

type ClearVersion = (u32, Option<String>, Option<String>, i64, i64);

fn clear(record: &PatientRecord) -> Vec<ClearVersion> {
    let version = |v: &IdentityVersion| {
        assert!(v.readable);
        (v.version, v.name.clone(), v.dob.clone(), v.first_seen, v.last_seen)
    };
    record.versions.iter().map(version).collect()
}

#[test]
fn what_records_carried_comes_out_again() {
    let scene = Scene::new();
    let mut intake = intake();
    see(&mut intake, "p1", 20, "Ada", "1815-12-10");
    intake.see("p1", 5, None, Some("")).expect("no identity");
    intake.see("p1", 50, None, Some("1815-12-10")).expect("half of one");
    see(&mut intake, "p2", -7, "Grace", "1906-12-09");
    scene.writer().apply(&intake.drain()).expect("applies");

    let record = scene.show("p1");
    assert_eq!((record.first_seen, record.last_seen), (5, 50));
    let dob = Some("1815-12-10".to_owned());
    assert_eq!(
        clear(&record),
        [(1, Some("Ada".into()), dob.clone(), 20, 20), (2, None, dob, 50, 50)]
    );
    assert!(record.audited);
    assert_eq!(scene.show("p2").versions[0].name.as_deref(), Some("Grace"));
    assert_eq!(scene.reader().patient_count().expect("counts"), 2);
    assert!(scene.reader().show("p3").expect("readable").is_none());
}

#[test]
fn a_change_there_and_back_gives_two_versions_and_the_first_is_current() {
    let scene = Scene::new();
    let mut vault = scene.writer();
    let mut intake = intake();
    for (at, name) in [(1, "Ada Byron"), (2, "Ada King"), (3, "Ada Byron")] {
        see(&mut intake, "p", at, name, "1815-12-10");
        vault.apply(&intake.drain()).expect("applies");
    }
    let record = scene.show("p");
    let spans: Vec<_> = clear(&record).into_iter().map(|v| (v.1, v.3, v.4)).collect();
    assert_eq!(
        spans,
        [(Some("Ada Byron".into()), 1, 3), (Some("Ada King".into()), 2, 2)]
    );
    assert_eq!(record.current().map(|v| v.version), Some(1));
}

#[test]
fn an_identity_is_handed_over_once_and_then_by_its_tag() {
    let mut intake = intake();
    for at in [3, 1, 2] {
        see(&mut intake, "p", at, "Ada", "1815");
    }
    let first = intake.drain();
    assert!(matches!(
        first[..],
        [Sighting {
            first_seen: 1,
            last_seen: 3,
            ..
        }]
    ));
    assert!(intake.drain().is_empty());
    see(&mut intake, "p", 9, "Ada", "1815");
    let second = intake.drain();
    assert!(matches!(
        second[..],
        [Sighting {
            first_seen: 9,
            last_seen: 9,
            ..
        }]
    ));
    match (&first[0].identity, &second[0].identity) {
        (SightedIdentity::New(sealed), SightedIdentity::Known(tag)) => {
            assert!(sealed.tag == *tag);
        }
        _ => panic!("new once, then known"),
    }
}

#[test]
fn patients_that_come_and_go_make_no_further_versions_when_they_are_met_anew() {
    for at_once in [1, 250, 600] {
        let scene = Scene::new();
        let mut vault = scene.writer();
        let sealer = Sealer::with_vault(&key(1), &vault).expect("opens");
        let mut intake = Intake::new(Arc::new(sealer));
        // More than are remembered, and twice.
        for at in 0..600 {
            see(&mut intake, &format!("p{}", at % 300), at, "Ada", "1815");
            if (at + 1) % at_once == 0 {
                vault.apply(&intake.drain()).expect("applies");
            }
        }
        vault.apply(&intake.drain()).expect("applies");
        for patient in [0, 150, 299] {
            let versions = clear(&scene.show(&format!("p{patient}")));
            let spans: Vec<_> = versions.iter().map(|version| (version.3, version.4)).collect();
            assert_eq!(spans, [(patient, patient + 300)]);
        }
        let count = "SELECT count(*) FROM data_keys";
        let keys: i64 = scene.direct().query_row(count, [], |row| row.get(0)).expect("a count");
        assert_eq!(keys, 300, "{at_once} at once");
    }
}

#[test]
fn two_workers_and_two_processes_that_meet_an_identity_make_one_version() {
    let scene = Scene::new();
    let sealer = Arc::new(Sealer::new(&key(1)).expect("random bytes"));
    let mut workers = [Intake::new(sealer.clone()), Intake::new(sealer), intake()];
    let mut vault = scene.writer();
    for (worker, at) in workers.iter_mut().zip(10..) {
        see(worker, "p", at, "Ada", "1815");
        vault.apply(&worker.drain()).expect("applies");
    }
    // Both processes' keys stay where each has a version of its own.
    see(&mut workers[2], "p", 20, "Ada King", "1815");
    vault.apply(&workers[2].drain()).expect("applies");
    let versions = clear(&scene.show("p"));
    assert_eq!(versions.len(), 2);
    assert_eq!((versions[0].3, versions[0].4), (10, 12));
}

#[test]
fn a_later_run_over_the_same_vault_uses_the_same_data_key() {
    let scene = Scene::new();
    for (at, name) in [(1, "Ada Byron"), (2, "Ada King")] {
        let mut vault = scene.writer();
        let sealer = Sealer::with_vault(&key(1), &vault).expect("opens");
        let mut intake = Intake::new(Arc::new(sealer));
        see(&mut intake, "p", at, name, "1815");
        vault.apply(&intake.drain()).expect("applies");
    }
    let count = "SELECT count(*) FROM data_keys";
    let keys: i64 = scene.direct().query_row(count, [], |row| row.get(0)).expect("a count");
    assert_eq!((keys, scene.show("p").versions.len()), (1, 2));
}

#[test]
fn a_tag_that_arrives_before_its_identity_waits_for_it() {
    let scene = Scene::new();
    let mut intake = intake();
    see(&mut intake, "p", 5, "Ada", "1815");
    let new = intake.drain();
    see(&mut intake, "p", 9, "Ada", "1815");
    let known = intake.drain();
    let mut vault = scene.writer();
    vault.apply(&known).expect("applies");
    let waiting = scene.show("p");
    assert!(!waiting.versions[0].readable && waiting.versions[0].name.is_none());
    vault.apply(&new).expect("applies");
    let expected = (1, Some("Ada".into()), Some("1815".into()), 5, 9);
    assert_eq!(clear(&scene.show("p")), [expected]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_order_and_any_repetition_of_sightings_gives_the_same_vault(
        records in prop::collection::vec((0..3_u8, 0..3_u8, 0..4_u8, -50..50_i64, any::<bool>()), 1..40),
        order in prop::collection::vec(any::<u32>(), 64),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut workers = [intake(), intake()];
        let mut sightings = Vec::new();
        let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (worker, patient, name, at, drain) in records {
            let intake = &mut workers[usize::from(worker % 2)];
            let patient = format!("p{patient}");
            let name = (name > 0).then(|| format!("name {name}"));
            intake.see(&patient, at, name.as_deref(), None).expect("seals");
            let span = expected.entry(patient).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
            if drain {
                sightings.extend(intake.drain());
            }
        }
        workers.iter_mut().for_each(|intake| sightings.extend(intake.drain()));

        let straight = Scene::new();
        straight.writer().apply(&sightings).expect("applies");
        let shuffled = Scene::new();
        let mut vault = shuffled.writer();
        let mut places: Vec<usize> = (0..sightings.len()).collect();
        places.extend(repeats.iter().map(|index| index.index(sightings.len())));
        let mut shuffled_places: Vec<_> = order.iter().zip(places).collect();
        shuffled_places.sort();
        for chunk in shuffled_places.chunks(3) {
            let chunk: Vec<_> = chunk.iter().map(|(_, place)| sightings[*place].clone()).collect();
            vault.apply(&chunk).expect("applies");
        }
        prop_assert_eq!(shuffled.reader().patient_count().expect("counts"), expected.len() as u64);
        for (patient, span) in expected {
            let (a, b) = (straight.show(&patient), shuffled.show(&patient));
            prop_assert_eq!((a.first_seen, a.last_seen), span);
            prop_assert_eq!((b.first_seen, b.last_seen), span);
            prop_assert_eq!(clear(&a), clear(&b));
        }
    }

    #[test]
    fn any_changed_byte_in_the_stored_identity_or_key_is_detected(
        column in 0..3_usize, at: prop::sample::Index, by in 1_u8..,
    ) {
        let scene = Scene::new();
        let mut intake = intake();
        see(&mut intake, "p", 1, "Ada", "1815");
        scene.writer().apply(&intake.drain()).expect("applies");
        let (table, column) = [("data_keys", "wrapped"), ("identities", "sealed"), ("identities", "tag")][column];
        let direct = scene.direct();
        let mut bytes: Vec<u8> = direct
            .query_row(&format!("SELECT {column} FROM {table}"), [], |row| row.get(0))
            .expect("one row");
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        direct.execute(&format!("UPDATE {table} SET {column} = ?1"), [bytes]).expect("changed");
        let detected = matches!(refusal(scene.reader().show("p")), VaultError::Sealed { .. });
        prop_assert!(detected);
    }
}

#[test]
fn rows_of_one_patient_do_not_open_as_anothers() {
    let scene = Scene::new();
    let mut intake = intake();
    see(&mut intake, "A", 1, "Ada", "1815");
    let mut sightings = intake.drain();
    let mut vault = scene.writer();
    vault.apply(&sightings).expect("applies");
    scene
        .direct()
        .execute_batch(
            "UPDATE patients SET patient = 'B'; UPDATE identities SET patient = 'B';
             UPDATE data_keys SET patient = 'B'",
        )
        .expect("renamed");
    refusal(scene.reader().show("B"));
    sightings[0].patient = "C".into();
    refusal(vault.apply(&sightings));
    assert!(scene.reader().show("C").expect("readable").is_none(), "all or none");
}

#[test]
fn deleting_the_data_keys_makes_identities_unreadable() {
    let scene = Scene::new();
    let mut intake = intake();
    see(&mut intake, "p", 1, "Ada", "1815");
    scene.writer().apply(&intake.drain()).expect("applies");
    scene
        .direct()
        .execute("DELETE FROM data_keys WHERE patient = 'p'", [])
        .expect("deleted");
    let record = scene.show("p");
    assert_eq!(record.versions.len(), 1);
    assert!(!record.versions[0].readable && record.versions[0].name.is_none());
}

#[test]
fn another_key_is_refused_everywhere() {
    let scene = Scene::new();
    drop(scene.writer());
    for error in [
        refusal(Vault::open_writer(&scene.path, &key(2))),
        refusal(VaultReader::open(&scene.path, &key(2))),
    ] {
        assert!(matches!(error, VaultError::WrongKey { .. }));
        assert!(error.to_string().contains("[keys] kek"), "{error}");
    }
    // A worker elsewhere that was started with another key.
    let mut stranger = Intake::new(Arc::new(Sealer::new(&key(2)).expect("random bytes")));
    see(&mut stranger, "p", 1, "Ada", "1815");
    refusal(scene.writer().apply(&stranger.drain()));
    assert_eq!(scene.reader().patient_count().expect("counts"), 0);
}

#[test]
fn what_is_no_vault_is_said_to_be_none() {
    let scene = Scene::new();
    let missing = refusal(VaultReader::open(&scene.path, &key(1)));
    assert!(matches!(missing, VaultError::Missing { .. }));
    assert!(!scene.path.exists(), "looking makes nothing");

    let text = scene.folder.path().join("text");
    fs::write(&text, "not a database ".repeat(100)).expect("written");
    let foreign = scene.folder.path().join("foreign.db");
    let other = Connection::open(&foreign).expect("opens");
    other.execute_batch("CREATE TABLE notes(text TEXT)").expect("made");
    for path in [&text, &foreign] {
        for error in [
            refusal(VaultReader::open(path, &key(1))),
            refusal(Vault::open_writer(path, &key(1))),
        ] {
            assert!(matches!(error, VaultError::NotAVault { .. }), "{error}");
        }
    }

    drop(scene.writer());
    let newer = "UPDATE meta SET value = x'02' WHERE name = 'format'";
    scene.direct().execute(newer, []).expect("changed");
    let error = refusal(Vault::open_writer(&scene.path, &key(1)));
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let scene = Scene::new();
    let first = scene.writer();
    let error = refusal(Vault::open_writer(&scene.path, &key(1)));
    assert!(matches!(error, VaultError::InUse { .. }));
    drop(first);
    scene.writer();
}

#[test]
fn looking_up_beside_a_writer_works_and_is_audited() {
    let scene = Scene::new();
    let mut vault = scene.writer();
    let mut intake = intake();
    see(&mut intake, "p", 1, "Ada", "1815");
    vault.apply(&intake.drain()).expect("applies");
    let mut reader = scene.reader();
    assert!(reader.show("p").expect("readable").is_some());
    see(&mut intake, "p", 2, "Ada King", "1815");
    vault.apply(&intake.drain()).expect("applies beside the reader");
    let record = reader.show("p").expect("readable").expect("known");
    assert_eq!(record.versions.len(), 2);
    assert!(reader.show("nobody").expect("readable").is_none());
    let rows: Vec<(String, String)> = scene
        .direct()
        .prepare("SELECT action, patient FROM audit WHERE at > 0 AND who LIKE '%uid%' ORDER BY rowid")
        .expect("a query")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("readable");
    assert_eq!(rows, ["p", "p", "nobody"].map(|p| ("show".to_owned(), p.to_owned())));
}

#[test]
fn the_payload_key_is_the_vaults_and_stays() {
    let scene = Scene::new();
    let vault = scene.writer();
    let sealer = PayloadSealer::from_wrapped(&key(1), vault.wrapped_payload_key()).expect("unwraps");
    let sealed = sealer.seal("a.jsonl", 7, b"{").expect("seals");
    drop(vault);
    let later = scene.writer();
    let sealer = PayloadSealer::from_wrapped(&key(1), later.wrapped_payload_key()).expect("unwraps");
    assert_eq!(sealer.seal("a.jsonl", 7, b"{").expect("seals"), sealed);
}

#[test]
fn sightings_survive_serialisation() {
    let scene = Scene::new();
    let mut intake = intake();
    see(&mut intake, "p", 1, "Ada", "1815");
    intake.see("p", 0, None, None).expect("no identity");
    let text = serde_json::to_string(&intake.drain()).expect("serialises");
    let sightings: Vec<Sighting> = serde_json::from_str(&text).expect("reads back");
    scene.writer().apply(&sightings).expect("applies");
    assert_eq!(clear(&scene.show("p"))[0].1.as_deref(), Some("Ada"));
}
