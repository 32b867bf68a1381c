//! `collect_identities`: brings sealed sightings of patients to the one worker that owns the vault.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::snapshot::Checkpoints;
use crate::source::{commit_of, end_of_commit};
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
    let mut held = BTreeMap::new();
    let mut registrar = vault.map(|vault| Registrar::new(vault, checkpoints.is_none().then_some(REFRESH)));
    sightings.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_owner, "Vault", |_, _| {
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
                let (_capability, sightings) = first.remove();
                if let Some(registrar) = registrar.as_mut() {
                    registrar.take(sightings).unwrap_or_else(|e| halt(e));
                }
            }
            if frontier.is_empty()
                && let Some(mut registrar) = registrar.take()
            {
                registrar.refresh(Vec::new()).unwrap_or_else(|e| halt(e));
            }
        }
    })
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
