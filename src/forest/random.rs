//! Counter-based random numbers. In: a seed, a forest's key, a tree's index; out: a stream in which the n-th number depends on
//! these and n alone, so that nothing about threads, batches or other trees can change it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

#[derive(Clone, Debug)]
pub(super) struct Stream {
    tree: u64,
    drawn: u64,
}

impl Stream {
    pub(super) fn new(seed: u64, key: &[u8], tree: u64) -> Stream {
        let forest = xxh3_64_with_seed(key, seed);
        Stream {
            tree: xxh3_64_with_seed(&tree.to_le_bytes(), forest),
            drawn: 0,
        }
    }

    /// What the stream was made of, in short: equal streams have equal names.
    pub(super) fn name(&self) -> u64 {
        self.tree
    }

    /// How many numbers have been drawn.
    pub(super) fn drawn(&self) -> u64 {
        self.drawn
    }

    /// The same stream with so many numbers drawn.
    pub(super) fn after(&self, drawn: u64) -> Stream {
        Stream { tree: self.tree, drawn }
    }

    /// Uniform in the open interval (0, 1): the middles of 2^52 equal cells, all of them exact.
    pub(super) fn uniform(&mut self) -> f64 {
        let bits = xxh3_64_with_seed(&self.drawn.to_le_bytes(), self.tree);
        self.drawn += 1;
        ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Exponential with rate 1, positive.
    pub(super) fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }
}
