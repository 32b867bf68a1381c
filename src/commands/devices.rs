//! The device collection of a run: which version it begins with, and who looks after its file.
//!
//! In: the file, and what the state folder or a journal has of earlier versions. Out: the first version, and what the source needs to bring
//! the others into their epochs. Process 0's alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::preparation::{Input, Task};
use super::{Failure, tell};
use crate::commit::{Manifest, manifest_path};
use crate::devices::{
    self, Caution, Collection, Content, DevicesError, History, InForce, Look, Refusal, Succession, Versions, Wanted,
    Watch,
};
use crate::disk::LocalDisk;
use crate::journal::{Epoch, EpochLog, epochs_of, folder_of};
use crate::settings::{DeviceHistory, Settings};
use crate::source::{LiveDevices, Offer, time_of};
use crate::threads;

/// Looks at the file are not more often than this.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn wanted(settings: &Settings) -> Wanted {
    Wanted {
        further: settings.devices.columns.clone(),
        zone: settings.record.zone(),
    }
}

/// The settings' file, if they name one, and what it says.
type File = Option<(Content, Result<Collection, DevicesError>)>;

fn read_file(settings: &Settings) -> Result<File, DevicesError> {
    if settings.devices.path.is_empty() {
        return Ok(None);
    }
    let content = Content::read(Path::new(&settings.devices.path))?;
    let collection = content.collection(&wanted(settings));
    Ok(Some((content, collection)))
}

/// One that says something.
fn usable(file: File) -> Result<(Option<Content>, Option<Collection>), DevicesError> {
    let Some((content, collection)) = file else {
        return Ok((None, None));
    };
    Ok((Some(content), Some(collection?)))
}

/// Whether the readings of a task are joined with a collection.
pub(super) fn joins(task: &Task) -> bool {
    let recorded = match &task.input {
        Input::Recording(recording) => goes_by_record(&task.settings, &recording.epochs),
        _ => false,
    };
    recorded || !task.settings.devices.path.is_empty()
}

/// Whether the replay of a journal joins with what the live run had.
fn goes_by_record(settings: &Settings, epochs: &[Epoch]) -> bool {
    settings.devices.history == DeviceHistory::Recorded
        && settings.dataflow.uses("devices")
        && epochs.iter().any(|epoch| epoch.devices.is_some())
}

/// What process 0 begins with.
#[derive(Default)]
pub(super) struct Beginning {
    /// What the output is bound to.
    pub(super) fingerprint: Option<String>,
    /// Of the first epoch, as far as it is known yet.
    pub(super) collection: Option<Collection>,
    /// The versions of later epochs, in the replay of a journal.
    pub(super) succession: Option<Succession>,
    /// Of a live run.
    pub(super) choice: Option<Choice>,
}

/// The version that a live run goes on with.
pub(super) struct Choice {
    version: Option<Arc<str>>,
    /// Where it is the file's.
    content: Option<Content>,
    /// What differs from the version of the run before, told.
    changes: Option<String>,
    /// The file's version has been refused, and the user told.
    refused: Option<Refusal>,
}

impl Beginning {
    /// Before anything is made on disk: what is wrong with the file is told where nothing can stand in for it.
    pub(super) fn look(task: &Task) -> Result<Prospect, Failure> {
        let past = match &task.input {
            Input::Live(_) => manifest_path(&task.state).exists(),
            Input::Recording(recording) => goes_by_record(&task.settings, &recording.epochs),
            Input::Files(_) => false,
        };
        match read_file(&task.settings) {
            Err(error) if !past => Err(error.into()),
            Ok(Some((_, Err(error)))) if !past => Err(error.into()),
            file => Ok(Prospect(file)),
        }
    }
}

/// The file as the start has found it.
pub(super) struct Prospect(Result<File, DevicesError>);

impl Prospect {
    /// The state folder is this run's.
    pub(super) fn begin(self, task: &Task) -> Result<Beginning, Failure> {
        match &task.input {
            Input::Live(_) => self.go_on(task),
            Input::Recording(recording) if goes_by_record(&task.settings, &recording.epochs) => {
                self.repeat(task, &recording.epochs, recording.state())
            }
            _ => {
                let (content, collection) = usable(self.0?)?;
                Ok(Beginning {
                    fingerprint: content.map(|content| content.fingerprint().to_string()),
                    collection,
                    ..Beginning::default()
                })
            }
        }
    }

