//! Journals, epoch log, state and commits, crashing at every step.
//!
//! A small model of a live run over a disk in memory: a broker that shares its messages out among sessions and sends again what was not acknowledged, a dataflow that keeps
//! a running hash for each key and tells the version of the device collection that is in force, commits of its rows. The disk fails at one step; the next start finds what such a crash leaves, goes
//! on, and perhaps crashes again. In the end the visible rows must be those of the journals taken in one go as the epoch log says, and everything acknowledged
//! must be among them, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;
use zeroize::Zeroizing;

use super::{Entry, Epoch, EpochLog, Journal, JournalReader, Limits, Start, records_of};
use crate::commit::{
    Belongings, Commits, Job, JournalLink, Keeping, Manifest, OutputFolder, Staged, Tally, Wish, staging,
};
use crate::devices::{self, Content, History, InForce, Versions, Wanted};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, DiskFile};
use crate::record::Zone;
use crate::sink::StagedFile;
use crate::snapshot::{Entry as Change, Snapshots};
use crate::source::{CommitEnds, commit_of, end_of_commit, time_of};
use crate::vault::{KeyEncryptionKey, SegmentKeys};

const OUTPUT: &str = "/out";
const STATE: &str = "/state";
const JOURNAL: &str = "/state/journal";
/// Each with a journal.
const SESSIONS: usize = 2;
const EPOCHS: &str = "/state/journal/epochs";
const SNAPSHOTS: &str = "/state/snapshots";
/// Messages of a whole run.
const MESSAGES: u64 = 24;
/// Of the model's only operator.
const OPERATOR: u8 = 1;

/// A reproducible stream of numbers (splitmix64).
#[derive(Clone)]
struct Draws(u64);

impl Draws {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % most as u64) as usize
    }
}

/// Sends each message until it is acknowledged.
#[derive(Default)]
struct Broker {
    acknowledged: BTreeSet<u64>,
}

impl Broker {
    /// The first of those that are still to be sent, at most so many.
    fn next(&self, most: usize) -> Vec<u64> {
        (0..MESSAGES)
            .filter(|message| !self.acknowledged.contains(message))
            .take(most)
            .collect()
    }
}

/// The dataflow: drops copies, and gives each record its key's running hash.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    hashes: BTreeMap<u8, u64>,
    seen: BTreeSet<u64>,
}

impl Model {
    /// A row, or `None` for a copy; and what has changed.
    fn take(&mut self, position: u64, message: u64) -> (Option<String>, Vec<Change>) {
        if !self.seen.insert(message) {
            return (None, Vec::new());
        }
        let key = (message % 3) as u8;
        let hash = self.hashes.entry(key).or_default();
        *hash = xxh3_64(&[hash.to_le_bytes(), message.to_le_bytes()].concat());
        let changes = vec![
            Change::put(OPERATOR, vec![key], hash.to_le_bytes().to_vec()),
            Change::put(OPERATOR, message.to_be_bytes().to_vec(), Vec::new()),
        ];
        (Some(format!("{position} {message} {hash:016x}")), changes)
    }

    fn restore(entries: &[crate::snapshot::KeyValue]) -> Model {
        let mut model = Model::default();
        for (key, value) in entries {
            match (key.as_ref(), value.first_chunk()) {
                ([key], Some(hash)) => drop(model.hashes.insert(*key, u64::from_le_bytes(*hash))),
                (message, _) => {
                    let message = message.first_chunk().expect("a number");
                    model.seen.insert(u64::from_be_bytes(*message));
                }
            }
        }
        model
    }
}

/// Keeps all records and epochs.
struct NoRetention(CommitEnds, History<MemoryDisk>);

impl JournalLink for NoRetention {
    fn committing(&mut self, number: u32) -> Wish {
        Wish {
            ends: self.0.of(number),
            devices: self.1.through(end_of_commit(number)),
            ..Wish::default()
        }
    }
    fn committed(&mut self, _: &Manifest) {}
}

