//! Which worker owns a key: keys fall into a fixed number of shards, and workers own shards.
//!
//! The hash is ours and never changes, so that state can later be handed from one set of workers to another.

use std::hash::{Hash, Hasher};

use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::record::{DeviceId, Key};

/// Shards of keyed state, for ever.
const SHARDS: u64 = 1024;

/// The shard of a key with this XXH3 hash.
fn shard_of(hash: u64) -> u64 {
    hash % SHARDS
}

/// The shard of a device.
pub(super) fn shard_of_device(device: &DeviceId) -> u64 {
    shard_of(device.stable_hash())
}

/// What timely takes modulo the number of workers to find the owner of a key's shard; null is apart from every text.
pub fn route_key(key: &Key) -> u64 {
    route_shard(shard_of(key.as_ref().map_or(0, |text| xxh3_64(text.as_bytes()))))
}

/// The same for a shard.
pub(super) fn route_shard(shard: u64) -> u64 {
    shard.hashed()
}

/// The same for a device: it is where differential puts its [`DeviceKey`], so that a device's readings and its facts meet.
pub fn route_device(device: &DeviceId) -> u64 {
    route_shard(shard_of_device(device))
}

/// A device as the key of an arrangement: exchanged by its shard.
///
/// Differential exchanges a key by its `Hash`, so hashing the shard alone puts the device collection where the
/// readings of the device are. (Its arrangements are ordered, not hashed: a coarse hash costs nothing.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceKey(pub DeviceId);

impl Hash for DeviceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        shard_of(self.0.stable_hash()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_readings_and_its_facts_go_to_the_same_worker() {
        for n in 0..1000 {
            let device = DeviceId::new(format!("device-{n}"));
            assert_eq!(route_device(&device), route_key(&Some(device.text().clone())));
            assert_eq!(route_device(&device), DeviceKey(device).hashed());
        }
    }

    #[test]
    fn the_shards_of_keys_never_change() {
        assert_eq!(
            [b"MON-001".as_slice(), b"", b"\x00"].map(|key| shard_of(xxh3_64(key))),
            [607, 194, 219]
        );
    }
}
