//! What the scores of a key have been like: how many fell into each of many narrow bins, old ones counting less and less.
//!
//! Bins are 1/64 of a power of two wide (1.1 %), so that a few dozen numbers hold the history of a key. Whenever as many scores are counted
//! as are remembered, all counts are halved. Whole numbers and software exponentials: the same on every machine.

use std::collections::BTreeMap;

/// Bins of a power of two.
const FINENESS: f64 = 64.0;
/// Scores below 2^-16 and above 2^16 fall into the outermost bins.
const OUTERMOST: i16 = 16 * 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// Bin → scores; none is zero.
    pub(super) bins: BTreeMap<i16, u32>,
    total: u64,
}

/// The lowest score of a bin.
fn lower_edge(bin: i16) -> f64 {
    libm::exp2(f64::from(bin) / FINENESS)
}

/// The bin whose edges enclose a score.
fn bin_of(score: f64) -> i16 {
    if score <= lower_edge(-OUTERMOST) {
        return -OUTERMOST;
    }
    let near = (libm::log2(score) * FINENESS).floor().min(f64::from(OUTERMOST)) as i16;
    // The logarithm may be off by its last digit: the edges decide.
    let bin = if near < OUTERMOST && lower_edge(near + 1) <= score {
        near + 1
    } else {
        near
    };
    if lower_edge(bin) > score { bin - 1 } else { bin }
}

impl History {
    /// From counts as they were kept; `None` where there is a bin or a count that cannot be.
    pub(super) fn from_bins(bins: BTreeMap<i16, u32>) -> Option<History> {
        let sound = bins.iter().all(|(bin, count)| bin.abs() <= OUTERMOST && *count > 0);
        let total = bins.values().map(|count| u64::from(*count)).sum();
        sound.then_some(History { bins, total })
    }

    /// Counts a score; remembers about `most`.
    pub(super) fn count(&mut self, score: f64, most: u64) {
        *self.bins.entry(bin_of(score)).or_default() += 1;
        self.total += 1;
        if self.total >= most {
            self.halve();
        }
    }

    /// From the top down, what is left of one bin going to the next: the rare high ones must not vanish by rounding.
    fn halve(&mut self) {
        let mut left = 0;
        for count in self.bins.values_mut().rev() {
            let whole = *count + left;
            (*count, left) = (whole / 2, whole % 2);
        }
        self.bins.retain(|_, count| *count > 0);
        self.total /= 2;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The lower edge of the lowest bin with scores that at most this share of all reached; above them all if there is none. `None` without
    /// scores.
    pub(super) fn reached_by(&self, share: f64) -> Option<f64> {
        let (mut above, mut edge) = (0u64, None);
        for (bin, count) in self.bins.iter().rev() {
            edge = edge.or(Some(lower_edge(bin + 1)));
            above += u64::from(*count);
            if above as f64 > share * self.total as f64 {
                break;
            }
            edge = Some(lower_edge(*bin));
        }
        edge
    }

    /// The edges of the bin that holds the score which this share of all lies at or below; `None` without scores.
    pub(super) fn around(&self, share: f64) -> Option<(f64, f64)> {
        let mut below = 0u64;
        for (bin, count) in &self.bins {
            below += u64::from(*count);
            if below as f64 >= share * self.total as f64 {
                return Some((lower_edge(*bin), lower_edge(bin + 1)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_score_lies_between_the_edges_of_its_bin(score in prop_oneof![1e-4..60_000.0f64, (-1000i16..1000).prop_map(lower_edge)]) {
            let bin = bin_of(score);
            prop_assert!(lower_edge(bin) <= score && score < lower_edge(bin + 1), "{}", bin);
        }

        #[test]
        fn shares_are_right_to_the_width_of_a_bin(scores in proptest::collection::vec(0.3..6.0f64, 1..300), share in 0.0..1.0f64) {
            let mut history = History::default();
            scores.iter().for_each(|score| history.count(*score, u64::MAX));
            let reaching = |edge: f64| scores.iter().filter(|score| **score >= edge).count() as f64;
            let most = share * scores.len() as f64;
            let edge = history.reached_by(share).expect("scores");
            prop_assert!(reaching(edge) <= most);
            // From the bin of the next lower score on there were more.
            let lower = scores.iter().copied().filter(|score| *score < edge).fold(0.0, f64::max);
            prop_assert!(lower == 0.0 || reaching(lower_edge(bin_of(lower))) > most);
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            let place = (share * scores.len() as f64).ceil().max(1.0) as usize - 1;
            let (low, high) = history.around(share).expect("scores");
            prop_assert!(low <= sorted[place] && sorted[place] < high);
        }
    }

    #[test]
    fn no_score_is_too_odd_for_a_bin_and_the_old_are_forgotten() {
        let mut history = History::default();
        for score in [0.0, -1.0, 1e-300, 1e300, f64::INFINITY] {
            history.count(score, u64::MAX);
        }
        assert_eq!(history.total(), 5);
        let mut history = History::default();
        (0..1000).for_each(|_| history.count(5.0, 100));
        (0..400).for_each(|_| history.count(1.0, 100));
        assert!(history.total() <= 100);
        assert!(
            history.around(0.95).is_some_and(|(_, high)| high < 1.1),
            "five is long ago"
        );
    }
}