    /// A live run goes on from the version of the run before it, to the file's if that is not refused.
    fn go_on(self, task: &Task) -> Result<Beginning, Failure> {
        let versions = versions(task, &task.state);
        let last = EpochLog::last_devices(&LocalDisk, &epochs_of(&folder_of(&task.state)))?;
        let last = match last {
            None => begun_with(&task.state)?, // it may have ended before its first epoch
            last => last,
        };
        let last = match last.filter(|_| !task.settings.devices.path.is_empty()) {
            Some(last) if versions.has(&last)? => Some(last),
            _ => None, // there is none, or it is of a program that kept none
        };
        let (choice, collection) = match (self.0, last) {
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some(last)) => {
                let refusal = Refusal::of_file(&error);
                (Choice::refusing(last, refusal), None)
            }
            // Weighed against the other, and perhaps not the first one.
            (Ok(Some((content, _))), Some(last)) if *content.fingerprint() != last => {
                match caution(&task.settings).weigh(&versions.content(&last)?, &content, versions.wanted()) {
                    Ok(changes) => {
                        let changes = Some(changes.to_string());
                        let choice = Choice::of(Some(content));
                        (Choice { changes, ..choice }, None)
                    }
                    Err(refusal) => (Choice::refusing(last, refusal), None),
                }
            }
            (Ok(file), _) => {
                let (content, collection) = usable(file)?;
                (Choice::of(content), collection)
            }
        };
        if let Some(refusal) = &choice.refused {
            tell(format_args!("wardflow: {}", refusal.why));
        }
        Ok(Beginning {
            fingerprint: choice.version.as_ref().map(Arc::to_string),
            collection,
            succession: None,
            choice: Some(choice),
        })
    }

    /// The replay of a journal joins with the versions of the live run.
    fn repeat(self, task: &Task, epochs: &[Epoch], state: &Path) -> Result<Beginning, Failure> {
        // A journal of a program that kept no versions can still be joined with the file, if that is the version.
        let at_hand = self.0.ok().flatten().map(|(content, _)| content);
        let shown = match task.settings.devices.path.as_str() {
            "" => String::new(),
            path => format!(", not as {path} is now (that is devices.history = \"file\")"),
        };
        let at_hand_is = |version: &Arc<str>| at_hand.as_ref().is_some_and(|file| file.fingerprint() == version);
        let distinct: BTreeSet<&Arc<str>> = epochs.iter().filter_map(|epoch| epoch.devices.as_ref()).collect();
        let is_file = distinct.len() == 1 && distinct.iter().all(|version| at_hand_is(version));
        let count = match distinct.len() {
            1 => "1 version".to_owned(),
            n => format!("{n} versions"),
        };
        let versions = versions(task, state).beside(at_hand);
        for version in distinct {
            if !versions.has(version)? {
                return Err(Failure::new(format!(
                    "{}: version {version} of the device collection, which the live run joined with, is not kept there; restore it from a copy, give the file as it was then with --devices, or join with any file with --devices FILE --set devices.history=file",
                    devices::folder_of(state).display()
                )));
            }
        }
        if !is_file {
            tell(format_args!(
                "wardflow: the device collection is as the live run had it, in {count}{shown}"
            ));
        }
        let first = epochs.first().and_then(|epoch| epoch.devices.clone());
        Ok(Beginning {
            fingerprint: Some(fingerprint_of(epochs)),
            collection: Some(versions.load(first.as_deref())?),
            succession: Some(Succession::new(versions, first)),
            choice: None,
        })
    }
}

/// The version that the run before this one began with.
fn begun_with(state: &Path) -> Result<Option<Arc<str>>, Failure> {
    let found = Manifest::read(state).map_err(|e| Failure::new(format!("{}: {e}", state.display())))?;
    Ok(found.and_then(|found| found.belongs_to.devices.as_deref().map(Arc::from)))
}

