//! Random numbers by event, spread evenly over the trees of a forest. In: a seed, a forest's key, its number of trees, a tree's
//! index; out: a number for an event and a purpose, which depends on these alone, so that nothing about threads, batches or
//! which trees are where can change it.
//!
//! What a tree draws is uniform, and independent of all else it draws. What the trees of one forest draw for the same event and
//! purpose is not independent but stratified, so that of a hundred trees ten have a number below 0.1, and not by chance three
//! or seventeen: a forest's score is a mean over trees, and where all trees draw alike, chance averages out better than among
//! independent ones (Latin hypercube sampling: McKay, Beckman, Conover 1979; Owen, "Monte Carlo theory, methods and examples",
//! chapter 10). No tree by itself is any different for it.
//!
//! Tree i draws frac(s + (a·i mod p) / p) with p the least prime that is no less than the number of trees, and s in [0, 1) and a in
//! 1..p of the event and purpose: s makes each number uniform, a deals them out anew each time. Two trees' numbers
//! differ by any multiple of 1/p but 0 equally often, so that no pair of trees stays alike.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// What an event's number is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// How long until the next point is taken.
    Wait,
    /// That point's weight.
    Weight,
    /// Where it is cut from the others.
    Cut,
}

/// The random numbers of one tree.
#[derive(Clone, Debug)]
pub(super) struct Random {
    forest: u64,
    tree: u32,
    /// p above.
    prime: u32,
    /// i/p above, with the point before its 64 bits; beyond those it wraps, which is the fraction that is wanted.
    stride: u64,
}

impl Random {
    /// The first tree's, of a forest of so many.
    pub(super) fn new(seed: u64, key: &[u8], trees: usize) -> Random {
        Random {
            forest: xxh3_64_with_seed(key, seed),
            tree: 0,
            prime: prime_from(trees as u32),
            stride: 0,
        }
    }

    /// Those of the tree with this index in the same forest.
    pub(super) fn of_tree(&self, index: usize) -> Random {
        let step = u64::MAX / u64::from(self.prime);
        Random {
            tree: index as u32,
            stride: step.wrapping_mul(index as u64),
            ..*self
        }
    }

    /// What they are made of but for the number of trees, in short.
    pub(super) fn name(&self) -> u64 {
        xxh3_64_with_seed(&u64::from(self.tree).to_le_bytes(), self.forest)
    }

    /// Uniform in the open interval (0, 1): the middles of 2^52 equal cells, all of them exact.
    pub(super) fn uniform(&self, event: u64, purpose: Purpose) -> f64 {
        let name = event.rotate_left(2) ^ purpose as u64;
        let of_event = xxh3_128_with_seed(&name.to_le_bytes(), self.forest);
        let (shift, choice) = (of_event as u64, of_event >> 64);
        let multiple = 1 + ((choice * u128::from(self.prime - 1)) >> 64) as u64;
        let bits = shift.wrapping_add(multiple.wrapping_mul(self.stride));
        ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }
}

/// The least prime from `least` on.
fn prime_from(least: u32) -> u32 {
    let is_prime = |n: u32| (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (least.max(2)..).find(|&n| is_prime(n)).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PURPOSES: [Purpose; 3] = [Purpose::Wait, Purpose::Weight, Purpose::Cut];

    fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
        let (mut sum, mut count) = (0.0, 0.0);
        for (a, b) in pairs {
            sum += (a - 0.5) * (b - 0.5) * 12.0;
            count += 1.0;
        }
        (sum / count, 1.0 / f64::sqrt(count))
    }

    /// Each tree by itself: uniform numbers (chi-squared over twenty cells), and no memory from event to event or between purposes.
    #[test]
    fn what_a_tree_draws_is_uniform_and_independent() {
        let events = 20_000;
        for (trees, tree) in [(1, 0), (2, 1), (37, 20), (100, 0), (100, 99), (1000, 512)] {
            let random = Random::new(11, b"key", trees).of_tree(tree);
            for (at, purpose) in PURPOSES.into_iter().enumerate() {
                let drawn: Vec<f64> = (0..events).map(|event| random.uniform(event, purpose)).collect();
                let mut cells = [0.0; 20];
                drawn.iter().for_each(|u| cells[(u * 20.0) as usize] += 1.0);
                let expected = events as f64 / 20.0;
                let chi_squared = cells
                    .iter()
                    .map(|n| (n - expected) * (n - expected) / expected)
                    .sum::<f64>();
                assert!(
                    (3.0..52.0).contains(&chi_squared),
                    "{trees} {tree} {purpose:?}: {chi_squared}"
                );
                for lag in [1, 2, 7, 64] {
                    let (found, error) = correlation(drawn.iter().copied().zip(drawn[lag..].iter().copied()));
                    assert!(
                        found.abs() < 4.5 * error,
                        "{trees} {tree} {purpose:?}, lag {lag}: {found}"
                    );
                }
                let other = PURPOSES[(at + 1) % 3];
                let others = (0..events).map(|event| random.uniform(event, other));
                let (found, error) = correlation(drawn.iter().copied().zip(others));
                assert!(
                    found.abs() < 4.5 * error,
                    "{trees} {tree} {purpose:?}, {other:?}: {found}"
                );
            }
        }
    }

    /// Two trees draw a little less alike than two that know nothing of one another, and never more.
    #[test]
    fn no_two_trees_stay_alike() {
        let forest = Random::new(12, b"key", 37);
        for (one, other) in [(0, 1), (0, 36), (5, 32), (18, 19)] {
            let [one, other] = [one, other].map(|tree| forest.of_tree(tree));
            let draw = |random: &Random, event| random.uniform(event, Purpose::Cut);
            let (found, error) = correlation((0..40_000).map(|event| (draw(&one, event), draw(&other, event))));
            assert!((found + 1.0 / 36.0).abs() < 4.5 * error, "{found}");
        }
    }

    proptest! {
        /// Of n trees, about n·x draw a number below x; as many off at most as there are places without a tree, and one.
        #[test]
        fn the_trees_of_a_forest_share_out_what_can_be_drawn(
            trees in 1usize..=1000, seed: u64, event: u64, purpose in prop::sample::select(PURPOSES.to_vec())
        ) {
            let forest = Random::new(seed, b"key", trees);
            let mut drawn: Vec<f64> = (0..trees).map(|tree| forest.of_tree(tree).uniform(event, purpose)).collect();
            drawn.sort_by(f64::total_cmp);
            prop_assert!(drawn[0] > 0.0 && drawn[trees - 1] < 1.0);
            let prime = f64::from(forest.prime);
            for (below, u) in drawn.iter().enumerate() {
                let places = u * prime;
                prop_assert!(below as f64 <= places + 1.0 && below as f64 >= places - (prime - trees as f64) - 1.0);
            }
            prop_assert!(drawn.windows(2).all(|pair| pair[1] - pair[0] > 0.999 / prime));
        }
    }

    #[test]
    fn the_number_of_places_is_the_least_prime_with_room_for_all_trees() {
        let expected = [(1, 2), (2, 2), (3, 3), (37, 37), (100, 101), (114, 127), (1000, 1009)];
        assert_eq!(expected.map(|(trees, _)| (trees, prime_from(trees))), expected);
    }
}
