//! `to_owner`: sends each row to the worker that owns it, what a batch has for a worker in one piece.
//!
//! timely's own exchange fills pieces of 8 KB, fifty readings: of an epoch's thousands of rows that makes a hundred messages for each
//! worker, each with a buffer that another worker has to free. What is one worker's altogether goes on as it is.

use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

/// How rows get to their owners.
pub(super) type ToOwner<H> = DistributorPact<Box<dyn FnOnce(usize) -> ByRoute<H>>>;

/// To the worker with the number `route` of a row, modulo the number of workers: as timely's exchange and differential have it.
pub(super) fn to_owner<D, H: Fn(&D) -> u64 + 'static>(route: H) -> ToOwner<H> {
    DistributorPact(Box::new(move |workers| ByRoute {
        route,
        owners: Vec::new(),
        counts: vec![0; workers],
    }))
}

/// Parts batches by their rows' routes.
pub(super) struct ByRoute<H> {
    route: H,
    /// Of each row of the batch at hand its owner.
    owners: Vec<usize>,
    /// Of each worker how many of them it owns.
    counts: Vec<usize>,
}

impl<D, H: Fn(&D) -> u64> Distributor<Vec<D>> for ByRoute<H> {
    fn partition<T: Clone, P: Push<Message<T, Vec<D>>>>(
        &mut self,
        rows: &mut Vec<D>,
        stamp: &Stamp<T>,
        workers: &mut [P],
    ) {
        self.owners.clear();
        self.counts.fill(0);
        for row in rows.iter() {
            let owner = ((self.route)(row) % workers.len() as u64) as usize;
            self.owners.push(owner);
            self.counts[owner] += 1;
        }
        if let Some(only) = self.counts.iter().position(|count| *count == rows.len()) {
            if !rows.is_empty() {
                Message::push_at(rows, stamp.clone(), &mut workers[only]);
            }
            return;
        }
        let mut pieces: Vec<Vec<D>> = self.counts.iter().map(|count| Vec::with_capacity(*count)).collect();
        for (row, owner) in rows.drain(..).zip(&self.owners) {
            pieces[*owner].push(row);
        }
        for (piece, worker) in pieces.iter_mut().zip(workers).filter(|(piece, _)| !piece.is_empty()) {
            Message::push_at(piece, stamp.clone(), worker);
        }
    }

    /// Nothing is held back.
    fn flush<T: Clone, P: Push<Message<T, Vec<D>>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one worker was sent.
    #[derive(Default)]
    struct Sent(Vec<(u64, Vec<u32>)>);

    impl Push<Message<u64, Vec<u32>>> for Sent {
        fn push(&mut self, message: &mut Option<Message<u64, Vec<u32>>>) {
            let Message { stamp, data, .. } = message.take().expect("nothing but messages is pushed");
            let time = *stamp.least().expect("a time");
            self.0.push((time, data));
        }
    }

    proptest! {
        #[test]
        fn every_row_goes_to_its_owner_in_its_order_and_in_one_piece(
            batches in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..50), 0..5), workers in 1usize..6,
        ) {
            let mut by_route = to_owner(|row: &u32| u64::from(*row) / 3).0(workers);
            let mut sent: Vec<Sent> = (0..workers).map(|_| Sent::default()).collect();
            for (batch, time) in batches.iter().zip(0..) {
                by_route.partition(&mut batch.clone(), &Stamp::from_elem(time), &mut sent);
                by_route.flush(&Stamp::from_elem(time), &mut sent);
            }
            for (worker, Sent(got)) in sent.into_iter().enumerate() {
                let own = |batch: &Vec<u32>| -> Vec<u32> {
                    batch.iter().copied().filter(|row| *row as usize / 3 % workers == worker).collect()
                };
                let want = batches.iter().map(own).zip(0..).filter(|(piece, _)| !piece.is_empty());
                prop_assert_eq!(got, want.map(|(piece, time)| (time, piece)).collect::<Vec<_>>());
            }
        }
    }
}
