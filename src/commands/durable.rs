//! What a live run keeps on disk, opened at its start: journals, epoch log and the dataflow's state; and the journals of another run, to be replayed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use super::devices::Choice;
use super::preparation::{PROGRAM, Task};
use super::replay::VAULT;
use super::tell;
use crate::alerts::{self, Destination, Outbox, try_file};
use crate::cluster::Topology;
use crate::commit::{JournalLink, Keeping, Manifest, Wish};
use crate::dataflows::parser;
use crate::devices::{Collection, History, Succession, Watch};
use crate::disk::{Disk, Fence, LocalDisk};
use crate::journal::{
    EpochLog, Journal, JournalReader, Limits, Restorer, Separator, Start, epochs_of, folder_of, records_of, sessions_of,
};
use crate::settings::{Dataflow, KeySource};
use crate::snapshot::{self, Checkpoints, Collected, Snapshots};
use crate::source::{ANCHORS, CommitEnds, Ingest, Log, Owned, Recorded, Records, Release, end_of_commit, time_of};
use crate::vault::{KeyEncryptionKey, Sealer, SegmentKeys};

/// A segment of a journal of which little is kept is ended behind so many bytes.
const SMALL_SEGMENT: u64 = 1_000_000;

/// What a live run goes on with.
pub(super) struct Continuation {
    /// This process's sessions.
    pub(super) sessions: Vec<Owned<LocalDisk>>,
    pub(super) checkpoints: Checkpoints,
    pub(super) snapshots: Snapshots<LocalDisk>,
    pub(super) first_commit: u32,
    /// The position behind the last commit, and behind the last epoch, in each journal.
    pub(super) first: Vec<u64>,
    pub(super) sealed: Vec<u64>,
    /// Of every session.
    pub(super) releases: Vec<Release>,
    /// Process 0's.
    pub(super) log: Option<Log<LocalDisk>>,
    /// The device collection that the first epoch meets, and who looks after its file.
    pub(super) devices: Option<Collection>,
    pub(super) watch: Option<Watch>,
    /// Whether somebody is to be told of incidents; the outbox for it is process 0's.
    pub(super) alerting: bool,
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// What every process has alike before it opens its part.
pub(super) struct Ground<'a> {
    pub(super) task: &'a Task,
    pub(super) topology: &'a Topology,
    pub(super) found: &'a Manifest,
    pub(super) fence: Fence,
    pub(super) key: &'a KeyEncryptionKey,
    pub(super) sealer: &'a Arc<Sealer>,
}

