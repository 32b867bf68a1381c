//! An output folder and its state folder: whose they are, and what a crash left in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{OutputError, unreadable};
use super::lock::lock_of;
use super::manifest::{Belongings, Manifest};
use crate::disk::{Disk, Fence, FenceError, LocalDisk, crash_point};
use crate::settings::{first_difference, first_difference_of_state};
use crate::sink::{Anomalies, Quarantine, Readings, SinkError, StagedFile, Table, Windows};

/// Holds what is not yet committed; below the output, so that publishing is a rename. No glob of a table finds it.
const STAGING: &str = ".staging";
/// What a run of several processes leaves among the staged files, to be seen by all of them.
pub const RUN_SIGN: &str = "run";
/// The folders of the tables.
pub const TABLES: [&str; 4] = [Readings::NAME, Anomalies::NAME, Windows::NAME, Quarantine::NAME];

/// An output folder with its state folder, owned by one run at a time.
pub struct OutputFolder<D: Disk = LocalDisk> {
    disk: D,
    output: PathBuf,
    state: PathBuf,
    fence: Fence<D>,
    /// Keeps the lock while the run lasts.
    _lock: Option<File>,
}

/// What happens to a file that is already where a staged one is to go.
#[derive(Clone, Copy, PartialEq)]
enum Visible {
    Stays,
    IsReplaced,
}

impl OutputFolder {
    /// Makes the folders and locks them against a second run.
    ///
    /// # Errors
    /// Folders that cannot be made, or that another run has locked.
    pub fn open(output: &Path, state: &Path) -> Result<OutputFolder, OutputError> {
        fs::create_dir_all(output).map_err(unreadable(output))?;
        create_private(state).map_err(unreadable(state))?;
        let path = lock_of(state);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(unreadable(&path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(OutputFolder {
                disk: LocalDisk,
                output: output.to_owned(),
                state: state.to_owned(),
                fence: Fence::raise(&LocalDisk, state)?,
                _lock: Some(lock),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OutputError::InUse(state.to_owned())),
            Err(e) => Err(unreadable(&path)(e.into())),
        }
    }
}

impl OutputFolder {
    /// Whether the run of this incarnation has left its sign there.
    pub fn is_shown(output: &Path, incarnation: u64) -> bool {
        sign_of(output, incarnation).exists()
    }
}

impl<D: Disk> OutputFolder<D> {
    /// On a disk that nobody else has.
    #[cfg(test)]
    pub fn alone(disk: D, output: &Path, state: &Path) -> io::Result<OutputFolder<D>> {
        disk.create_shared_folder(output)?;
        disk.create_folder(state)?;
        Ok(OutputFolder {
            fence: Fence::raise(&disk, state).map_err(io::Error::other)?,
            disk,
            output: output.to_owned(),
            state: state.to_owned(),
            _lock: None,
        })
    }

    pub fn output(&self) -> &Path {
        &self.output
    }

    /// This run's number among those that have taken up the state folder.
    pub fn incarnation(&self) -> u64 {
        self.fence.incarnation()
    }

    /// This run's claim on the state folder.
    pub fn fence(&self) -> &Fence<D> {
        &self.fence
    }

    /// Leaves a sign in the output, by which another process of this run can tell that it sees the same folder.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn show(&self) -> Result<(), OutputError> {
        let sign = sign_of(&self.output, self.incarnation());
        let folder = sign.parent().unwrap_or(&self.output);
        let made = self
            .disk
            .create_shared_folder(folder)
            .and_then(|()| self.disk.create(&sign));
        made.map(drop).map_err(unreadable(&sign))
    }

    /// That the folders are still this run's.
    pub(super) fn check(&self) -> Result<(), FenceError> {
        self.fence.check()
    }

    /// Where this run stages the files of a commit.
    #[cfg(test)]
    pub fn staging(&self, commit: u32) -> PathBuf {
        staging(&self.output, self.incarnation(), commit)
    }

    /// Takes up the output for a run of `belongs_to`: finishes what a crash interrupted, removes what was never committed.
    ///
    /// # Errors
    /// An output that belongs to anything else, or that holds tables of unknown origin.
    pub fn take_up(&self, belongs_to: Belongings) -> Result<Manifest, OutputError> {
        let found = Manifest::read_from(&self.disk, &self.state).map_err(unreadable(&self.state))?;
        let manifest = match found {
            Some(mut manifest) => {
                let why = match manifest.belongs_to.is_live() && belongs_to.is_live() {
                    true => difference_of_state(&manifest.belongs_to, &belongs_to),
                    false => difference(&manifest.belongs_to, &belongs_to),
                };
                if let Some(why) = why {
                    return Err(self.foreign(why));
                }
                // What is visible already stays: what is staged in its place is of a repetition that was interrupted, and may be half.
                self.publish(&manifest, Visible::Stays)?;
                if manifest.belongs_to != belongs_to {
                    manifest.belongs_to = belongs_to;
                    manifest.write_to(&self.disk, &self.state)?;
                }
                manifest
            }
            None => {
                if let Some(table) = self.table_present()? {
                    return Err(self.foreign(format!(
                        "it holds a folder {table}/ but {} knows nothing of it",
                        self.state.display()
                    )));
                }
                let manifest = Manifest::new(belongs_to);
                manifest.write_to(&self.disk, &self.state)?;
                manifest
            }
        };
        self.clear_staging()?;
        Ok(manifest)
    }

    fn foreign(&self, why: String) -> OutputError {
        OutputError::Foreign {
            output: self.output.clone(),
            why,
        }
    }

    fn table_present(&self) -> Result<Option<&'static str>, OutputError> {
        Ok(TABLES.into_iter().find(|table| self.disk.has(&self.output.join(table))))
    }

