//! The threshold of one key: fixed, or learned from the scores before.
//!
//! A learned threshold changes after every [`STRETCH`] scores of its key and at no other time, so that scores can be taken in batches and
//! it still depends on nothing but the scores and their order. A score counts for the thresholds of later ones, never for its own.

use std::fmt;

use super::history::History;

/// Scores between two changes.
const STRETCH: u64 = 64;
/// Scores that must have been seen before the fixed threshold gives way.
const LEAST: u64 = 256;
/// Scores remembered, and how many reach the threshold among those that are remembered at least.
const REMEMBERED: u64 = 1 << 16;
const REACHING: f64 = 8.0;
/// Of the form in which the state is kept.
const VERSION: u8 = 1;

/// How a threshold comes about. A learned one begins with a fixed one, `until`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Fixed(f64),
    /// Reached by this share of the scores, 0 to 1, both excluded: no more than that of those that are remembered.
    Rate {
        share: f64,
        until: f64,
    },
    /// Where the grade of a score comes to this, 0 to 1, 1 excluded. The grade is 1 − (q90 − q50) / (score − q50), with the median and the
    /// ninth decile of the scores before: 0 for the lower 90 % of the scores, 0.5 twice as far above the median as the upper tenth begins,
    /// 0.8 five times as far.
    Grade {
        least: f64,
        until: f64,
    },
}

/// The threshold of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    rule: Rule,
    value: f64,
    seen: u64,
    history: History,
}

/// A state that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Of a form that this program does not know.
    Version(u8),
    Damaged,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Version(version) => write!(
                f,
                "the state of a threshold has form {version}, this program reads {VERSION}; replay from the start, or use the program that wrote it"
            ),
            StateError::Damaged => f.write_str("the state of a threshold is damaged; replay from the start"),
        }
    }
}

impl std::error::Error for StateError {}

impl Rule {
    /// What applies as long as nothing has been learned.
    fn begins_with(self) -> f64 {
        let (Rule::Fixed(value) | Rule::Rate { until: value, .. } | Rule::Grade { until: value, .. }) = self;
        value
    }

    /// What tells it from any other: its kind and its figures.
    fn to_bytes(self) -> [u8; 17] {
        let (kind, figure) = match self {
            Rule::Fixed(_) => (0, 0.0),
            Rule::Rate { share, .. } => (1, share),
            Rule::Grade { least, .. } => (2, least),
        };
        let mut bytes = [kind; 17];
        bytes[1..9].copy_from_slice(&f64::to_le_bytes(figure));
        bytes[9..].copy_from_slice(&self.begins_with().to_le_bytes());
        bytes
    }
}

impl Threshold {
    pub fn new(rule: Rule) -> Threshold {
        Threshold {
            rule,
            value: rule.begins_with(),
            seen: 0,
            history: History::default(),
        }
    }

    /// What applies to the next score.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Whether it depends on scores.
    pub fn is_learned(&self) -> bool {
        !matches!(self.rule, Rule::Fixed(_))
    }

    /// For how many scores it applies before it may change.
    pub fn stays_for(&self) -> usize {
        match self.rule {
            Rule::Fixed(_) => usize::MAX,
            _ => (STRETCH - self.seen % STRETCH) as usize,
        }
    }

    /// Takes a score that it has been applied to.
    pub fn learn(&mut self, score: f64) {
        let most = match self.rule {
            Rule::Fixed(_) => return,
            // A share must be of so many scores that some of them reach it.
            Rule::Rate { share, .. } => REMEMBERED.max((2.0 * REACHING / share) as u64),
            Rule::Grade { .. } => REMEMBERED,
        };
        self.history.count(score, most);
        self.seen += 1;
        if self.seen.is_multiple_of(STRETCH) {
            self.value = self.learned().unwrap_or(self.value);
        }
    }

