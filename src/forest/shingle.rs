//! Shingles: the last readings of one device as one point. In: rows of measures; out: points, oldest row first.

/// The last rows of one device. With a length of one, the row is the point.
#[derive(Clone, Debug)]
pub struct Shingle {
    values: Box<[f32]>,
    measures: usize,
    missing: usize,
}

impl Shingle {
    /// Room for `length` rows of `measures` values; each at least one.
    pub fn new(measures: usize, length: usize) -> Shingle {
        let (measures, length) = (measures.max(1), length.max(1));
        Shingle {
            values: vec![0.0; measures * length].into_boxed_slice(),
            measures,
            missing: length,
        }
    }

    /// Rows that make a point.
    pub(super) fn length(&self) -> usize {
        self.values.len() / self.measures
    }

    /// Rows taken so far, counted up to the length.
    pub(super) fn filled(&self) -> usize {
        self.length() - self.missing
    }

    /// The rows that the next one will follow in its point, oldest first.
    pub(super) fn before_next(&self) -> &[f32] {
        let kept = self.filled().min(self.length() - 1);
        &self.values[self.values.len() - kept * self.measures..]
    }

    /// Adds a row of values and gives the point: all rows, oldest first; `None` while there are too few.
    /// Values beyond the number of measures are not taken, and absent ones are 0.
    pub fn push(&mut self, row: impl IntoIterator<Item = f32>) -> Option<&[f32]> {
        let kept = self.values.len() - self.measures;
        if kept > 0 {
            self.values.copy_within(self.measures.., 0);
        }
        let mut row = row.into_iter();
        for value in &mut self.values[kept..] {
            *value = row.next().unwrap_or(0.0);
        }
        self.missing = self.missing.saturating_sub(1);
        (self.missing == 0).then_some(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_hold_the_last_rows_oldest_first() {
        let mut shingle = Shingle::new(2, 3);
        assert_eq!(shingle.push([1.0, 10.0]), None);
        assert_eq!(shingle.push([2.0, 20.0]), None);
        assert_eq!(shingle.push([3.0, 30.0]), Some(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0][..]));
        assert_eq!(shingle.push([4.0, 40.0]), Some(&[2.0, 20.0, 3.0, 30.0, 4.0, 40.0][..]));
    }

    #[test]
    fn a_shingle_of_one_gives_every_row_at_once() {
        let mut shingle = Shingle::new(2, 1);
        assert_eq!(shingle.push([1.0, 2.0]), Some(&[1.0, 2.0][..]));
        assert_eq!(shingle.push([3.0, 4.0]), Some(&[3.0, 4.0][..]));
    }
}