    /// Makes a commit: its manifest first, then its files visible.
    ///
    /// # Errors
    /// A folder that cannot be written; then a later start finishes the commit.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), SinkError> {
        manifest.write_to(&self.disk, &self.state)?;
        self.publish(manifest, Visible::IsReplaced)
    }

    /// Makes a commit again that an earlier run of the same replay has made: the same files take the places of their equals,
    /// and the manifest, which is ahead, stays.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn republish(&self, manifest: &Manifest) -> Result<(), SinkError> {
        self.publish(manifest, Visible::IsReplaced)
    }

    /// Moves staged files to where readers look. Repeating it does no harm.
    fn publish(&self, manifest: &Manifest, visible: Visible) -> Result<(), SinkError> {
        let mut folders = BTreeSet::new();
        let commit = manifest.commits.saturating_sub(1);
        for file in &manifest.last {
            let from = staging(&self.output, manifest.incarnation, commit).join(StagedFile::staged(&file.path));
            let to = self.output.join(&file.path);
            let folder = to.parent().unwrap_or(&self.output).to_owned();
            if folders.insert(folder.clone()) {
                self.disk
                    .create_shared_folder(&folder)
                    .map_err(SinkError::io(&folder))?;
            }
            if visible == Visible::Stays && self.disk.has(&to) {
                continue;
            }
            match self.disk.rename(&from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.disk.has(&to) => {} // published before the crash
                Err(e) => return Err(SinkError::io(&to)(e)),
            }
            crash_point("commit.published_one");
        }
        // New folders above the files' own must last too.
        let above: BTreeSet<&Path> = folders
            .iter()
            .flat_map(|f| f.ancestors().take(3))
            .filter(|f| f.starts_with(&self.output))
            .collect();
        let above: Vec<&Path> = above.into_iter().collect();
        self.disk.sync_folders(&above).map_err(SinkError::io(&self.output))
    }

    /// Ends a run: nothing of it is left to be committed.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn complete(&self, manifest: &Manifest) -> Result<(), SinkError> {
        manifest.write_to(&self.disk, &self.state)?;
        self.clear_staging()
    }

    /// Removes what was never committed.
    fn clear_staging(&self) -> Result<(), SinkError> {
        let folder = staging_root(&self.output);
        self.disk.remove_folder(&folder).map_err(SinkError::io(&folder))
    }
}

/// The sign of a run of several processes.
fn sign_of(output: &Path, incarnation: u64) -> PathBuf {
    staging_root(output).join(incarnation.to_string()).join(RUN_SIGN)
}