/// The device collection's file, as it is from time to time.
fn collection(number: usize) -> Content {
    let text = format!("device_id,manufacturer,model\nmonitor,Acme {number},m\n");
    Content::of_text(&text)
}

fn versions(disk: &MemoryDisk) -> Versions<MemoryDisk> {
    let wanted = Wanted {
        further: Vec::new(),
        zone: Zone::new(jiff::tz::TimeZone::UTC, 1000),
    };
    Versions::new(disk.clone(), devices::folder_of(Path::new(STATE)), wanted)
}

/// What an epoch's version says, of those that are kept.
fn manufacturer(disk: &MemoryDisk, epoch: &Epoch) -> Outcome<String> {
    let version = epoch.devices.as_deref().ok_or("an epoch without a collection")?;
    let collection = versions(disk).load(Some(version))?;
    let (_, known) = collection.into_devices().next().ok_or("an empty collection")?;
    let device = known.at(0).ok_or("nothing is known")?;
    Ok(device.manufacturer.as_deref().unwrap_or_default().replace(' ', "_"))
}

/// One run of the program over a disk: to the end, or to the crash.
struct Run<'a> {
    disk: MemoryDisk,
    broker: &'a mut Broker,
    draws: Draws,
    model: Model,
    /// What has been taken of each journal, and the readers of the rest.
    ends: Vec<u64>,
    takers: Vec<Taker>,
    of_commits: CommitEnds,
    history: History<MemoryDisk>,
    /// The version that the next epoch meets.
    devices: Arc<str>,
    commit: u32,
    epoch: u32,
    rows: String,
    staged: Staged,
    changes: Vec<Change>,
}

/// Takes records of a journal one by one.
struct Taker {
    reader: JournalReader<MemoryDisk>,
    ahead: VecDeque<Entry>,
}

