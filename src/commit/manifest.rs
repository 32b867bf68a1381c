//! The manifest: how far an output has come, and what it belongs to.
//!
//! One small JSON file in the state folder, replaced atomically. A commit is made by the rename that puts its manifest
//! in place; until then nothing of it is visible.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Tally;
use crate::devices::InForce;
use crate::disk::{Disk, LocalDisk, crash_point};
use crate::sink::{SinkError, StagedFile};
use crate::snapshot::Run;

const NAME: &str = "manifest.json";
/// Of the manifest's form; another one is refused, never guessed at.
const VERSION: u32 = 3;
/// The first had no state of the dataflow, the second only one journal.
const OLDEST: u32 = 1;

/// Where a state folder keeps it.
pub fn path_of(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// What an output belongs to: it takes no rows of anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongings {
    /// The program that wrote it, since the bytes may differ between versions.
    pub program: String,
    pub dataflow: String,
    /// All settings that decide rows, as canonical JSON.
    pub settings: String,
    /// The input's fingerprint; `None` for standard input.
    pub input: Option<String>,
    /// The device collection's fingerprint; `None` without one.
    pub devices: Option<String>,
}

/// How the input of a live run is told from files.
const LIVE: &str = "mqtt ";

impl Belongings {
    /// What a live run takes for its input.
    pub fn live_input(topics: &[String]) -> String {
        format!("{LIVE}{}", topics.join(" "))
    }

    pub fn is_live(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.starts_with(LIVE))
    }
}

/// The dataflow's state behind a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Commits made by then.
    pub commits: u32,
    /// The position behind the last record in them.
    pub position: u64,
    /// The same in each journal; empty: there is one.
    #[serde(default)]
    ends: Vec<u64>,
    pub runs: Vec<Run>,
}

impl Anchor {
    /// The position behind the last record that is committed, in each journal.
    pub fn ends(&self) -> Vec<u64> {
        ends_or(&self.ends, self.position)
    }
}

fn ends_or(ends: &[u64], position: u64) -> Vec<u64> {
    match ends.is_empty() {
        true => vec![position],
        false => ends.to_vec(),
    }
}

/// The state of an output after a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    pub belongs_to: Belongings,
    /// Commits made so far.
    pub commits: u32,
    /// Files of the last commit: a crash may have come before all of them were published.
    pub last: Vec<StagedFile>,
    /// The run that has staged them.
    #[serde(default)]
    pub incarnation: u64,
    /// Over all commits.
    pub tally: Tally,
    /// The position behind the last committed record in each journal of a live run.
    #[serde(default)]
    ends: Vec<u64>,
    /// The dataflow's state behind the last commit, from the oldest run to the newest; of a live run only.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Earlier states that are kept, the oldest first: a replay of the journal may start from them.
    #[serde(default)]
    pub anchors: Vec<Anchor>,
    /// The versions of the device collection that the epochs have met, of a live run, as far back as its journals are kept.
    #[serde(default)]
    pub devices: Vec<InForce>,
    /// Whether the input has been taken to its end.
    pub complete: bool,
}

impl Manifest {
    pub fn new(belongs_to: Belongings) -> Manifest {
        Manifest {
            version: VERSION,
            belongs_to,
            commits: 0,
            last: Vec::new(),
            incarnation: 0,
            tally: Tally::default(),
            ends: Vec::new(),
            runs: Vec::new(),
            anchors: Vec::new(),
            devices: Vec::new(),
            complete: false,
        }
    }

    /// The position behind the last record that is committed.
    pub fn position(&self) -> u64 {
        self.tally.records()
    }

    /// The same in each journal.
    pub fn ends(&self) -> Vec<u64> {
        ends_or(&self.ends, self.position())
    }

    pub(super) fn set_ends(&mut self, ends: Vec<u64>) {
        self.ends = ends;
    }

    /// Keeps the state of now for replays to begin with.
    pub(super) fn anchor(&mut self) {
        self.anchors.push(Anchor {
            commits: self.commits,
            position: self.position(),
            ends: self.ends.clone(),
            runs: self.runs.clone(),
        });
    }