/// Where all that is not committed waits.
pub fn staging_root(output: &Path) -> PathBuf {
    output.join(STAGING)
}

/// Where the files of a commit to `output` wait that a run of this incarnation has staged.
pub fn staging(output: &Path, incarnation: u64, commit: u32) -> PathBuf {
    match incarnation {
        // Of a program before incarnations were counted.
        0 => staging_root(output).join(format!("{commit:08}")),
        _ => staging_root(output).join(format!("{incarnation}/{commit:08}")),
    }
}

/// The first thing in which two runs differ, told to the user.
fn difference(was: &Belongings, is: &Belongings) -> Option<String> {
    if was.dataflow != is.dataflow {
        return Some(format!("it holds tables of {}, this is {}", was.dataflow, is.dataflow));
    }
    if let Some(difference) = first_difference(&was.settings, &is.settings) {
        return Some(format!("it was made with other settings: {difference}"));
    }
    if was.input.is_none() || is.input.is_none() {
        return Some("it was made from standard input, or this run is: standard input cannot be taken up again".into());
    }
    if was.input != is.input {
        return Some(
            "it was made from another input or in another order (--merge), or the input has changed since".into(),
        );
    }
    if was.devices != is.devices {
        return Some("it was made with another device collection, or the collection has changed since".into());
    }
    (was.program != is.program).then(|| format!("it was made by {}, this is {}", was.program, is.program))
}

/// The first thing that a live run must not change while it has a state, told to the user.
fn difference_of_state(was: &Belongings, is: &Belongings) -> Option<String> {
    if was.dataflow != is.dataflow {
        return Some(format!("it holds tables of {}, this is {}", was.dataflow, is.dataflow));
    }
    let difference = first_difference_of_state(&was.settings, &is.settings)?;
    Some(format!(
        "what the dataflow remembers was made with other settings: {difference} (alerts, select, output, record.aliases, the broker and the device collection may change)"
    ))
}