impl Taker {
    fn new(disk: &MemoryDisk, session: usize, position: u64) -> Taker {
        Taker {
            reader: JournalReader::new(disk.clone(), &records(session), keys(), position),
            ahead: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Outcome<Entry> {
        if self.ahead.is_empty() {
            let entries = self.reader.read()?;
            self.ahead = entries.ok_or("an epoch's records are not in the journal")?.into();
        }
        Ok(self.ahead.pop_front().ok_or("a frame without records")?)
    }
}

fn records(session: usize) -> PathBuf {
    records_of(Path::new(JOURNAL), session)
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn keys() -> Arc<SegmentKeys> {
    Arc::new(SegmentKeys::new(&KeyEncryptionKey::for_tests(Zeroizing::new([7; 32]))))
}

fn entry(message: u64) -> Entry {
    Entry {
        received: message as i64,
        topic: "ward".into(),
        payload: message.to_le_bytes().to_vec(),
        length: 8,
        identity: None,
    }
}

fn message_of(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.payload.as_slice().try_into().expect("eight bytes"))
}

fn belongings() -> Belongings {
    Belongings {
        program: "wardflow".into(),
        dataflow: "model".into(),
        settings: "{}".into(),
        input: Some("mqtt".into()),
        devices: None,
    }
}

impl Run<'_> {
    fn go(disk: &MemoryDisk, broker: &mut Broker, draws: Draws) -> Outcome<()> {
        let folder = OutputFolder::alone(disk.clone(), Path::new(OUTPUT), Path::new(STATE))?;
        let found = folder.take_up(belongings())?;
        disk.create_folder(Path::new(SNAPSHOTS))?;
        let snapshots = Snapshots::new(disk.clone(), PathBuf::from(SNAPSHOTS));
        let restored = snapshots.load(&found.runs, 1)?;
        snapshots.remove_all_but(&found.kept_runs())?;
        let (mut log, uncommitted) = EpochLog::open(disk.clone(), Path::new(EPOCHS), time_of(found.commits, 0))?;
        let needed = match found.commits {
            0 => vec![0; SESSIONS],
            _ => found.ends(),
        };
        let sealed = uncommitted.last().map_or(needed.clone(), |epoch| epoch.ends.clone());
        let limits = Limits { segment_bytes: 400 };
        let mut journals = Vec::new();
        for session in 0..SESSIONS {
            let (needed, sealed) = (needed[session], sealed[session]);
            let opened = Journal::open(disk.clone(), &records(session), keys(), limits, needed, sealed)?;
            journals.push(opened.0);
        }
        let of_commits = CommitEnds::behind(found.commits, needed.clone());
        // The file is another at some starts. Its version is kept, and those that nobody has met any more are let go.
        let mut draws = draws;
        let file = collection(draws.below(3));
        let versions = versions(disk);
        versions.keep(&file)?;
        let mut past = found.devices.clone();
        if past.is_empty() {
            past.push(InForce {
                from: time_of(found.commits, 0),
                version: Some(
                    uncommitted
                        .first()
                        .and_then(|epoch| epoch.devices.clone())
                        .unwrap_or_else(|| file.fingerprint().clone()),
                ),
            });
        }
        let of_past = past.iter().filter_map(|past| past.version.clone());
        let to_come = uncommitted.iter().filter_map(|epoch| epoch.devices.clone());
        versions.remove_all_but(&of_past.chain(to_come).chain([file.fingerprint().clone()]).collect())?;
        let history = History::new(versions, past, Some(file.fingerprint().clone()));
        let mut run = Run {
            disk: disk.clone(),
            broker,
            draws,
            model: Model::restore(&restored.take(OPERATOR)),
            takers: (0..SESSIONS)
                .map(|session| Taker::new(disk, session, needed[session]))
                .collect(),
            ends: needed,
            of_commits: of_commits.clone(),
            history: history.clone(),
            devices: file.fingerprint().clone(),
            commit: found.commits,
            epoch: 0,
            rows: String::new(),
            staged: Staged::default(),
            changes: Vec::new(),
        };
        let keeping = Keeping {
            outbox: None,
            snapshots,
            journal: Box::new(NoRetention(of_commits, history)),
        };
        let mut commits = Commits::continuing(folder, found, keeping);
        for epoch in uncommitted {
            if commit_of(epoch.time) > run.commit {
                run.make(&mut commits)?;
            }
            run.commit = commit_of(epoch.time);
            run.epoch = epoch.time as u32 + 1;
            run.take(&epoch)?;
        }
        let start = Start {
            program: "wardflow".into(),
            settings: "{}".into(),
            devices: Some(run.devices.clone()),
        };
        log.begin(&start, time_of(run.commit, run.epoch))?;
        while run.waiting(&journals) > 0 || !run.broker.next(1).is_empty() {
            run.act(&mut journals, &mut log, &mut commits)?;
        }
        run.make(&mut commits)
    }

    /// Records that are in no epoch.
    fn waiting(&self, journals: &[Journal<MemoryDisk>]) -> u64 {
        let durable: u64 = journals.iter().map(Journal::next).sum();
        durable - self.ends.iter().sum::<u64>()
    }

    /// Any one thing that a live run does.
    fn act(
        &mut self,
        journals: &mut [Journal<MemoryDisk>],
        log: &mut EpochLog<MemoryDisk>,
        commits: &mut Commits<MemoryDisk>,
    ) -> Outcome<()> {
        match self.draws.below(9) {
            0..=3 => {
                let most = self.draws.below(4) + 1;
                let messages = self.broker.next(most);
                let entries: Vec<Entry> = messages.iter().map(|message| entry(*message)).collect();
                journals[self.draws.below(SESSIONS)].append(&entries)?;
                // Some acknowledgements get lost on their way.
                if self.draws.below(4) > 0 {
                    self.broker.acknowledged.extend(messages);
                }
            }
            4..=6 if self.waiting(journals) > 0 => {
                let mut ends = Vec::new();
                for (session, journal) in journals.iter().enumerate() {
                    let most = journal.next() - self.ends[session];
                    ends.push(self.ends[session] + self.draws.below(most as usize + 1) as u64);
                }
                let epoch = Epoch {
                    time: time_of(self.commit, self.epoch),
                    ends,
                    silence: None,
                    devices: Some(self.devices.clone()),
                };
                log.append(&epoch)?;
                self.epoch += 1;
                self.take(&epoch)?;
            }
            7 => self.make(commits)?,
            8 => {
                let file = collection(self.draws.below(5));
                self.history.keep(&file)?;
                self.devices = file.fingerprint().clone();
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an epoch's records through the dataflow.
    fn take(&mut self, epoch: &Epoch) -> Outcome<()> {
        self.of_commits.reached(self.commit, &epoch.ends);
        self.history.reached(epoch.time, epoch.devices.as_ref());
        let manufacturer = manufacturer(&self.disk, epoch)?;
        let mut position = self.ends.iter().sum();
        for (session, end) in epoch.ends.iter().enumerate() {
            while self.ends[session] < *end {
                let message = message_of(&self.takers[session].next()?);
                let (row, changes) = self.model.take(position, message);
                match row {
                    Some(row) => {
                        self.rows.push_str(&format!("{row} {manufacturer}\n"));
                        self.staged.tally.readings += 1;
                    }
                    None => self.staged.tally.duplicates += 1,
                }
                self.changes.extend(changes);
                self.ends[session] += 1;
                position += 1;
            }
        }
        Ok(())
    }

    /// Makes a commit of what has been taken; an empty one is none.
    fn make(&mut self, commits: &mut Commits<MemoryDisk>) -> Outcome<()> {
        if self.staged.tally == Tally::default() {
            return Ok(());
        }
        let mut staged = std::mem::take(&mut self.staged);
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            let path = format!("readings/date=2024-01-01/part-{:08}-00.parquet", self.commit);
            let file = staging(Path::new(OUTPUT), commits.incarnation(), self.commit).join(StagedFile::staged(&path));
            self.disk.create_shared_folder(file.parent().ok_or("a folder")?)?;
            let mut writing = self.disk.create(&file)?;
            writing.append(rows.as_bytes())?;
            writing.sync()?;
            // As the tables' writers do: the file is in its folder for good before it is reported.
            self.disk.sync_folder(file.parent().ok_or("a folder")?)?;
            staged.files.push(StagedFile {
                path,
                rows: rows.lines().count() as u64,
                bytes: rows.len() as u64,
            });
        }
        commits.make(Job {
            number: self.commit,
            staged,
            changes: std::mem::take(&mut self.changes),
        })?;
        (self.commit, self.epoch) = (self.commit + 1, 0);
        Ok(())
    }
}

/// All rows that a reader sees. A row that two files show is there twice, and then no set is equal to it.
fn visible(disk: &MemoryDisk) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for path in disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("/out/readings"))
    {
        let bytes = disk.read(&path).expect("it is there");
        for row in String::from_utf8_lossy(&bytes).lines() {
            if !rows.insert(row.to_owned()) {
                rows.insert(format!("{row} twice"));
            }
        }
    }
    rows
}

/// A run that crashes at the given steps of its successive starts, and then ends well; what went wrong otherwise.
fn survive(mut disk: MemoryDisk, seed: u64, crashes: &[u64]) -> Result<(), String> {
    let mut broker = Broker::default();
    let mut chance = Draws(seed ^ 0xdead);
    let told = |what: &str| format!("seed {seed}, crashes {crashes:?}: {what}");
    for (start, crash) in crashes.iter().enumerate() {
        disk.crash_at(*crash);
        if let Err(error) = Run::go(&disk, &mut broker, Draws(seed + start as u64))
            && !disk.has_crashed()
        {
            return Err(told(&error.to_string()));
        }
        disk = disk.after_crash(|most| chance.below(most));
        let (rows, _) = recorded(&disk).map_err(|error| told(&error.to_string()))?;
        if !visible(&disk).is_subset(&rows.into_iter().collect()) {
            return Err(told("rows are visible that are not of the journal"));
        }
    }
    Run::go(&disk, &mut broker, Draws(seed + 99)).map_err(|error| told(&error.to_string()))?;
    let (rows, whole) = recorded(&disk).map_err(|error| told(&error.to_string()))?;
    if !whole || visible(&disk) != rows.iter().cloned().collect() {
        return Err(told("the visible rows are not those of the journal taken in one go"));
    }
    let messages: BTreeSet<&str> = rows.iter().filter_map(|row| row.split(' ').nth(1)).collect();
    match (messages.len() as u64, rows.len() as u64) {
        (MESSAGES, MESSAGES) => Ok(()),
        (MESSAGES, _) => Err(told("a message is there twice")),
        _ => Err(told("a message is missing")),
    }
}

/// The rows of the journals' records in one go through a fresh dataflow, in the epoch log's order; and whether every record is in an epoch.
fn recorded(disk: &MemoryDisk) -> Outcome<(Vec<String>, bool)> {
    let mut takers: Vec<Taker> = (0..SESSIONS).map(|session| Taker::new(disk, session, 0)).collect();
    let (mut model, mut position, mut rows) = (Model::default(), 0, Vec::new());
    let mut before = [0; SESSIONS];
    for epoch in EpochLog::read(disk, Path::new(EPOCHS), 0)? {
        let manufacturer = manufacturer(disk, &epoch)?;
        for (session, end) in epoch.ends.into_iter().enumerate() {
            for _ in before[session]..end {
                let entry = takers[session].next()?;
                let row = model.take(position, message_of(&entry)).0;
                rows.extend(row.map(|row| format!("{row} {manufacturer}")));
                position += 1;
            }
            before[session] = end;
        }
    }
    let whole = takers
        .iter_mut()
        .all(|taker| taker.ahead.is_empty() && matches!(taker.reader.read(), Ok(None)));
    Ok((rows, whole))
}

/// Steps of a run that does not crash.
fn steps(seed: u64) -> u64 {
    let disk = MemoryDisk::default();
    Run::go(&disk, &mut Broker::default(), Draws(seed)).expect("nothing goes wrong");
    disk.steps()
}

#[test]
fn a_crash_at_any_step_of_a_run_loses_nothing_and_doubles_nothing() {
    for seed in 0..4 {
        for crash in 0..steps(seed) {
            survive(MemoryDisk::default(), seed, &[crash]).expect("it survives");
        }
    }
}

#[test]
fn any_number_of_crashes_at_any_steps_loses_nothing_and_doubles_nothing() {
    let mut draws = Draws(2026);
    for seed in 100..1_100 {
        let most = steps(seed) as usize;
        let crashes: Vec<u64> = (0..draws.below(5) + 1).map(|_| draws.below(most) as u64).collect();
        survive(MemoryDisk::default(), seed, &crashes).expect("it survives");
    }
}

#[test]
#[ignore = "the long form: cargo test --release --lib simulation -- --ignored"]
fn a_great_many_runs_with_many_crashes_lose_nothing_and_double_nothing() {
    let mut draws = Draws(7);
    for seed in 10_000..110_000 {
        let most = steps(seed) as usize;
        let crashes: Vec<u64> = (0..draws.below(9) + 1).map(|_| draws.below(most) as u64).collect();
        survive(MemoryDisk::default(), seed, &crashes).expect("it survives");
    }
}

#[test]
fn a_disk_that_has_not_synced_what_it_says_is_found_out() {
    let caught = (0..40).filter(|seed| {
        let crash = steps(*seed) - 5;
        survive(MemoryDisk::lying(), *seed, &[crash]).is_err()
    });
    assert!(caught.count() > 10, "a simulation that cannot fail proves nothing");
}
