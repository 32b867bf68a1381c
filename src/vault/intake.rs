//! Where records give up their identities: one intake per worker. In: of every record with a patient,
//! the event time, name and date of birth. Out: sightings, sealed, for the worker that owns the vault.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

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
    /// Identities met before; no patient and no identity in clear.
    known: Recent<Met>,
    /// Since the last drain, in the order of their first records.
    sightings: Vec<Sighting>,
    /// Drains so far.
    drains: u64,
}

/// An identity met before.
struct Met {
    /// `None`: neither name nor date of birth.
    tag: Option<IdentityTag>,
    /// After how many drains it was seen last, and its place in `sightings` then.
    seen: (u64, usize),
}

impl Intake {
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self {
            sealer,
            known: Recent::new(KNOWN),
            sightings: Vec::new(),
            drains: 0,
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
        let here = (self.drains, self.sightings.len());
        let identity = match self.known.meet(digest) {
            Some(Met {
                seen: (drains, place), ..
            }) if *drains == self.drains => {
                let seen = &mut self.sightings[*place];
                seen.first_seen = seen.first_seen.min(event_time_micros);
                seen.last_seen = seen.last_seen.max(event_time_micros);
                return Ok(());
            }
            Some(met) => {
                met.seen = here;
                met.tag.map_or(SightedIdentity::Absent, SightedIdentity::Known)
            }
            None => {
                let (identity, tag) = first_sight(&self.sealer, patient, name, dob)?;
                self.known.insert(digest, Met { tag, seen: here });
                identity
            }
        };
        self.sightings.push(Sighting {
            patient: patient.into(),
            first_seen: event_time_micros,
            last_seen: event_time_micros,
            identity,
        });
        Ok(())
    }

    /// The sightings since the last drain: one for each patient and identity, but for identities that were met among very many others.
    /// An identity is sent as new once, or again only after very many others or a long time, so no sighting may be lost on its way to
    /// the vault.
    pub fn drain(&mut self) -> Vec<Sighting> {
        self.drains += 1;
        std::mem::take(&mut self.sightings)
    }
}

/// What is sent of an identity that is not known, and what is remembered of it.
fn first_sight(
    sealer: &Sealer,
    patient: &str,
    name: Option<&str>,
    dob: Option<&str>,
) -> Result<(SightedIdentity, Option<IdentityTag>), VaultError> {
    if name.is_none() && dob.is_none() {
        return Ok((SightedIdentity::Absent, None));
    }
    let sealed = sealer.seal(patient, name, dob)?;
    let tag = sealed.tag;
    Ok((SightedIdentity::New(Box::new(sealed)), Some(tag)))
}