/// A folder that only its owner may look into: keys and the vault live there.
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belongings(dataflow: &str) -> Belongings {
        Belongings {
            program: "wardflow".into(),
            dataflow: dataflow.into(),
            settings: "{}".into(),
            input: Some("input".into()),
            devices: None,
        }
    }

    fn stage(folder: &OutputFolder, commit: u32, name: &str) -> StagedFile {
        let path = format!("readings/date=2024-01-01/{name}.parquet");
        let staged = folder.staging(commit).join(StagedFile::staged(&path));
        fs::create_dir_all(staged.parent().expect("a folder")).expect("created");
        fs::write(staged, name).expect("written");
        StagedFile {
            path,
            rows: 1,
            bytes: 1,
        }
    }

    #[test]
    fn a_commit_interrupted_after_its_manifest_is_finished_at_the_next_start() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let open = || OutputFolder::open(&root.path().join("out"), &root.path().join("state")).expect("opened");
        let folder = open();
        let mut manifest = folder.take_up(belongings("a")).expect("fresh");
        manifest.incarnation = folder.incarnation();
        (manifest.commits, manifest.last) = (1, vec![stage(&folder, 0, "one"), stage(&folder, 0, "two")]);
        manifest
            .write_to(&LocalDisk, &folder.state)
            .expect("the manifest, and then the crash");
        let uncommitted = stage(&folder, 1, "three");
        drop(folder);

        let folder = open();
        assert_eq!(folder.take_up(belongings("a")).expect("taken up"), manifest);
        for file in &manifest.last {
            assert!(folder.output().join(&file.path).exists(), "{} is visible", file.path);
        }
        assert!(!folder.output().join(&uncommitted.path).exists());
        assert!(!folder.output().join(STAGING).exists(), "nothing uncommitted is left");
        folder.take_up(belongings("a")).expect("taken up twice");
    }

    #[test]
    fn a_repetition_that_was_interrupted_takes_the_place_of_nothing() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let open = || OutputFolder::open(&root.path().join("out"), &root.path().join("state")).expect("opened");
        let folder = open();
        let mut manifest = folder.take_up(belongings("a")).expect("fresh");
        manifest.incarnation = folder.incarnation();
        (manifest.commits, manifest.last) = (1, vec![stage(&folder, 0, "whole")]);
        folder.commit(&manifest).expect("committed");
        let visible = folder.output().join(&manifest.last[0].path);
        stage(&folder, 0, "whole");
        let again = folder.staging(0).join(StagedFile::staged(&manifest.last[0].path));
        fs::write(again, "ha").expect("half of it, and then the crash");
        drop(folder);

        open().take_up(belongings("a")).expect("taken up");
        assert_eq!(fs::read_to_string(visible).expect("it is there"), "whole");
    }

    #[test]
    fn an_output_of_anything_else_is_refused_and_left_alone() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (output, state) = (root.path().join("out"), root.path().join("state"));
        let folder = OutputFolder::open(&output, &state).expect("opened");
        folder.take_up(belongings("a")).expect("fresh");
        let refused = folder
            .take_up(belongings("b"))
            .expect_err("another dataflow")
            .to_string();
        assert!(refused.contains("it holds tables of a, this is b"), "{refused}");
        let from_stdin = Belongings {
            input: None,
            ..belongings("a")
        };
        assert!(folder.take_up(from_stdin).is_err());
        assert!(matches!(
            OutputFolder::open(&output, &state),
            Err(OutputError::InUse(_))
        ));

        let strange = root.path().join("strange");
        fs::create_dir_all(strange.join("readings")).expect("created");
        let folder = OutputFolder::open(&strange, &root.path().join("s")).expect("opened");
        assert!(matches!(
            folder.take_up(belongings("a")),
            Err(OutputError::Foreign { .. })
        ));
    }

    #[test]
    fn every_difference_of_what_an_output_belongs_to_is_told() {
        let was = || belongings("a");
        let other = |change: fn(&mut Belongings)| {
            let mut is = was();
            change(&mut is);
            difference(&was(), &is)
        };
        assert_eq!(difference(&was(), &was()), None);
        for (change, told) in [
            (
                (|is| is.dataflow = "b".into()) as fn(&mut Belongings),
                "tables of a, this is b",
            ),
            (
                |is| is.settings = "{\"alerts\":{\"threshold\":3.0}}".into(),
                "other settings",
            ),
            (|is| is.input = Some("another".into()), "another input"),
            (|is| is.input = None, "standard input"),
            (|is| is.devices = Some("devices".into()), "another device collection"),
            (|is| is.program = "wardflow 9".into(), "wardflow 9"),
        ] {
            let why = other(change).expect(told);
            assert!(why.contains(told), "{why}");
        }
    }

    #[test]
    fn commits_become_visible_one_after_the_other_and_may_be_made_again() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = OutputFolder::open(&root.path().join("out"), &root.path().join("state")).expect("opened");
        let mut manifest = folder.take_up(belongings("a")).expect("fresh");
        manifest.incarnation = folder.incarnation();
        let days = |commit: u32| {
            (1..=20).map(move |day| (commit, format!("readings/date=2024-01-{day:02}/part-{commit}.parquet")))
        };
        let stage_all = |commit: u32| -> Vec<StagedFile> {
            let stage = |(commit, path): (u32, String)| {
                let staged = folder.staging(commit).join(StagedFile::staged(&path));
                fs::create_dir_all(staged.parent().expect("a folder")).expect("created");
                fs::write(staged, &path).expect("written");
                StagedFile {
                    path,
                    rows: 1,
                    bytes: 1,
                }
            };
            days(commit).map(stage).collect()
        };
        let visible = |commit: u32| {
            days(commit)
                .filter(|(_, path)| folder.output().join(path).exists())
                .count()
        };
        for commit in 0..2 {
            (manifest.commits, manifest.last) = (commit + 1, stage_all(commit));
            assert_eq!(visible(commit), 0, "staged is not visible");
            folder.commit(&manifest).expect("committed");
            assert_eq!(visible(commit), 20);
        }
        manifest.last = stage_all(1);
        folder.republish(&manifest).expect("the same files again");
        assert_eq!((visible(0), visible(1)), (20, 20));
        manifest.complete = true;
        folder.complete(&manifest).expect("completed");
        assert!(!folder.output().join(STAGING).exists());
        assert_eq!(Manifest::read(&folder.state).expect("readable"), Some(manifest));
    }
}
