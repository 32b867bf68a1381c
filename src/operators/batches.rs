//! The rows of an epoch in the batches in which they came. In: batches, each from one worker. Out: all rows in one piece, in order if
//! that is asked for.
//!
//! What one worker sends is in order already, nearly always. So batches are put behind each other or merged, and each row is moved
//! once; to append and to sort them moves a row of some hundred bytes several times, and was most of what a second worker cost.

use std::cmp::Ordering;
use std::vec;

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
    pub(super) fn into_rows(mut self) -> Vec<D> {
        if self.0.len() <= 1 {
            return self.0.pop().unwrap_or_default(); // most epochs come whole: nothing to move
        }
        let mut rows = Vec::with_capacity(self.len());
        self.0.iter_mut().for_each(|batch| rows.append(batch));
        rows
    }

    /// The rows in one piece, in this order. What is equal in it comes in any order.
    pub(super) fn in_order(mut self, mut order: impl FnMut(&D, &D) -> Ordering) -> Vec<D> {
        for batch in &mut self.0 {
            if !batch.is_sorted_by(|a, b| order(a, b).is_le()) {
                batch.sort_by(&mut order);
            }
        }
        if self.0.len() <= 1 {
            return self.into_rows();
        }
        let rows = self.len();
        self.0.sort_by(|a, b| order(&a[0], &b[0])); // none is empty
        let mut runs: Vec<Run<D>> = Vec::new();
        for batch in self.0 {
            let before = runs.iter_mut().find(|run| order(run.last(), &batch[0]).is_le());
            match before {
                Some(run) => run.batches.push(batch),
                None => runs.push(Run { batches: vec![batch] }),
            }
        }
        merge(runs, rows, order)
    }
}

impl<D> IntoIterator for Batches<D> {
    type Item = D;
    type IntoIter = std::iter::Flatten<vec::IntoIter<Vec<D>>>;

    /// The rows as they came.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// Batches that follow each other in the order; at least one.
struct Run<D> {
    batches: Vec<Vec<D>>,
}

impl<D> Run<D> {
    fn last(&self) -> &D {
        let last = self.batches.last().and_then(|batch| batch.last());
        last.expect("a run begins with a batch, and none is empty")
    }
}

/// A run on its way: what is left of the batch at hand, and the batches behind it.
struct Rest<D> {
    at_hand: vec::IntoIter<D>,
    behind: vec::IntoIter<Vec<D>>,
}

impl<D> Rest<D> {
    fn head(&self) -> Option<&D> {
        self.at_hand.as_slice().first()
    }

    fn next(&mut self) -> Option<D> {
        let row = self.at_hand.next();
        if self.at_hand.as_slice().is_empty()
            && let Some(batch) = self.behind.next()
        {
            self.at_hand = batch.into_iter();
        }
        row
    }
}

/// The rows of all runs, `count` in all, in the order that each is in. There are as many runs as workers that send, so that the first
/// is found by looking at all.
fn merge<D>(runs: Vec<Run<D>>, count: usize, mut order: impl FnMut(&D, &D) -> Ordering) -> Vec<D> {
    let mut rows = Vec::with_capacity(count);
    let begin = |run: Run<D>| {
        let mut behind = run.batches.into_iter();
        let at_hand = behind.next().unwrap_or_default().into_iter();
        Rest { at_hand, behind }
    };
    let mut rests: Vec<Rest<D>> = runs.into_iter().map(begin).collect();
    while rests.len() > 1 {
        let mut first = 0;
        for at in 1..rests.len() {
            if let (Some(one), Some(other)) = (rests[at].head(), rests[first].head())
                && order(one, other).is_lt()
            {
                first = at;
            }
        }
        rows.extend(rests[first].next());
        if rests[first].head().is_none() {
            rests.swap_remove(first);
        }
    }
    for rest in rests {
        rows.extend(rest.at_hand);
        rest.behind.for_each(|mut batch| rows.append(&mut batch));
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(batches: Vec<Vec<(u8, usize)>>) -> Batches<(u8, usize)> {
        let mut all = Batches::default();
        batches.into_iter().for_each(|batch| all.add(batch));
        all
    }

    /// Numbers, each with its place: of a few senders that are in order, or of anybody.
    fn batches() -> impl Strategy<Value = Vec<Vec<(u8, usize)>>> {
        let any = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..7);
        (any, any::<bool>()).prop_map(|(mut batches, in_order)| {
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
            let mut rows = of(batches).in_order(|a, b| a.0.cmp(&b.0));
            prop_assert!(rows.is_sorted_by_key(|(number, _)| *number));
            rows.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(rows, want);
        }

        #[test]
        fn what_several_senders_send_in_order_is_merged(
            senders in proptest::collection::vec(0usize..4, 0..300), pieces in 1usize..40,
        ) {
            let mut batches = Vec::new();
            for sender in 0..4 {
                let own = (0..senders.len()).filter(|place| senders[*place] == sender);
                let own: Vec<usize> = own.collect();
                batches.extend(own.chunks(pieces).map(<[usize]>::to_vec));
            }
            batches.rotate_left(senders.len() % batches.len().max(1));
            let mut all = Batches::default();
            batches.into_iter().for_each(|batch| all.add(batch));
            prop_assert_eq!(all.in_order(Ord::cmp), (0..senders.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_whole_epoch_is_not_moved() {
        let batch: Vec<u64> = (0..1000).collect();
        let place = batch.as_ptr();
        let mut all = Batches::default();
        all.add(Vec::new());
        all.add(batch);
        assert_eq!(all.in_order(Ord::cmp).as_ptr(), place);
    }
}