/// Opens what a run before this one has left, behind its last commit; makes it where there is none. Each process opens the journals of its
/// own sessions, process 0 the epoch log besides.
/// Process 0 goes on with its `choice` of a device collection.
pub(super) fn take_up(
    ground: &Ground<'_>,
    choice: Option<(Choice, Option<Collection>)>,
) -> Result<Continuation, Failure> {
    let Ground {
        task,
        topology,
        found,
        fence,
        ..
    } = ground;
    let (settings, journal) = (&task.settings, folder_of(&task.state));
    let is_first = topology.process() == 0;
    let from = time_of(found.commits, 0);
    let (epochs, uncommitted, before) = match is_first {
        true => {
            let (epochs, uncommitted) = EpochLog::open(LocalDisk, &epochs_of(&journal), from)?;
            let before = epochs.start().cloned();
            (Some(epochs), uncommitted, before)
        }
        // Process 0 has it open: the epochs of before it are there, and new ones only take more.
        false => (None, EpochLog::read(&LocalDisk, &epochs_of(&journal), from)?, None),
    };
    let committed = found.ends();
    let last = uncommitted.last().map_or(&committed, |epoch| &epoch.ends);
    // A session that has ever been stays: its journal is a part of the order of all records.
    let sessions = settings.source.sessions.max(committed.len()).max(last.len());
    let sessions = sessions.max(sessions_of(&LocalDisk, &journal));
    if is_first && sessions > settings.source.sessions {
        tell(format_args!(
            "wardflow: this state has {sessions} sessions, source.sessions is {}: the others subscribe to nothing any more and are emptied of what the broker still has for them",
            settings.source.sessions
        ));
    }
    let all = |ends: &[u64]| (0..sessions).map(|s| ends.get(s).copied().unwrap_or(0)).collect();
    let (first, sealed): (Vec<u64>, Vec<u64>) = (all(&committed), all(last));
    let start = Start {
        program: PROGRAM.to_owned(),
        settings: settings.canonical_json(),
        devices: found.belongs_to.devices.as_deref().map(Arc::from),
    };
    if let Some(before) = before.filter(|_| !uncommitted.is_empty()) {
        check_unchanged(&before, &start)?;
    }
    let begun = choice.map(|(choice, file)| choice.begin(task, found, &uncommitted, file));
    let (mut collection, mut watch, mut devices) = (None, None, None);
    if let Some(begun) = begun.transpose()? {
        (collection, watch, devices) = (begun.collection, begun.watch, Some(begun.live));
    }
    if is_first && settings.deduplicate.horizon.is_none() {
        tell(
            "wardflow: warning: deduplicate.horizon is \"off\": what the broker sends again after a lost connection or a crash counts as new records",
        );
    }
    let releases: Vec<Release> = (0..sessions).map(|_| Release::default()).collect();
    for (session, release) in releases.iter().enumerate() {
        let of_session = |ends: Vec<u64>| ends.get(session).copied().unwrap_or(0);
        let anchors = found.anchors.iter().map(|anchor| of_session(anchor.ends()));
        release.begin(first[session], anchors.collect());
    }
    let mut owned = Vec::new();
    let mine = (topology.process()..sessions).step_by(topology.processes());
    for session in mine {
        let positions = (first[session], sealed[session]);
        owned.push(open_session(ground, session, positions, releases[session].clone())?);
    }
    let snapshots = Snapshots::new(LocalDisk, snapshot::folder_of(&task.state));
    let snapshots = snapshots.of_process(topology.process(), fence.incarnation());
    LocalDisk
        .create_folder(&snapshot::folder_of(&task.state))
        .map_err(|e| Failure::new(format!("{}: {e}", task.state.display())))?;
    let restored = snapshots.load(&found.runs, topology.workers())?;
    if is_first {
        snapshots.remove_all_but(&found.kept_runs())?;
    }
    let destinations = destinations(task);
    Ok(Continuation {
        sessions: owned,
        checkpoints: Checkpoints {
            first_commit: found.commits,
            collected: Arc::new(Collected::default()),
            restored: Arc::new(restored),
        },
        snapshots,
        first_commit: found.commits,
        devices: collection,
        watch,
        log: epochs.zip(devices).map(|(epochs, devices)| Log {
            devices,
            epochs,
            uncommitted,
            start,
            fence: fence.clone(),
            ends: CommitEnds::behind(found.commits, first.clone()),
        }),
        first,
        sealed,
        releases,
        alerting: !destinations.is_empty(),
        outbox: match is_first {
            true => outbox(task, &destinations)?,
            false => None,
        },
    })
}

/// Who is to be told of incidents.
fn destinations(task: &Task) -> Vec<Destination> {
    match task.settings.dataflow {
        Dataflow::RealtimeAnalytics => Destination::of(&task.settings.alerts),
        _ => Vec::new(),
    }
}

/// Alerts that wait, and a look at whether their file can be written.
fn outbox(task: &Task, destinations: &[Destination]) -> Result<Option<Arc<Outbox>>, Failure> {
    let alerts = &task.settings.alerts;
    if !alerts.file.is_empty() {
        try_file(Path::new(&alerts.file)).map_err(|why| Failure::new(format!("alerts.file: {why}")))?;
    }
    if destinations.is_empty() {
        return Ok(None);
    }
    let folder = alerts::folder_of(&task.state);
    Ok(Some(Outbox::open(LocalDisk, folder, destinations)?))
}

/// Which process has a session: its number modulo the number of processes.
pub(super) fn owner(session: usize, topology: &Topology) -> usize {
    session % topology.processes()
}

