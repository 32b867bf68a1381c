//! Where records give up their identities: one intake per worker. In: of every record with a patient,
//! the event time, name and date of birth. Out: sightings, sealed, for the worker that owns the vault.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::digest::{ByDigest, Digest};
use super::error::VaultError;
use super::identity::{IdentityTag, SealedIdentity, Sealer};
use super::recent::Recent;

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

/// Identities that are known at most; others are met anew: a vault takes one that it has no second time.
const KNOWN: usize = if cfg!(test) { 100 } else { 1 << 16 };

/// Seals identities when first met and keeps account of when each was seen. Its memory is bounded, however many patients come and go.
pub struct Intake {
    sealer: Arc<Sealer>,
    /// Identities that were handed over; no patient and no identity in clear.
    known: Recent<Option<IdentityTag>>,
    /// Where in `sightings` an identity is.
    places: HashMap<Digest, usize, ByDigest>,
    /// Since the last drain, in the order of their first records.
    sightings: Vec<Sighting>,
}

impl Intake {
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self {
            sealer,
            known: Recent::new(KNOWN),
            places: HashMap::default(),
            sightings: Vec::new(),
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
        if let Some(&place) = self.places.get(&digest) {
            let seen = &mut self.sightings[place];
            seen.first_seen = seen.first_seen.min(event_time_micros);
            seen.last_seen = seen.last_seen.max(event_time_micros);
            return Ok(());
        }
        let identity = match self.known.meet(digest) {
            Some(None) => SightedIdentity::Absent,
            Some(Some(tag)) => SightedIdentity::Known(*tag),
            None => first_sight(&self.sealer, patient, name, dob)?,
        };
        self.places.insert(digest, self.sightings.len());
        self.sightings.push(Sighting {
            patient: patient.into(),
            first_seen: event_time_micros,
            last_seen: event_time_micros,
            identity,
        });
        Ok(())
    }

    /// The sightings since the last drain: one for each patient and identity. An identity is sent as new once, or
    /// again only after very many others or a long time, so no sighting may be lost on its way to the vault.
    pub fn drain(&mut self) -> Vec<Sighting> {
        for (digest, place) in self.places.drain() {
            let tag = match &self.sightings[place].identity {
                SightedIdentity::Absent => None,
                SightedIdentity::Known(tag) => Some(*tag),
                SightedIdentity::New(sealed) => Some(sealed.tag),
            };
            self.known.insert(digest, tag);
        }
        self.places.shrink_to(KNOWN);
        std::mem::take(&mut self.sightings)
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
