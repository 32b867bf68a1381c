//! The rows of an epoch in the batches in which they came. In: batches, each from one worker. Out: all rows in one piece, in order if
//! that is asked for.
//!
//! What one worker sends is in order already, nearly always. So batches are put behind each other or merged, and each row is moved
//! once; to append and to sort them moves a row of some hundred bytes several times, and was most of what a second worker cost.

use std::cmp::Ordering;
use std::vec;

/// The first row of so many runs is found by looking at all of them each time; the rows of more runs are sorted.
const MERGED_AT_MOST: usize = 8;

/// Rows in batches, none of which is empty.
pub(super) struct Batches<D>(Vec<Vec<D>>);

impl<D> Default for Batches<D> {
    fn default() -> Self {
        Batches(Vec::new())
    }
}

impl<D> Batches<D> {
    pub(super) fn add(&mut self, batch: Vec<D>) {
        if !batch.is_empty() {
            self.0.push(batch);
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The rows as they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &D> {
        self.0.iter().flatten()
    }

    /// The rows as they came, in one piece.
    pub(super) fn into_rows(self) -> Vec<D> {
        concatenate(self.0)
    }

    /// The rows in one piece, in this order. What is equal in it comes in any order.
    pub(super) fn in_order(self, mut order: impl FnMut(&D, &D) -> Ordering) -> Vec<D> {
        let count = self.len();
        let mut runs = self.runs(&mut order);
        if runs.len() <= 1 {
            return concatenate(runs.pop().map_or_else(Vec::new, |run| run.batches));
        }
        let mut rows = Vec::with_capacity(count);
        rows.extend(Merged::new(runs, order));
        rows
    }

    /// The rows one by one in this order: for those who want no more than to see each once.
    pub(super) fn merged<O: FnMut(&D, &D) -> Ordering>(self, mut order: O) -> Merged<D, O> {
        Merged::new(self.runs(&mut order), order)
    }

    /// As few runs as can be put together: nearly always one for each worker that sends, or a single one.
    fn runs(mut self, mut order: impl FnMut(&D, &D) -> Ordering) -> Vec<Run<D>> {
        for batch in &mut self.0 {
            if !batch.is_sorted_by(|a, b| order(a, b).is_le()) {
                batch.sort_by(&mut order);
            }
        }
        self.0.sort_by(|a, b| order(&a[0], &b[0])); // none is empty
        let mut runs: Vec<Run<D>> = Vec::new();
        for batch in self.0 {
            let before = runs.iter_mut().find(|run| order(run.last(), &batch[0]).is_le());
            match before {
                Some(run) => run.batches.push(batch),
                None => runs.push(Run { batches: vec![batch] }),
            }
        }
        if runs.len() > MERGED_AT_MOST {
            let mut rows = concatenate(runs.into_iter().flat_map(|run| run.batches).collect());
            rows.sort_by(order);
            runs = vec![Run { batches: vec![rows] }];
        }
        runs
    }
}

/// Moves nothing where there is one batch: most epochs come whole.
fn concatenate<D>(mut batches: Vec<Vec<D>>) -> Vec<D> {
    if batches.len() <= 1 {
        return batches.pop().unwrap_or_default();
    }
    let mut rows = Vec::with_capacity(batches.iter().map(Vec::len).sum());
    batches.iter_mut().for_each(|batch| rows.append(batch));
    rows
}

impl<D> IntoIterator for Batches<D> {
    type Item = D;
    type IntoIter = std::iter::Flatten<vec::IntoIter<Vec<D>>>;

    /// The rows as they came.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// Batches that follow each other in an order; at least one.
struct Run<D> {
    batches: Vec<Vec<D>>,
}

impl<D> Run<D> {
    fn last(&self) -> &D {
        let last = self.batches.last().and_then(|batch| batch.last());
        last.expect("a run begins with a batch, and none is empty")
    }
}

/// The rows of runs in the order that each is in.
pub(super) struct Merged<D, O> {
    rests: Vec<Rest<D>>,
    order: O,
}

/// What is left of a run, at least a row: of the batch at hand, and the batches behind it.
struct Rest<D> {
    at_hand: vec::IntoIter<D>,
    behind: vec::IntoIter<Vec<D>>,
}

impl<D> Rest<D> {
    fn head(&self) -> Option<&D> {
        self.at_hand.as_slice().first()
    }

    /// Goes on to the next batch where the one at hand is at its end; whether there is a row left.
    fn goes_on(&mut self) -> bool {
        if self.at_hand.as_slice().is_empty()
            && let Some(batch) = self.behind.next()
        {
            self.at_hand = batch.into_iter();
        }
        !self.at_hand.as_slice().is_empty()
    }
}

impl<D, O: FnMut(&D, &D) -> Ordering> Merged<D, O> {
    fn new(runs: Vec<Run<D>>, order: O) -> Merged<D, O> {
        let begin = |run: Run<D>| {
            let mut behind = run.batches.into_iter();
            let at_hand = behind.next().unwrap_or_default().into_iter();
            Rest { at_hand, behind }
        };
        let rests = runs.into_iter().map(begin).collect();
        Merged { rests, order }
    }
}

impl<D, O: FnMut(&D, &D) -> Ordering> Iterator for Merged<D, O> {
    type Item = D;

    fn next(&mut self) -> Option<D> {
        let mut first = 0;
        for at in 1..self.rests.len() {
            if let (Some(one), Some(other)) = (self.rests[at].head(), self.rests[first].head())
                && (self.order)(one, other).is_lt()
            {
                first = at;
            }
        }
        let row = self.rests.get_mut(first)?.at_hand.next();
        if !self.rests[first].goes_on() {
            self.rests.swap_remove(first);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of<D>(batches: Vec<Vec<D>>) -> Batches<D> {
        let mut all = Batches::default();
        batches.into_iter().for_each(|batch| all.add(batch));
        all
    }

    /// Numbers, each with its place: of a few senders that are in order, or of anybody.
    fn batches() -> impl Strategy<Value = Vec<Vec<(u8, usize)>>> {
        let numbers = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..7);
        (numbers, any::<bool>()).prop_map(|(mut batches, in_order)| {
            if in_order {
                batches.iter_mut().for_each(|batch| batch.sort_unstable());
            }
            let mut place = 0..;
            let placed = |batch: Vec<u8>| batch.into_iter().zip(&mut place).collect();
            batches.into_iter().map(placed).collect()
        })
    }

    proptest! {
        #[test]
        fn no_row_is_lost_or_comes_twice_and_they_come_as_asked_for(batches in batches()) {
            let mut want = batches.concat();
            prop_assert_eq!(of(batches.clone()).len(), want.len());
            prop_assert_eq!(of(batches.clone()).iter().copied().collect::<Vec<_>>(), want.clone());
            prop_assert_eq!(of(batches.clone()).into_iter().collect::<Vec<_>>(), want.clone());
            prop_assert_eq!(of(batches.clone()).into_rows(), want.clone());
            let mut rows = of(batches.clone()).in_order(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(&of(batches).merged(|a, b| a.0.cmp(&b.0)).collect::<Vec<_>>(), &rows);
            prop_assert!(rows.is_sorted_by_key(|(number, _)| *number));
            rows.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(rows, want);
        }

        #[test]
        fn what_several_senders_send_in_order_is_merged(
            number in 1usize..12, senders in proptest::collection::vec(0usize..12, 0..300), pieces in 1usize..40,
        ) {
            let mut batches = Vec::new();
            for sender in 0..number {
                let own = (0..senders.len()).filter(|place| senders[*place] % number == sender);
                let own: Vec<usize> = own.collect();
                batches.extend(own.chunks(pieces).map(<[usize]>::to_vec));
            }
            let by = senders.len() % batches.len().max(1);
            batches.rotate_left(by);
            prop_assert_eq!(of(batches).in_order(Ord::cmp), (0..senders.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_whole_epoch_is_not_moved() {
        let whole = of(vec![(0..1000).collect(), Vec::new()]);
        let place = whole.0[0].as_ptr();
        let rows = whole.in_order(u64::cmp);
        assert_eq!((rows.as_ptr(), rows.len()), (place, 1000));
    }
}
