//! `collect_identities`: brings sealed sightings of patients to the one worker that owns the vault.
//!
//! A thread of its own writes them, a commit at a time: the records of later epochs go on meanwhile.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use crossbeam_channel::{Receiver, Sender, unbounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::snapshot::Checkpoints;
use crate::source::{commit_of, end_of_commit};
use crate::threads;
use crate::vault::{IdentityTag, SightedIdentity, Sighting, Vault, VaultError};

/// How often the vault is told when known identities were last seen, in a run that begins again after a crash. One that goes on
/// from a commit tells it with each: what it has been told by then it is not told again. Nothing in the tables depends on it.
const REFRESH: Duration = Duration::from_secs(5);

/// Writes a commit's new identities in one transaction, durable before the commit is. `vault` is there on worker 0 only.
///
/// Nothing comes out but progress: the stream's frontier tells the commit that the vault has all it needs.
pub fn collect_identities<'scope>(
    sightings: Rows<'scope, Sighting>,
    vault: Option<Vault>,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Staged> {
    let to_owner = Exchange::new(|_: &Sighting| 0);
    let scope = sightings.scope();
    let every = checkpoints.is_none().then_some(REFRESH);
    sightings.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_owner, "Vault", |_, info| {
        let wake = scope.worker().sync_activator_for(info.address.to_vec());
        let mut writer = vault.map(|vault| {
            Writer::start(Registrar::new(vault, every), move || {
                let _ = wake.activate(); // the worker may have ended
            })
        });
        let mut held = BTreeMap::new();
        let mut being_written = VecDeque::new();
        move |(input, frontier), _output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                let (_, sightings) = held
                    .entry(commit_of(time))
                    .or_insert_with(|| (stamp.delayed(&time, 0), Vec::new()));
                batches.for_each(|batch| sightings.append(batch));
            });
            while let Some(first) = held.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                let (capability, sightings) = first.remove();
                if let Some(writer) = &writer {
                    writer.write(sightings);
                    being_written.push_back(capability);
                }
            }
            let written = writer.as_ref().map_or(0, Writer::written);
            being_written.drain(..written.min(being_written.len()));
            if frontier.is_empty()
                && let Some(writer) = writer.take()
            {
                writer.finish();
                being_written.clear();
            }
        }
    })
}

/// The thread that writes to the vault.
struct Writer {
    commits: Sender<Vec<Sighting>>,
    written: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// `wake` is called behind each commit that has been written.
    fn start(mut registrar: Registrar, wake: impl Fn() + Send + 'static) -> Writer {
        let (commits, waiting) = unbounded::<Vec<Sighting>>();
        let (done, written) = unbounded();
        let thread = threads::start_behind("vault", move || {
            for sightings in waiting {
                registrar.take(sightings).unwrap_or_else(|e| halt(e));
                let _ = done.send(()); // nobody waits for it at the end
                wake();
            }
            registrar.refresh(Vec::new()).unwrap_or_else(|e| halt(e));
        });
        Writer {
            commits,
            written,
            thread,
        }
    }

    /// In order.
    fn write(&self, sightings: Vec<Sighting>) {
        let _ = self.commits.send(sightings); // a thread that failed has ended the program
    }

    /// How many commits have been written since this was asked last.
    fn written(&self) -> usize {
        self.written.try_iter().count()
    }

    /// Waits until all is written.
    fn finish(self) {
        drop(self.commits);
        let _ = self.thread.join(); // one that panicked has ended the program
    }
}

/// Keeps the vault up to date: new identities at once, the times of known ones now and then and at the end.
struct Registrar {
    vault: Vault,
    /// First and last time seen, by patient and identity.
    known: HashMap<(CompactString, Option<IdentityTag>), (i64, i64)>,
    refreshed: Instant,
    /// `None`: with each commit.
    every: Option<Duration>,
}

impl Registrar {
    fn new(vault: Vault, every: Option<Duration>) -> Registrar {
        Registrar {
            vault,
            every,
            known: HashMap::new(),
            refreshed: Instant::now(),
        }
    }

    fn take(&mut self, sightings: Vec<Sighting>) -> Result<(), VaultError> {
        let mut new = Vec::new();
        for sighting in sightings {
            let tag = match &sighting.identity {
                SightedIdentity::New(_) => {
                    new.push(sighting);
                    continue;
                }
                SightedIdentity::Known(tag) => Some(*tag),
                SightedIdentity::Absent => None,
            };
            let Sighting {
                patient,
                first_seen,
                last_seen,
                ..
            } = sighting;
            let seen = self.known.entry((patient, tag)).or_insert((first_seen, last_seen));
            *seen = (seen.0.min(first_seen), seen.1.max(last_seen));
        }
        if self.every.is_some_and(|every| self.refreshed.elapsed() < every) {
            self.vault.apply(&new)
        } else {
            self.refresh(new)
        }
    }

    /// Writes new identities and all that has gathered of known ones.
    fn refresh(&mut self, mut due: Vec<Sighting>) -> Result<(), VaultError> {
        self.refreshed = Instant::now();
        due.extend(self.known.drain().map(|((patient, tag), (first_seen, last_seen))| {
            let identity = tag.map_or(SightedIdentity::Absent, SightedIdentity::Known);
            Sighting {
                patient,
                first_seen,
                last_seen,
                identity,
            }
        }));
        // Neighbours in the database are written together; what order they come in changes nothing in it.
        due.sort_unstable_by(|a, b| a.patient.cmp(&b.patient));
        self.vault.apply(&due)
    }
}