    /// What the history comes to; `None` while it is too short.
    fn learned(&self) -> Option<f64> {
        let known = self.history.total();
        match self.rule {
            Rule::Fixed(_) => None,
            Rule::Rate { share, .. } => {
                let enough = known >= LEAST && known as f64 * share >= 1.0;
                self.history.reached_by(share).filter(|_| enough)
            }
            Rule::Grade { least, .. } => {
                let (median, _) = self.history.around(0.5).filter(|_| known >= LEAST)?;
                let (_, upper) = self.history.around(0.9)?;
                Some(median + (upper - median) / (1.0 - least))
            }
        }
    }

    /// Appends all that later thresholds depend on, some hundred bytes: version, rule, value, scores seen, and the bins with their counts.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.rule.to_bytes());
        out.extend_from_slice(&self.value.to_le_bytes());
        out.extend_from_slice(&self.seen.to_le_bytes());
        for (bin, count) in &self.history.bins {
            out.extend_from_slice(&bin.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    /// A threshold as [`write_state`](Threshold::write_state) left it; `state` is all that was written. Under another `rule` than
    /// it was made with it keeps its history, and what applies is what the new rule learns from that.
    ///
    /// # Errors
    /// Bytes that no threshold was written as, or another version's.
    pub fn read_state(rule: Rule, state: &[u8]) -> Result<Threshold, StateError> {
        let (version, rest) = state.split_first().ok_or(StateError::Damaged)?;
        if *version != VERSION {
            return Err(StateError::Version(*version));
        }
        let (made_with, rest) = rest.split_first_chunk::<17>().ok_or(StateError::Damaged)?;
        let (value, rest) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
        let (seen, rest) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
        let (value, seen) = (f64::from_le_bytes(*value), u64::from_le_bytes(*seen));
        let (entries, left) = rest.as_chunks::<6>();
        let pairs = entries
            .iter()
            .map(|[a, b, count @ ..]| (i16::from_le_bytes([*a, *b]), u32::from_le_bytes(*count)));
        let bins: std::collections::BTreeMap<i16, u32> = pairs.collect();
        // Far beyond what is ever remembered, and far from what the counters hold.
        let sound = seen <= i64::MAX as u64 && value.is_finite();
        let whole = sound && left.is_empty() && bins.len() == entries.len();
        let history = History::from_bins(bins).filter(|history| whole && history.total() <= seen.min(1 << 31));
        let mut threshold = Threshold {
            rule,
            value,
            seen,
            history: history.ok_or(StateError::Damaged)?,
        };
        if *made_with != rule.to_bytes() {
            threshold.value = threshold.learned().unwrap_or(rule.begins_with());
        }
        Ok(threshold)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> impl Strategy<Value = Rule> {
        prop_oneof![
            Just(Rule::Fixed(2.0)),
            (0.001..0.2f64).prop_map(|share| Rule::Rate { share, until: 2.0 }),
            (0.0..0.95f64).prop_map(|least| Rule::Grade { least, until: 2.0 }),
        ]
    }

    proptest! {
        #[test]
        fn a_state_that_was_read_goes_on_as_the_one_that_was_written(
            rule in rules(), scores in proptest::collection::vec(0.2..8.0f64, 0..900), cut in 0usize..900,
        ) {
            let (before, after) = scores.split_at(cut.min(scores.len()));
            let mut one = Threshold::new(rule);
            before.iter().for_each(|score| one.learn(*score));
            let mut state = Vec::new();
            one.write_state(&mut state);
            let mut other = Threshold::read_state(rule, &state).expect("just written");
            for score in after {
                prop_assert_eq!(one.value().to_bits(), other.value().to_bits());
                one.learn(*score);
                other.learn(*score);
            }
            prop_assert_eq!(one, other);
        }

        #[test]
        fn no_bytes_break_it(rule in rules(), mut state in proptest::collection::vec(any::<u8>(), 0..60), known: bool) {
            if let (Some(version), true) = (state.first_mut(), known) {
                *version = VERSION;
            }
            if let Ok(mut threshold) = Threshold::read_state(rule, &state) {
                (0..200).for_each(|_| threshold.learn(1.0));
            }
        }

        #[test]
        fn it_changes_only_where_it_says(rule in rules(), scores in proptest::collection::vec(0.2..8.0f64, 1..900)) {
            let mut threshold = Threshold::new(rule);
            let (mut value, mut stays) = (threshold.value(), threshold.stays_for());
            for score in scores {
                if stays == 0 {
                    (value, stays) = (threshold.value(), threshold.stays_for());
                }
                prop_assert_eq!(threshold.value(), value);
                threshold.learn(score);
                stays -= 1;
            }
        }
    }

    /// Scores as a forest gives them, more or less: a bulk, and a tail to the right. Deterministic.
    fn scores(count: usize) -> impl Iterator<Item = f64> {
        let mut state = 7u64;
        (0..count).map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let uniform = ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            0.8 - 0.12 * libm::log(uniform)
        })
    }

    #[test]
    fn a_rate_is_met_in_the_long_run_whatever_the_scale() {
        for (share, scale) in [(0.05, 1.0), (0.01, 0.1), (0.001, 3.0)] {
            let mut threshold = Threshold::new(Rule::Rate { share, until: f64::MAX });
            let count = 300_000;
            let mut flagged = 0;
            for score in scores(count).map(|score| scale * score) {
                flagged += u32::from(score >= threshold.value());
                threshold.learn(score);
            }
            let rate = f64::from(flagged) / count as f64;
            assert!((0.7..1.1).contains(&(rate / share)), "{share}: {rate}");
        }
    }

    #[test]
    fn a_grade_flags_what_stands_out_and_little_else_and_follows_a_change_of_scale() {
        let mut threshold = Threshold::new(Rule::Grade { least: 0.8, until: 2.0 });
        for scale in [1.0, 0.5] {
            let mut flagged = 0;
            for score in scores(200_000).map(|score| scale * score) {
                flagged += u32::from(score >= threshold.value());
                threshold.learn(score);
            }
            assert!(flagged < 200, "{flagged}");
            assert!(
                (1.5 * scale..2.5 * scale).contains(&threshold.value()),
                "{}",
                threshold.value()
            );
        }
        let mut short = Threshold::new(Rule::Grade { least: 0.8, until: 2.0 });
        (0..255).for_each(|_| short.learn(0.5));
        assert_eq!(short.value(), 2.0, "too little is known");
    }

    #[test]
    fn another_rule_goes_on_with_the_history_and_not_with_the_value() {
        let mut state = Vec::new();
        let mut threshold = Threshold::new(Rule::Grade { least: 0.5, until: 2.0 });
        scores(512).for_each(|score| threshold.learn(score));
        threshold.write_state(&mut state);
        let read = |rule| Threshold::read_state(rule, &state).expect("just written").value();
        assert_eq!(read(Rule::Fixed(3.0)), 3.0);
        let strict = Rule::Grade { least: 0.8, until: 2.0 };
        let mut from_the_start = Threshold::new(strict);
        scores(512).for_each(|score| from_the_start.learn(score));
        assert_eq!(read(strict), from_the_start.value());
        assert!(read(strict) > threshold.value());
    }

    #[test]
    fn states_of_other_versions_and_damaged_ones_are_told_apart() {
        let rule = Rule::Grade { least: 0.5, until: 2.0 };
        assert_eq!(Threshold::read_state(rule, &[9]), Err(StateError::Version(9)));
        let mut state = Vec::new();
        let mut threshold = Threshold::new(rule);
        scores(500).for_each(|score| threshold.learn(score));
        threshold.write_state(&mut state);
        assert!(state.len() < 1000, "{}", state.len());
        assert_eq!(
            Threshold::read_state(rule, &state[..state.len() - 1]),
            Err(StateError::Damaged)
        );
    }
}