/// Of the versions that epochs have met: of a single one its own.
fn fingerprint_of(epochs: &[Epoch]) -> String {
    let mut met: Vec<(u64, &str)> = Vec::new();
    for epoch in epochs {
        let version = epoch.devices.as_deref().unwrap_or_default();
        if met.last().is_none_or(|(_, last)| *last != version) {
            met.push((epoch.time, version));
        }
    }
    match met.as_slice() {
        [(_, only)] => (*only).to_owned(),
        _ => format!("{:032x}", xxh3_128(format!("{met:?}").as_bytes())),
    }
}

fn versions(task: &Task, state: &Path) -> Versions {
    Versions::new(LocalDisk, devices::folder_of(state), wanted(&task.settings))
}

fn caution(settings: &Settings) -> Caution {
    Caution {
        max_loss: settings.devices.max_loss,
    }
}

/// What a live run has of its device collection at its start.
pub(super) struct Begun {
    /// Of the first epoch.
    pub(super) collection: Option<Collection>,
    pub(super) live: LiveDevices,
    pub(super) watch: Option<Watch>,
}

impl Choice {
    fn of(content: Option<Content>) -> Choice {
        Choice {
            version: content.as_ref().map(|content| Arc::clone(content.fingerprint())),
            content,
            changes: None,
            refused: None,
        }
    }

    fn refusing(version: Arc<str>, refusal: Refusal) -> Choice {
        Choice {
            version: Some(version),
            content: None,
            changes: None,
            refused: Some(refusal),
        }
    }

    /// Keeps the version, and lets go of those that nobody asks for any more. `uncommitted` are the epochs behind the last commit; `file` is what the
    /// chosen version says, if that is known.
    pub(super) fn begin(
        self,
        task: &Task,
        found: &Manifest,
        uncommitted: &[Epoch],
        file: Option<Collection>,
    ) -> Result<Begun, Failure> {
        let versions = versions(task, &task.state);
        if let Some(content) = &self.content {
            versions.keep(content)?;
        }
        let first = match uncommitted.first() {
            Some(epoch) => epoch.devices.clone(),
            None => {
                // Else the source tells of it, when it comes in force.
                if let Some(changes) = &self.changes {
                    tell(format_args!(
                        "wardflow: device collection: {changes} since the run before this one"
                    ));
                }
                self.version.clone()
            }
        };
        let mut past = found.devices.clone();
        if past.is_empty() {
            past.push(InForce {
                from: time_of(found.commits, 0),
                version: first.clone(),
            });
        }
        let of_past = past.iter().filter_map(|past| past.version.clone());
        let to_come = uncommitted.iter().filter_map(|epoch| epoch.devices.clone());
        let needed: BTreeSet<Arc<str>> = of_past.chain(to_come).chain(self.version.clone()).collect();
        versions.remove_all_but(&needed)?;
        let collection = match (file, &first) {
            (Some(file), first) if *first == self.version => Some(file),
            (_, Some(first)) => Some(versions.load(Some(first))?),
            _ => None,
        };
        let history = History::new(versions.clone(), past, self.version.clone());
        let path = Path::new(&task.settings.devices.path);
        let in_force = self.version.clone().filter(|_| task.settings.devices.watch.is_some());
        let watch = in_force.map(|in_force| {
            let caution = caution(&task.settings);
            Watch::new(path, history.clone(), caution, in_force, self.refused)
        });
        Ok(Begun {
            collection,
            live: LiveDevices {
                history,
                succession: Succession::new(versions, first),
                next: self.version,
                offer: Offer::default(),
            },
            watch,
        })
    }
}

/// Looks after the file while the run goes on.
pub(super) fn look_after(mut watch: Watch, offer: Offer, every: Duration, told: impl Fn(&str) + Send + 'static) {
    threads::start_behind("devices", move || {
        loop {
            thread::sleep(every.max(PAUSE));
            if offer.is_waiting() {
                continue;
            }
            match watch.look() {
                Look::Nothing => {}
                Look::Told(what) => told(&what),
                Look::New(version) => offer.put(version),
            }
        }
    });
}
