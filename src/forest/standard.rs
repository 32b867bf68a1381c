//! Measures of different scale, brought to one. In: a measure's values in the order of a key's readings; out: how many standard
//! deviations each lies from their mean.
//!
//! Cuts fall in proportion to a dimension's range: a blood pressure in pascals would get nearly all of them, a temperature none. Mean
//! and deviation lose what is old at the forest's own rate (West, "Updating Mean and Variance Estimates: An Improved Method", CACM
//! 1979, with weights that decay). They take a value in before it is measured by them, so that the second value ever is no wonder; and
//! once they are settled, one that is far out counts as [`FARTHEST`] deviations, so that a broken sensor does not blind the forest for long.

/// Values that settle a mean and a deviation.
const SETTLED: f64 = 100.0;
/// Deviations beyond which all is equally far.
const FARTHEST: f64 = 10.0;

/// Mean and deviation of one measure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) weight: f64,
    pub(super) mean: f64,
    /// Weighted sum of the squared distances from the mean.
    pub(super) squares: f64,
}

impl Moments {
    /// Takes a value in; what was before keeps the part `keep` of its weight.
    pub(super) fn take(&mut self, value: f64, keep: f64) {
        let farthest = FARTHEST * self.deviation();
        let value = match self.weight >= SETTLED && farthest > 0.0 {
            true => value.clamp(self.mean - farthest, self.mean + farthest),
            false => value,
        };
        self.weight = self.weight * keep + 1.0;
        let distance = value - self.mean;
        self.mean += distance / self.weight;
        self.squares = self.squares * keep + distance * (value - self.mean);
    }

    /// How far a value lies from the mean, in deviations; 0 where all values have been the same.
    pub(super) fn standard(&self, value: f64) -> f64 {
        let deviation = self.deviation();
        match deviation > 0.0 {
            true => ((value - self.mean) / deviation).clamp(-FARTHEST, FARTHEST),
            false => 0.0,
        }
    }

    fn deviation(&self) -> f64 {
        match self.weight > 0.0 {
            true => (self.squares / self.weight).sqrt(),
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standards(values: &[f64], keep: f64) -> Vec<f64> {
        let mut moments = Moments::default();
        let taken = values.iter().map(|value| {
            moments.take(*value, keep);
            moments.standard(*value)
        });
        taken.collect()
    }

    proptest! {
        #[test]
        fn a_unit_and_an_origin_change_nothing(
            values in proptest::collection::vec(-50..50i32, 1..300), unit in -20..20i32, origin in -1000..1000i32, decay in 2..500u32,
        ) {
            // Powers of two and whole numbers, so that nothing is rounded in the change itself.
            let keep = 1.0 - 1.0 / f64::from(decay);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let others: Vec<f64> = values.iter().map(|value| (value + f64::from(origin)) * f64::powi(2.0, unit)).collect();
            for (one, other) in standards(&values, keep).into_iter().zip(standards(&others, keep)) {
                prop_assert!((one - other).abs() < 1e-6, "{} {}", one, other);
            }
        }

        #[test]
        fn what_comes_out_is_finite_and_bounded(values in proptest::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 1..300)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            for standard in standards(&values, 0.99) {
                prop_assert!(standard.abs() <= FARTHEST);
            }
        }
    }

    /// 1, 2, … 9 and again.
    fn ordinary(count: usize) -> Vec<f64> {
        (0..count).map(|n| (n * 7 % 9 + 1) as f64).collect()
    }

    #[test]
    fn ordinary_values_have_the_mean_0_and_the_deviation_1() {
        let standards = standards(&ordinary(9_000), 0.999);
        let late = &standards[4_500..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        let squares = late.iter().map(|standard| standard * standard).sum::<f64>() / late.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((squares - 1.0).abs() < 0.01, "{squares}");
    }

    #[test]
    fn a_broken_sensor_is_far_out_and_does_not_blind() {
        let mut values = ordinary(1_000);
        values.push(65_535.0);
        values.extend(&ordinary(1_009)[1_000..]);
        let seen = standards(&values, 0.999);
        assert_eq!(seen[1_000], FARTHEST);
        let without = standards(&ordinary(1_009), 0.999);
        for (with, without) in seen[1_001..].iter().zip(&without[1_000..]) {
            assert!((with - without).abs() < 0.2, "{with} {without}");
        }
    }

    #[test]
    fn a_new_level_becomes_ordinary() {
        let mut values = ordinary(1_000);
        values.extend(ordinary(20_000).iter().map(|value| value + 1e6));
        let seen = standards(&values, 0.999);
        assert_eq!(seen[1_000], FARTHEST);
        assert!(seen[20_900..].iter().all(|standard| standard.abs() < 2.0));
    }

    #[test]
    fn a_constant_is_0_and_its_first_change_is_not() {
        let mut values = vec![98.0; 500];
        values.push(97.0);
        let seen = standards(&values, 0.999);
        assert!(seen[..500].iter().all(|standard| *standard == 0.0));
        assert_eq!(seen[500], -FARTHEST);
    }
}
