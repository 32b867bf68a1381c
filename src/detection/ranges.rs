//! Ranges of measures: a second way to be an anomaly.

/// The lowest and the highest ordinary value of each measure, in their order; infinite ones bound nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges(pub Vec<(f64, f64)>);

impl Ranges {
    /// Whether a measure lies outside. A missing one (NaN) does not, nor does one without a range.
    pub fn is_outside(&self, measures: &[f64]) -> bool {
        let outside = |(value, (low, high)): (&f64, &(f64, f64))| value < low || value > high;
        measures.iter().zip(&self.0).any(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside_and_missing_measures_are_never_outside() {
        let ranges = Ranges(vec![(40.0, 150.0), (f64::NEG_INFINITY, f64::INFINITY)]);
        for (measures, outside) in [
            ([40.0, 1e30], false),
            ([150.0, -1e30], false),
            ([39.9, 0.0], true),
            ([150.1, 0.0], true),
            ([f64::NAN, f64::NAN], false),
        ] {
            assert_eq!(ranges.is_outside(&measures), outside, "{measures:?}");
        }
        assert!(!Ranges::default().is_outside(&[1e30]));
    }
}
