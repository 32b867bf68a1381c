//! A record in the journal, and how a group of them becomes the content of a frame.

use std::fmt;

use crate::record::EventTime;
use crate::vault::DataKeyId;

/// A record as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was received.
    pub received: EventTime,
    pub topic: String,
    /// The payload without the identity; of one that is far too long, its beginning.
    pub payload: Vec<u8>,
    /// Whole length of the payload as it came.
    pub length: u64,
    pub identity: Option<SealedIdentity>,
}

/// An identity that was cut out of a payload.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedIdentity {
    pub patient: String,
    /// Which of the patient's keys seals it.
    pub key: DataKeyId,
    /// For each piece where it stood in the payload that is left, and its length.
    pub pieces: Vec<(u32, u32)>,
    /// All pieces, one behind the other, under lock.
    pub sealed: Vec<u8>,
}

/// What it holds stays out of sight.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes)", self.payload.len())
    }
}

impl fmt::Debug for SealedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedIdentity")
    }
}

impl Entry {
    /// About as many bytes as it takes in memory and on disk.
    pub fn bytes(&self) -> usize {
        let identity = self.identity.as_ref().map_or(0, |identity| identity.sealed.len() + 32);
        self.payload.len() + identity + 16
    }

    /// As many as [`encode`] makes of it beside the topic.
    fn encoded(&self) -> usize {
        let identity = self.identity.as_ref().map_or(0, |identity| {
            28 + identity.patient.len() + 8 * identity.pieces.len() + identity.sealed.len()
        });
        25 + self.payload.len() + identity
    }
}

/// The entries as bytes. Topics are written once.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut topics: Vec<&str> = Vec::new();
    let mut body = Vec::with_capacity(64 + entries.iter().map(Entry::encoded).sum::<usize>());
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let known = topics.iter().rposition(|topic| *topic == entry.topic);
        places.push(known.unwrap_or_else(|| {
            topics.push(&entry.topic);
            topics.len() - 1
        }));
    }
    put_number(&mut body, topics.len());
    topics.iter().for_each(|topic| put_bytes(&mut body, topic.as_bytes()));
    put_number(&mut body, entries.len());
    for (entry, topic) in entries.iter().zip(places) {
        body.extend_from_slice(&entry.received.to_le_bytes());
        put_number(&mut body, topic);
        put_bytes(&mut body, &entry.payload);
        body.extend_from_slice(&entry.length.to_le_bytes());
        let Some(identity) = &entry.identity else {
            body.push(0);
            continue;
        };
        body.push(1);
        put_bytes(&mut body, identity.patient.as_bytes());
        body.extend_from_slice(&identity.key);
        put_number(&mut body, identity.pieces.len());
        for (at, length) in &identity.pieces {
            put_number(&mut body, *at as usize);
            put_number(&mut body, *length as usize);
        }
        put_bytes(&mut body, &identity.sealed);
    }
    body
}

/// The entries of [`encode`]; `None` for any other bytes.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut rest = Rest(bytes);
    let topics: Vec<String> = rest.list(|rest| rest.text())?;
    let entries = rest.list(|rest| {
        let received = EventTime::from_le_bytes(rest.take()?);
        let topic = topics.get(rest.number()?)?.clone();
        let payload = rest.bytes()?.to_vec();
        let length = u64::from_le_bytes(rest.take()?);
        let identity = match rest.take::<1>()? {
            [0] => None,
            [1] => Some(SealedIdentity {
                patient: rest.text()?,
                key: rest.take()?,
                pieces: rest.list(|rest| {
                    let mut number = || u32::try_from(rest.number()?).ok();
                    Some((number()?, number()?))
                })?,
                sealed: rest.bytes()?.to_vec(),
            }),
            _ => return None,
        };
        Some(Entry {
            received,
            topic,
            payload,
            length,
            identity,
        })
    })?;
    rest.0.is_empty().then_some(entries)
}

fn put_number(into: &mut Vec<u8>, number: usize) {
    into.extend_from_slice(&(number as u32).to_le_bytes()); // frames stay far below 4 GiB
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_number(into, bytes.len());
    into.extend_from_slice(bytes);
}

/// What is still to be decoded.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take()?)).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        Some(str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn entry() -> impl Strategy<Value = Entry> {
        let identity = (
            ".{0,8}",
            any::<[u8; 16]>(),
            prop::collection::vec(any::<(u32, u32)>(), 0..3),
            any::<Vec<u8>>(),
        )
            .prop_map(|(patient, key, pieces, sealed)| SealedIdentity {
                patient,
                key,
                pieces,
                sealed,
            });
        (
            any::<i64>(),
            any::<u64>(),
            "[a-c]",
            prop::collection::vec(any::<u8>(), 0..40),
            prop::option::of(identity),
        )
            .prop_map(|(received, length, topic, payload, identity)| Entry {
                received,
                length,
                topic,
                payload,
                identity,
            })
    }

    proptest! {
        #[test]
        fn entries_come_back(entries in prop::collection::vec(entry(), 0..20)) {
            prop_assert!(decode(&encode(&entries)) == Some(entries));
        }

        #[test]
        fn an_entry_takes_as_many_bytes_as_are_reckoned_with(entry in entry()) {
            // beside how many topics and entries there are, and the topic with its length
            let beside = 4 + 4 + 4 + entry.topic.len();
            prop_assert_eq!(encode(std::slice::from_ref(&entry)).len(), beside + entry.encoded());
        }

        #[test]
        fn no_bytes_make_it_panic_and_a_cut_is_noticed(
            entries in prop::collection::vec(entry(), 1..5), cut in any::<prop::sample::Index>(), noise in any::<Vec<u8>>(),
        ) {
            let bytes = encode(&entries);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_none());
            let _ = decode(&noise);
        }
    }
}
