//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): small, quick and the same everywhere.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// `stream` sets streams of one seed apart: the n-th of them is the same whatever else is drawn.
    pub(super) fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed);
        Random(random.next() ^ mix(stream.wrapping_add(STEP)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// From 0 to `end` - 1; `end` must be positive.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// In [0, 1), with all 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// In [`least`, `most`).
    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.uniform()
    }

    /// Mean 0, deviation 1, nearly a bell and never beyond 3.47 (the sum of four uniform numbers: no logarithm, and no outliers but
    /// those that are injected).
    pub(super) fn bell(&mut self) -> f64 {
        let bits = self.next();
        let sum = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum::<u64>();
        const MEAN: f64 = 2.0 * 65535.0;
        const PER_DEVIATION: f64 = 1.732_050_807_568_877_2 / 65536.0; // √3
        (sum as f64 - MEAN) * PER_DEVIATION
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
