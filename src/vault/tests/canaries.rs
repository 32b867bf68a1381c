//! Planted identities are searched for in every byte written, and every file is its owner's alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::super::*;
use super::{Scene, intake, see};
use crate::settings::KeySource;

#[test]
fn no_file_holds_an_identity_in_any_common_encoding() {
    let scene = Scene::new();
    let canaries = ["Zebediah Quillfeather", "1931-02-29T-canary"];
    let state = scene.path.parent().expect("a folder").to_owned();
    let loaded = KeyEncryptionKey::load(&KeySource::StateFolder, &state).expect("made");
    let mut vault = Vault::open_writer(&scene.path, &loaded.key).expect("opens");
    let sealer = Sealer::with_vault(&loaded.key, &vault).expect("opens");
    let payloads = PayloadSealer::from_wrapped(&loaded.key, vault.wrapped_payload_key()).expect("unwraps");
    let mut intake = Intake::new(Arc::new(sealer));
    for patient in 0..200 {
        see(
            &mut intake,
            &format!("patient-{patient}"),
            patient,
            canaries[0],
            canaries[1],
        );
    }
    let sightings = intake.drain();
    let travelling = serde_json::to_vec(&sightings).expect("serialises");
    fs::write(state.join("travelling"), travelling).expect("written");
    let quarantined = payloads.seal("s", 1, canaries.concat().as_bytes()).expect("seals");
    fs::write(state.join("quarantined"), quarantined).expect("written");
    vault.apply(&sightings).expect("applies");
    let mut reader = VaultReader::open(&scene.path, &loaded.key).expect("opens");
    let record = reader.show("patient-7").expect("readable").expect("known");
    assert_eq!(record.versions[0].name.as_deref(), Some(canaries[0]));

    // While all is open, so that the write-ahead log is there; and again after it was folded in.
    assert!(
        names(&state).iter().any(|name| name.ends_with("-wal")),
        "{:?}",
        names(&state)
    );
    assert_absent(&state, &canaries, b"patient-7");
    drop((vault, reader, intake));
    assert_absent(&state, &canaries, b"patient-7");
}

#[test]
fn every_file_is_its_owners_alone() {
    let scene = Scene::new();
    let state = scene.path.parent().expect("a folder").to_owned();
    KeyEncryptionKey::load(&KeySource::StateFolder, &state).expect("made");
    let mut vault = scene.writer();
    let mut intake = intake();
    see(&mut intake, "p", 1, "Ada", "1815");
    vault.apply(&intake.drain()).expect("applies");
    let names = names(&state);
    assert!(names.len() >= 5, "key, database, log, its index and lock: {names:?}");
    for name in names {
        let mode = fs::metadata(state.join(&name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("readable");
    entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect()
}

/// Searches every file of `folder`; `present` must be found, so that the search is known to see.
fn assert_absent(folder: &Path, canaries: &[&str], present: &[u8]) {
    let mut found = false;
    for name in names(folder) {
        let bytes = fs::read(folder.join(&name)).expect("readable");
        found |= contains(&bytes, present);
        for canary in canaries {
            for form in encodings(canary) {
                assert!(!contains(&bytes, &form), "{canary} is in {name}");
            }
        }
    }
    assert!(found, "the search must find what is in clear");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn encodings(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        text.as_bytes().to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    ];
    // Base64 looks different at each of three alignments; whole groups suffice.
    for skipped in 0..3 {
        forms.push(base64(&text.as_bytes()[skipped..]));
    }
    forms
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |g: &[u8]| {
        let bits = u32::from(g[0]) << 16 | u32::from(g[1]) << 8 | u32::from(g[2]);
        [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}
