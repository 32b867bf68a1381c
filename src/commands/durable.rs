//! What a live run keeps on disk, opened at its start: journal, epoch log and the dataflow's state; and the journal of another run, to be replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use super::preparation::{PROGRAM, Task};
use super::replay::VAULT;
use super::tell;
use crate::alerts::{self, Destination, Outbox, try_file};
use crate::commit::{JournalLink, Keeping, Manifest};
use crate::dataflows::parser;
use crate::disk::{Disk, LocalDisk};
use crate::journal::{
    EpochLog, Journal, JournalReader, Limits, Restorer, Separator, Start, epochs_of, folder_of, records_of,
};
use crate::settings::{Dataflow, KeySource};
use crate::snapshot::{self, Checkpoints, Collected, Snapshots};
use crate::source::{Durable, Ingest, Recorded, Records, Release, Wish, time_of};
use crate::vault::{KeyEncryptionKey, Sealer, SegmentKeys};

/// What a live run goes on with.
pub(super) struct Continuation {
    pub(super) durable: Durable<LocalDisk>,
    pub(super) checkpoints: Checkpoints,
    pub(super) keeping: Keeping,
    /// Where somebody is to be told of incidents.
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// Opens what a run before this one has left, behind its last commit; makes it where there is none.
pub(super) fn take_up(
    task: &Task,
    found: &Manifest,
    devices: Option<&str>,
    key: &KeyEncryptionKey,
    sealer: &Arc<Sealer>,
    workers: usize,
) -> Result<Continuation, Failure> {
    let (settings, journal) = (&task.settings, folder_of(&task.state));
    let (records, vault) = (records_of(&journal), task.state.join(VAULT));
    let (epochs, uncommitted) = EpochLog::open(LocalDisk, &epochs_of(&journal), time_of(found.commits, 0))?;
    let sealed = uncommitted.last().and_then(|epoch| epoch.ends.first().copied());
    let keys = Arc::new(SegmentKeys::new(key));
    let limits = Limits {
        segment_bytes: settings.journal.segment_bytes,
    };
    let needed = found.position();
    let sealed = sealed.unwrap_or(needed);
    let (opened, cut) = Journal::open(LocalDisk, &records, Arc::clone(&keys), limits, needed, sealed)?;
    if let Some((segment, bytes)) = cut {
        tell(format_args!(
            "wardflow: {segment}: its last {bytes} bytes were cut off: they were being written when the run before this one ended"
        ));
    }
    let start = Start {
        program: PROGRAM.to_owned(),
        settings: settings.canonical_json(),
        devices: devices.map(str::to_owned),
    };
    if let Some(before) = epochs
        .start()
        .filter(|before| **before != start && !uncommitted.is_empty())
    {
        return Err(changed(before, &start));
    }
    if settings.deduplicate.horizon.is_none() {
        tell(
            "wardflow: warning: deduplicate.horizon is \"off\": what the broker sends again after a lost connection or a crash counts as new records",
        );
    }
    let snapshots = Snapshots::new(LocalDisk, snapshot::folder_of(&task.state));
    LocalDisk
        .create_folder(&snapshot::folder_of(&task.state))
        .map_err(|e| Failure::new(format!("{}: {e}", task.state.display())))?;
    let restored = snapshots.load(&found.runs, workers)?;
    snapshots.remove_all_but(&found.kept_runs())?;
    let release = Release::default();
    release.begin(needed, found.anchors.iter().map(|anchor| anchor.position).collect());
    let reader = JournalReader::new(LocalDisk, &records, keys, needed);
    let durable = Durable {
        ingest: Ingest {
            journal: opened,
            separator: Separator::new(parser(&settings.record), Arc::clone(sealer), &vault)?,
            release: release.clone(),
            budget: settings.journal.budget,
            retained: settings.journal.retain,
            retained_for: settings.journal.retain_for.into(),
        },
        epochs,
        uncommitted,
        records: Records::new(reader, Restorer::new(&vault, key)?),
        start,
    };
    let epochs = epochs_of(&journal);
    let outbox = outbox(task)?;
    Ok(Continuation {
        durable,
        checkpoints: Checkpoints {
            first_commit: found.commits,
            collected: Arc::new(Collected::default()),
            restored: Arc::new(restored),
        },
        keeping: Keeping {
            snapshots,
            outbox: outbox.clone(),
            journal: Box::new(JournalKeeper {
                release,
                epochs,
                kept_from: 0,
            }),
        },
        outbox,
    })
}

/// Alerts that wait, and a look at whether their file can be written.
fn outbox(task: &Task) -> Result<Option<Arc<Outbox>>, Failure> {
    let alerts = &task.settings.alerts;
    let destinations = match task.settings.dataflow {
        Dataflow::RealtimeAnalytics => Destination::of(alerts),
        _ => Vec::new(),
    };
    if !alerts.file.is_empty() {
        try_file(Path::new(&alerts.file)).map_err(|why| Failure::new(format!("alerts.file: {why}")))?;
    }
    if destinations.is_empty() {
        return Ok(None);
    }
    let folder = alerts::folder_of(&task.state);
    Ok(Some(Outbox::open(LocalDisk, folder, &destinations)?))
}

/// Lets go of what the journal need not keep once there is a commit.
struct JournalKeeper {
    release: Release,
    epochs: PathBuf,
    /// The position that the journal begins with, or one before it.
    kept_from: u64,
}

impl JournalLink for JournalKeeper {
    fn committing(&mut self, position: u64) -> (bool, u64) {
        let Wish { anchor, kept_from } = self.release.committing(position);
        self.kept_from = kept_from;
        (anchor, kept_from)
    }

