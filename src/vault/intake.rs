//! Where records give up their identities: one intake per worker. In: of every record with a patient,
//! the event time, name and date of birth. Out: sightings, sealed, for the worker that owns the vault.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::digest::{ByDigest, Digest};
use super::error::VaultError;
use super::identity::{IdentityTag, SealedIdentity, Sealer};

/// That a patient was seen with a certain identity, or with none, and when. Times are event times in
/// microseconds since 1970 UTC, both inclusive.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sighting {
    pub patient: CompactString,
    pub first_seen: i64,
    pub last_seen: i64,
    pub identity: SightedIdentity,
}

/// The identity that records of a sighting carried.
#[derive(Clone, Serialize, Deserialize)]
pub enum SightedIdentity {
    /// Neither name nor date of birth.
    Absent,
    /// One that the same worker handed over before.
    Known(IdentityTag),
    /// One that the worker met for the first time.
    New(Box<SealedIdentity>),
}

/// Identities that are known at most, before all are met anew: a vault takes one that it has no second time.
const KNOWN: usize = if cfg!(test) { 100 } else { 1 << 16 };

/// Seals identities when first met and keeps account of when each was seen. Its memory is bounded, however many patients come and go.
pub struct Intake {
    sealer: Arc<Sealer>,
    places: HashMap<Digest, usize, ByDigest>,
    seen: Vec<Seen>,
    /// What was seen since the last drain, in the order of its first record.
    touched: Vec<(usize, CompactString)>,
}

/// One identity of one patient; no patient and no identity in clear.
struct Seen {
    first_seen: i64,
    last_seen: i64,
    touched: bool,
    identity: SightedIdentity,
}

impl Intake {
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self {
            sealer,
            places: HashMap::default(),
            seen: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Takes the identity of one record. An empty name or date of birth counts as absent.
    pub fn see(
        &mut self,
        patient: &str,
        event_time_micros: i64,
        name: Option<&str>,
        dob: Option<&str>,
    ) -> Result<(), VaultError> {
        let name = name.filter(|text| !text.is_empty());
        let dob = dob.filter(|text| !text.is_empty());
        let digest = self.sealer.digests.identity(patient, name, dob);
        let place = match self.places.entry(digest) {
            Entry::Occupied(met) => *met.get(),
            Entry::Vacant(new) => {
                let place = self.seen.len();
                let identity = first_sight(&self.sealer, patient, name, dob)?;
                self.seen.push(Seen {
                    first_seen: event_time_micros,
                    last_seen: event_time_micros,
                    touched: false,
                    identity,
                });
                *new.insert(place)
            }
        };
        let seen = &mut self.seen[place];
        if seen.touched {
            seen.first_seen = seen.first_seen.min(event_time_micros);
            seen.last_seen = seen.last_seen.max(event_time_micros);
        } else {
            seen.touched = true;
            seen.first_seen = event_time_micros;
            seen.last_seen = event_time_micros;
            self.touched.push((place, patient.into()));
        }
        Ok(())
    }

    /// The sightings since the last drain: one for each patient and identity. An identity is sent as new once, or
    /// again only after very many others, so no sighting may be lost on its way to the vault.
    pub fn drain(&mut self) -> Vec<Sighting> {
        let mut sightings = Vec::with_capacity(self.touched.len());
        for (place, patient) in self.touched.drain(..) {
            let seen = &mut self.seen[place];
            seen.touched = false;
            let handed_over = match &seen.identity {
                SightedIdentity::Absent => SightedIdentity::Absent,
                SightedIdentity::Known(tag) => SightedIdentity::Known(*tag),
                SightedIdentity::New(sealed) => SightedIdentity::Known(sealed.tag),
            };
            sightings.push(Sighting {
                patient,
                first_seen: seen.first_seen,
                last_seen: seen.last_seen,
                identity: std::mem::replace(&mut seen.identity, handed_over),
            });
        }
        if self.seen.len() > KNOWN {
            // All of them have been handed over.
            (self.places, self.seen) = (HashMap::default(), Vec::new());
        }
        sightings
    }
}

fn first_sight(
    sealer: &Sealer,
    patient: &str,
    name: Option<&str>,
    dob: Option<&str>,
) -> Result<SightedIdentity, VaultError> {
    if name.is_none() && dob.is_none() {
        return Ok(SightedIdentity::Absent);
    }
    let sealed = sealer.seal(patient, name, dob)?;
    Ok(SightedIdentity::New(Box::new(sealed)))
}