    /// Every run that it refers to, each once.
    pub fn kept_runs(&self) -> Vec<Run> {
        let mut names = BTreeSet::new();
        let anchored = self.anchors.iter().flat_map(|anchor| &anchor.runs);
        self.runs
            .iter()
            .chain(anchored)
            .filter(|run| names.insert(run.name.clone()))
            .cloned()
            .collect()
    }

    /// The manifest of a state folder, `None` where there is none yet.
    ///
    /// # Errors
    /// One that cannot be read, or of another form.
    pub fn read(state: &Path) -> io::Result<Option<Manifest>> {
        Manifest::read_from(&LocalDisk, state)
    }

    /// The same, of any disk.
    pub(super) fn read_from(disk: &impl Disk, state: &Path) -> io::Result<Option<Manifest>> {
        let bytes = match disk.read(&path_of(state)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        if !(OLDEST..=VERSION).contains(&manifest.version) {
            let what = format!(
                "it has form {}, this program reads {OLDEST} to {VERSION}",
                manifest.version
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Ok(Some(manifest))
    }

    /// Puts it in place, durably.
    ///
    /// # Errors
    /// A state folder that cannot be written.
    pub(super) fn write_to(&self, disk: &impl Disk, state: &Path) -> Result<(), SinkError> {
        let path = path_of(state);
        let json = serde_json::to_vec_pretty(self).expect("a manifest has only text keys and numbers");
        disk.replace(&path, &json).map_err(SinkError::io(&path))?;
        crash_point("commit.manifest");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::Reason;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new(Belongings {
            program: "wardflow".into(),
            dataflow: "realtime_analytics".into(),
            settings: "{\"a\":1}".into(),
            input: Some("input".into()),
            devices: None,
        });
        manifest.commits = 3;
        manifest.last = vec![StagedFile {
            path: "readings/date=2017-10-15/part-00000002-00.parquet".into(),
            rows: 7,
            bytes: 1234,
        }];
        manifest.tally.readings = 7;
        manifest.tally.quarantined.insert(Reason::NotJson, 2);
        manifest
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written_and_replaces_the_one_before() {
        let state = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Manifest::read(state.path()).expect("nothing is no error"), None);
        let mut manifest = manifest();
        manifest.write_to(&LocalDisk, state.path()).expect("written");
        manifest.complete = true;
        manifest.write_to(&LocalDisk, state.path()).expect("written over");
        assert_eq!(Manifest::read(state.path()).expect("readable"), Some(manifest));
        let files = fs::read_dir(state.path()).expect("a folder").count();
        assert_eq!(files, 1, "nothing temporary is left");
    }

    #[test]
    fn a_manifest_of_another_form_or_none_at_all_is_refused() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let newer = Manifest {
            version: VERSION + 1,
            ..manifest()
        };
        newer.write_to(&LocalDisk, state.path()).expect("written");
        let error = Manifest::read(state.path()).expect_err("a newer form");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        fs::write(state.path().join(NAME), "{\"version\":1,").expect("written");
        assert!(Manifest::read(state.path()).is_err(), "cut off");
    }

    #[test]
    fn tallies_add_up_in_any_order_and_account_for_every_record() {
        let tally = |n: u64, reason| Tally {
            not_selected: n,
            duplicates: 10 * n,
            readings: 100 * n,
            late: 1000 * n,
            quarantined: [(reason, n)].into(),
            ..Tally::default()
        };
        let parts = [
            tally(1, Reason::NotJson),
            tally(2, Reason::NoDevice),
            tally(3, Reason::NotJson),
        ];
        let sum = |order: [usize; 3]| {
            let mut sum = Tally::default();
            order.into_iter().for_each(|i| sum.add(&parts[i]));
            sum
        };
        assert_eq!(sum([0, 1, 2]), sum([2, 0, 1]));
        assert_eq!(
            sum([0, 1, 2]).quarantined,
            [(Reason::NotJson, 4), (Reason::NoDevice, 2)].into()
        );
        assert_eq!(sum([0, 1, 2]).records(), 6 + 60 + 600 + 6);
    }
}
