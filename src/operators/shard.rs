//! Which worker owns a key: keys fall into a fixed number of shards, and workers own shards.
//!
//! The hash is ours and never changes, so that state can later be handed from one set of workers to another.

use std::hash::{Hash, Hasher};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Shards of keyed state, for ever.
const SHARDS: u64 = 1024;

/// The shard of a key; timely takes it modulo the number of workers.
pub fn shard_of(key: &[u8]) -> u64 {
    xxh3_64(key) % SHARDS
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
