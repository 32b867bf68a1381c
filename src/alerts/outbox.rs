//! The outbox: alerts on disk until every destination has confirmed them.
//!
//! A log of alerts in the order of the epochs they come from, and for each destination a file of receipts that says up to where it has
//! confirmed them. Nothing is synced when an alert is put in: its epoch is durable already and would bring it again. A commit, behind
//! which an epoch does not come again, syncs the log first. Receipts are synced then, too; a receipt that is lost with the power costs
//! a repetition, never an alert. Whoever delivers reads from the log, so that a destination that is away for days takes disk and
//! no memory.
//!
//! ```text
//! <time>-<position and one>.alerts   "wardflow alerts\n" | form u32, then records: length u32 | checksum u64 | postcard of (time, position, level, json)
//! <destination>-<n>.receipts records: time u64 | position and one u64 | checksum u64; the last whole one counts
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Alert;
use crate::disk::{Disk, DiskFile, LocalDisk, crash_point};

mod letters;
mod log;
mod receipts;

pub use letters::{Letter, Letters};
use log::{Grown, Log};
use receipts::Receipts;

/// Where alerts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Broker,
    File,
}

impl Destination {
    const ALL: [Destination; 2] = [Destination::Broker, Destination::File];

    /// As in the names of its files, which stay.
    fn name(self) -> &'static str {
        match self {
            Destination::Broker => "broker",
            Destination::File => "file",
        }
    }
}

/// The place behind an alert. Alerts come in the order of their places, also after a crash; the first of all places is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of the alert's epoch.
    time: u64,
    /// Its reading's position and one.
    next: u64,
}

impl Place {
    pub(super) fn behind(time: u64, position: u64) -> Place {
        Place {
            time,
            next: position.saturating_add(1),
        }
    }
}

/// Why the outbox cannot be used.
#[derive(Debug)]
pub enum OutboxError {
    Io { path: PathBuf, source: io::Error },
    Damaged { path: PathBuf },
}

impl OutboxError {
    fn io(path: &Path) -> impl Fn(io::Error) -> OutboxError + use<> {
        let path = path.to_owned();
        move |source| OutboxError::Io {
            path: path.clone(),
            source,
        }
    }
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboxError::Io { path, source } => write!(
                f,
                "{}: {source}; check that the disk has room and that the folder is yours",
                path.display()
            ),
            OutboxError::Damaged { path } => write!(
                f,
                "{}: alerts that wait in it are not as they were written; restore the file from a copy, or remove it: then those alerts are not sent",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OutboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OutboxError::Io { source, .. } => Some(source),
            OutboxError::Damaged { .. } => None,
        }
    }
}

/// Where a state folder keeps it.
pub fn folder_of(state: &Path) -> PathBuf {
    state.join("alerts")
}

/// Alerts that wait. Shared by those who raise, deliver and commit.
pub struct Outbox<D: Disk = LocalDisk> {
    disk: D,
    folder: PathBuf,
    state: Mutex<State<D>>,
    /// For each destination: alerts have come.
    come: Vec<(Destination, Notify)>,
}

struct State<D: Disk> {
    log: Log<D>,
    receipts: Vec<Receipts<D>>,
}