    fn committed(&mut self, manifest: &Manifest) {
        self.release.committed(manifest.position());
        if let Some(first) = manifest.anchors.first().filter(|_| self.kept_from > 0) {
            // What is left of the log where this fails is left for the next commit.
            let _ = EpochLog::remove_before(&LocalDisk, &self.epochs, time_of(first.commits, 0));
        }
    }
}

fn changed(before: &Start, now: &Start) -> Failure {
    let what = match () {
        () if before.program != now.program => format!("the program is {}, was {}", now.program, before.program),
        () if before.devices != now.devices => "the device collection has changed".into(),
        () => crate::settings::first_difference(&before.settings, &now.settings).unwrap_or_default(),
    };
    Failure::new(format!(
        "the run before this one was killed, and what it had received is to be finished as it began, but {what}: start once as before, end that run with Ctrl-C, then change"
    ))
}

/// A journal that is given as input: it, or the state folder it is in.
pub(super) fn journal_at(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    [path.to_owned(), folder_of(path)]
        .into_iter()
        .find(|folder| epochs_of(folder).is_dir() && records_of(folder).is_dir())
}

/// The journal of a live run, to be replayed.
pub(super) struct Recording {
    pub(super) journal: PathBuf,
    epochs: Vec<crate::journal::Epoch>,
    /// Position and state that it begins with.
    first_position: u64,
    pub(super) first_commit: u32,
    runs: Vec<snapshot::Run>,
}

impl Recording {
    /// # Errors
    /// A journal that cannot be read, or that does not reach back to a state that is kept.
    pub(super) fn open(journal: &Path) -> Result<Recording, Failure> {
        let records = records_of(journal);
        let begins = JournalReader::begins(&LocalDisk, &records)?.unwrap_or(0);
        let (mut first_position, mut first_commit, mut runs) = (0, 0, Vec::new());
        if begins > 0 {
            let manifest = Manifest::read(state_of(journal)).map_err(|e| Failure::new(e.to_string()))?;
            let anchors = manifest.iter().flat_map(|manifest| &manifest.anchors);
            let Some(anchor) = anchors.into_iter().find(|anchor| anchor.position >= begins) else {
                return Err(Failure::new(format!(
                    "{}: its first records have been removed, and no state is kept that a replay could begin with; raise journal.retain for the live run",
                    journal.display()
                )));
            };
            (first_position, first_commit, runs) = (anchor.position, anchor.commits, anchor.runs.clone());
        }
        let epochs = EpochLog::read(&LocalDisk, &epochs_of(journal), time_of(first_commit, 0))?;
        Ok(Recording {
            journal: journal.to_owned(),
            epochs,
            first_position,
            first_commit,
            runs,
        })
    }

    /// Tells it from any other.
    pub(super) fn fingerprint(&self) -> String {
        let last = self.epochs.last();
        let end = last.and_then(|epoch| epoch.ends.first()).copied().unwrap_or_default();
        format!(
            "journal {} from {} to {end}",
            self.journal.display(),
            self.first_position
        )
    }

    /// The state that it begins with, for the workers of this process.
    pub(super) fn checkpoints(&self, workers: usize) -> Result<Option<Checkpoints>, Failure> {
        if self.first_commit == 0 {
            return Ok(None);
        }
        let snapshots = Snapshots::new(LocalDisk, snapshot::folder_of(state_of(&self.journal)));
        Ok(Some(Checkpoints {
            first_commit: self.first_commit,
            collected: Arc::new(Collected::default()),
            restored: Arc::new(snapshots.load(&self.runs, workers)?),
        }))
    }

    /// Its epochs, for workers `mine` of `workers`.
    pub(super) fn epochs(
        &self,
        task: &Task,
        workers: (usize, std::ops::Range<usize>),
    ) -> Result<Recorded<LocalDisk>, Failure> {
        let state = state_of(&self.journal);
        let vault = state.join(VAULT);
        if task.settings.keys.kek == KeySource::StateFolder && !vault.exists() {
            return Err(Failure::new(format!(
                "{}: there is no vault beside the journal, which has the keys of what is in it; copy the whole state folder, or give its key with --set keys.kek=…",
                self.journal.display()
            )));
        }
        let key = KeyEncryptionKey::load(&task.settings.keys.kek, state)?.key;
        let keys = Arc::new(SegmentKeys::new(&key));
        let reader = JournalReader::new(LocalDisk, &records_of(&self.journal), keys, self.first_position);
        let records = Records::new(reader, Restorer::new(&vault, &key)?);
        Ok(Recorded::new(
            self.epochs.clone(),
            records,
            self.first_position,
            workers,
            task.settings.record.max_record_bytes,
        ))
    }
}

/// The state folder that a journal is in.
fn state_of(journal: &Path) -> &Path {
    journal.parent().unwrap_or(journal)
}