/// The journal of a session, from (the last commit, the last epoch) on.
fn open_session(
    ground: &Ground<'_>,
    session: usize,
    (needed, sealed): (u64, u64),
    release: Release,
) -> Result<Owned<LocalDisk>, Failure> {
    let Ground {
        task,
        fence,
        key,
        sealer,
        ..
    } = ground;
    let settings = &task.settings;
    let (records, vault) = (records_of(&folder_of(&task.state), session), task.state.join(VAULT));
    let keys = Arc::new(SegmentKeys::new(key));
    let share = settings.source.sessions.max(1) as u64;
    let retained = settings.journal.retain / share;
    let limits = Limits {
        // Whole segments are forgotten: one is a small part of what may be kept.
        segment_bytes: settings
            .journal
            .segment_bytes
            .min((retained / ANCHORS).max(SMALL_SEGMENT)),
    };
    let lock = lock(&task.state, session)?;
    let (opened, cut) = Journal::open(LocalDisk, &records, Arc::clone(&keys), limits, needed, sealed)?;
    if let Some((segment, bytes)) = cut {
        tell(format_args!(
            "wardflow: {segment}: its last {bytes} bytes were cut off: they were being written when the run before this one ended"
        ));
    }
    let reader = JournalReader::new(LocalDisk, &records, keys, needed);
    Ok(Owned {
        ingest: Ingest {
            session,
            fence: fence.clone(),
            lock,
            journal: opened,
            separator: Separator::new(parser(&settings.record), Arc::clone(sealer), &vault)?,
            release,
            budget: settings.journal.budget / share,
            retained,
            retained_for: settings.journal.retain_for.into(),
            gather: settings.source.gather.into(),
        },
        records: Records::new(reader, Restorer::new(&vault, key)?),
    })
}

/// Keeps a session's journal to this process, also from a process of another run that has lost the folder's lock.
fn lock(state: &Path, session: usize) -> Result<File, Failure> {
    let path = state.join(format!("session-{session}.lock"));
    let failed = |e: std::io::Error| {
        Failure::new(format!(
            "{}: cannot be used ({e}); check the folder's owner and mode",
            path.display()
        ))
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(format!(
            "{}: a process of another run still has this session's journal; end that process (it may be stopped or hang), then start again",
            path.display()
        ))),
        Err(e) => Err(failed(e.into())),
    }
}

/// What the one who commits keeps for this run.
pub(super) fn keeping(
    state: &Path,
    snapshots: Snapshots<LocalDisk>,
    releases: Vec<Release>,
    ends: CommitEnds,
    outbox: Option<Arc<Outbox>>,
    devices: History,
    tell_others: impl Fn(&Manifest) + Send + 'static,
) -> Keeping {
    Keeping {
        snapshots,
        outbox,
        journal: Box::new(JournalKeeper {
            releases,
            ends,
            devices,
            epochs: epochs_of(&folder_of(state)),
            kept_from: 0,
            tell_others,
        }),
    }
}

/// Lets go of what the journals need not keep once there is a commit.
struct JournalKeeper<T> {
    /// Of every session.
    releases: Vec<Release>,
    ends: CommitEnds,
    devices: History,
    epochs: PathBuf,
    /// The positions that the journals begin with, or ones before them, in sum.
    kept_from: u64,
    tell_others: T,
}

impl<T: Fn(&Manifest) + Send> JournalLink for JournalKeeper<T> {
    fn committing(&mut self, number: u32) -> Wish {
        let ends = self.ends.of(number);
        // Every journal's wish is taken, the first not before the others.
        let anchor = self
            .releases
            .iter()
            .fold(false, |any, release| release.take_wish() | any);
        if anchor {
            let pairs = self.releases.iter().zip(&ends);
            pairs.for_each(|(release, end)| release.anchored(*end));
        }
        let kept_from: Vec<u64> = self.releases.iter().map(Release::kept_from).collect();
        self.kept_from = kept_from.iter().sum();
        Wish {
            ends,
            anchor,
            kept_from,
            devices: self.devices.through(end_of_commit(number)),
        }
    }

    fn committed(&mut self, manifest: &Manifest) {
        for (release, end) in self.releases.iter().zip(manifest.ends()) {
            release.committed(end);
        }
        (self.tell_others)(manifest);
        if let Some(first) = manifest.anchors.first().filter(|_| self.kept_from > 0) {
            // What is left of the log where this fails is left for the next commit, what is left of the devices for the next start.
            let _ = EpochLog::remove_before(&LocalDisk, &self.epochs, time_of(first.commits, 0));
            let _ = self.devices.forget_before(time_of(first.commits, 0));
        }
    }
}

/// That what was received and not committed can be finished as it began. The device collection may have changed: each epoch has its own.
fn check_unchanged(before: &Start, now: &Start) -> Result<(), Failure> {
    let what = match before.program == now.program {
        false => format!("the program is {}, was {}", now.program, before.program),
        true => match crate::settings::first_difference(&before.settings, &now.settings) {
            Some(difference) => difference,
            None => return Ok(()),
        },
    };
    Err(Failure::new(format!(
        "the run before this one was killed, and what it had received is to be finished as it began, but {what}: start once as before, end that run with Ctrl-C, then change"
    )))
}