impl<D: Disk> Outbox<D> {
    /// Opens what an earlier run has left, for these destinations. One that is new gets what comes from now on, one that is no more
    /// is forgotten.
    ///
    /// # Errors
    /// A folder that cannot be used, or damage.
    pub fn open(disk: D, folder: PathBuf, destinations: &[Destination]) -> Result<Arc<Outbox<D>>, OutboxError> {
        disk.create_folder(&folder).map_err(OutboxError::io(&folder))?;
        let mut log = Log::open(&disk, &folder)?;
        let mut receipts = Vec::new();
        for destination in Destination::ALL {
            match destinations.contains(&destination) {
                true => receipts.push(Receipts::open(&disk, &folder, destination, log.last())?),
                false => Receipts::forget(&disk, &folder, destination)?,
            }
        }
        // Behind the alerts of segments that are gone: all had confirmed those.
        log.begin_behind(receipts.iter().map(Receipts::upto).min().unwrap_or_default());
        let mut waiting = vec![0; receipts.len()];
        log.each(&disk, |place| {
            for (receipts, waiting) in receipts.iter().zip(&mut waiting) {
                *waiting += u64::from(place > receipts.upto());
            }
        })?;
        receipts
            .iter_mut()
            .zip(waiting)
            .for_each(|(receipts, waiting)| receipts.waiting = waiting);
        let come = destinations.iter().map(|to| (*to, Notify::new())).collect();
        Ok(Arc::new(Outbox {
            disk,
            folder,
            state: Mutex::new(State { log, receipts }),
            come,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<D>> {
        // Whoever panicked has ended the program.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the alerts of an epoch, in the order of their positions. Those that are in it already are passed over.
    ///
    /// # Errors
    /// A disk that refuses: then it must not be used any more.
    pub fn put(&self, time: u64, alerts: &[Alert]) -> Result<(), OutboxError> {
        let mut state = self.state();
        let State { log, receipts } = &mut *state;
        for place in log.put(&self.disk, &self.folder, time, alerts)? {
            for receipts in receipts.iter_mut().filter(|receipts| place > receipts.upto()) {
                receipts.waiting += 1;
            }
        }
        drop(state);
        crash_point("alerts.put");
        self.wake();
        Ok(())
    }

    /// Wakes all who deliver.
    pub fn wake(&self) {
        self.come.iter().for_each(|(_, come)| come.notify_one());
    }

    /// Until alerts have come since it was asked last.
    pub async fn come(&self, to: Destination) {
        match self.come.iter().find(|(destination, _)| *destination == to) {
            Some((_, come)) => come.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Alerts up to this place have been delivered, `count` of them since this was said last.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn confirm(&self, to: Destination, upto: Place, count: u64) -> Result<(), OutboxError> {
        let mut state = self.state();
        let found = state.receipts.iter_mut().find(|receipts| receipts.destination == to);
        found.map_or(Ok(()), |receipts| {
            receipts.confirm(&self.disk, &self.folder, upto, count)
        })
    }

    /// Makes durable what is in it; before a commit is made. Meanwhile alerts come and are delivered as ever.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn sync(&self) -> Result<(), OutboxError> {
        let state = self.state();
        let mut grown: Vec<Grown<D::File>> = state.log.grown()?.into_iter().collect();
        for receipts in &state.receipts {
            grown.extend(receipts.grown()?);
        }
        drop(state);
        for grown in &mut grown {
            grown.file.sync().map_err(OutboxError::io(&grown.path))?;
        }
        if grown.iter().any(|grown| grown.is_new) {
            self.disk
                .sync_folder(&self.folder)
                .map_err(OutboxError::io(&self.folder))?;
        }
        let mut state = self.state();
        for Grown { path, bytes, .. } in grown {
            state.log.has_synced(&path, bytes);
            state
                .receipts
                .iter_mut()
                .for_each(|receipts| receipts.has_synced(&path, bytes));
        }
        drop(state);
        crash_point("alerts.synced");
        Ok(())
    }

    /// Removes what every destination has confirmed; after a commit.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn let_go(&self) -> Result<(), OutboxError> {
        let mut state = self.state();
        match state.receipts.iter().map(Receipts::upto).min() {
            Some(upto) => state.log.let_go(&self.disk, upto),
            None => Ok(()),
        }
    }

    /// Alerts that some destination has not confirmed: the most of any.
    pub fn waiting(&self) -> u64 {
        let state = self.state();
        state
            .receipts
            .iter()
            .map(|receipts| receipts.waiting)
            .max()
            .unwrap_or_default()
    }

    /// The same, of one destination.
    pub fn waiting_for(&self, to: Destination) -> u64 {
        let state = self.state();
        let found = state.receipts.iter().find(|receipts| receipts.destination == to);
        found.map_or(0, |receipts| receipts.waiting)
    }

    /// What a destination has not confirmed, from the first on.
    pub fn letters(self: &Arc<Self>, to: Destination) -> Letters<D> {
        let state = self.state();
        let found = state.receipts.iter().find(|receipts| receipts.destination == to);
        let behind = found.map(Receipts::upto).unwrap_or_default();
        drop(state);
        Letters::new(Arc::clone(self), behind)
    }
}

#[cfg(test)]
mod tests;
