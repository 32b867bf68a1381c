//! Which worker owns a key: keys fall into a fixed number of shards, and workers own shards.
//!
//! The hash is ours and never changes, so that state can later be handed from one set of workers to another.

use std::hash::{Hash, Hasher};

use compact_str::CompactString;
use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Shards of keyed state, for ever.
const SHARDS: u64 = 1024;

/// The shard of a key.
pub fn shard_of(key: &[u8]) -> u64 {
    xxh3_64(key) % SHARDS
}

/// What timely takes modulo the number of workers to find the owner of a key's shard: the same as where differential
/// puts a [`DeviceKey`], so that a device's readings and its facts meet.
pub fn route(key: &[u8]) -> u64 {
    shard_of(key).hashed()
}

/// A device as the key of an arrangement: ordered by its id, exchanged by its shard.
///
/// Differential exchanges a key by its `Hash`, so hashing the shard alone puts the device collection where the
/// readings of the device are. (Its arrangements are ordered, not hashed: a coarse hash costs nothing.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceKey(pub CompactString);

impl Hash for DeviceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        shard_of(self.0.as_bytes()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_readings_and_its_facts_go_to_the_same_worker() {
        for n in 0..1000 {
            let device = CompactString::new(format!("device-{n}"));
            assert_eq!(route(device.as_bytes()), DeviceKey(device).hashed());
        }
    }

    #[test]
    fn the_shards_of_keys_never_change() {
        assert_eq!([b"MON-001".as_slice(), b"", b"\x00"].map(shard_of), [0, 0, 0]);
    }
}