/// A journal that is given as input: it, or the state folder it is in.
pub(super) fn journal_at(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    [path.to_owned(), folder_of(path)]
        .into_iter()
        .find(|folder| epochs_of(folder).is_dir() && records_of(folder, 0).is_dir())
}

/// The journals of a live run, to be replayed.
pub(super) struct Recording {
    pub(super) journal: PathBuf,
    pub(super) epochs: Vec<crate::journal::Epoch>,
    /// Positions and state that it begins with.
    first: Vec<u64>,
    pub(super) first_commit: u32,
    runs: Vec<snapshot::Run>,
}

impl Recording {
    /// # Errors
    /// A journal that cannot be read, or that does not reach back to a state that is kept.
    pub(super) fn open(journal: &Path) -> Result<Recording, Failure> {
        let sessions = sessions_of(&LocalDisk, journal);
        let begins: Vec<Option<u64>> = (0..sessions)
            .map(|session| JournalReader::begins(&LocalDisk, &records_of(journal, session)))
            .collect::<Result<_, _>>()?;
        let (mut first, mut first_commit, mut runs) = (vec![0; sessions], 0, Vec::new());
        let manifest = match begins.iter().all(|begins| *begins == Some(0)) {
            true => None,
            false => Manifest::read(state_of(journal)).map_err(|e| Failure::new(e.to_string()))?,
        };
        let of_session = |ends: &[u64], session: usize| ends.get(session).copied().unwrap_or(0);
        // Where nothing is left, all that had come was committed and forgotten.
        let committed = manifest.as_ref().map(Manifest::ends).unwrap_or_default();
        let begins = begins.iter().enumerate();
        let begins: Vec<u64> = begins
            .map(|(session, begins)| begins.unwrap_or(of_session(&committed, session)))
            .collect();
        if begins.iter().any(|begins| *begins > 0) {
            let anchors = manifest.iter().flat_map(|manifest| &manifest.anchors);
            let reaches_back = |ends: &[u64]| {
                begins
                    .iter()
                    .enumerate()
                    .all(|(s, begins)| of_session(ends, s) >= *begins)
            };
            let Some(anchor) = anchors.into_iter().find(|anchor| reaches_back(&anchor.ends())) else {
                return Err(Failure::new(format!(
                    "{}: its first records have been removed, and no state is kept that a replay could begin with; raise journal.retain for the live run",
                    journal.display()
                )));
            };
            let ends = anchor.ends();
            first = (0..sessions).map(|session| of_session(&ends, session)).collect();
            (first_commit, runs) = (anchor.commits, anchor.runs.clone());
        }
        let epochs = EpochLog::read(&LocalDisk, &epochs_of(journal), time_of(first_commit, 0))?;
        Ok(Recording {
            journal: journal.to_owned(),
            epochs,
            first,
            first_commit,
            runs,
        })
    }

    /// Tells it from any other.
    pub(super) fn fingerprint(&self) -> String {
        let end: u64 = self.epochs.last().map_or(0, |epoch| epoch.ends.iter().sum());
        let first: u64 = self.first.iter().sum();
        format!("journal {} from {first} to {end}", self.journal.display())
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

    /// The state folder that it is in.
    pub(super) fn state(&self) -> &Path {
        state_of(&self.journal)
    }

    /// Its epochs, for workers `mine` of `workers`; `devices` where the collection is to change as it did.
    pub(super) fn epochs(
        &self,
        task: &Task,
        workers: (usize, std::ops::Range<usize>),
        devices: Option<Succession>,
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
        let of_session = |(session, first): (usize, &u64)| {
            let folder = records_of(&self.journal, session);
            let reader = JournalReader::new(LocalDisk, &folder, Arc::clone(&keys), *first);
            Ok(Records::new(reader, Restorer::new(&vault, &key)?))
        };
        let records = self.first.iter().enumerate().map(of_session);
        Ok(Recorded::new(
            self.epochs.clone(),
            records.collect::<Result<_, Failure>>()?,
            self.first.clone(),
            workers,
            task.settings.record.max_record_bytes,
            devices,
        ))
    }
}

/// The state folder that a journal is in.
fn state_of(journal: &Path) -> &Path {
    journal.parent().unwrap_or(journal)
}
