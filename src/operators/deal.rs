//! Who has which trees of a key's forest, and what the workers tell each other about them.
//!
//! A key has an owner, as everywhere, whose work with a point is more than its trees: it makes the points, judges them and writes the
//! rows. That is counted as if it were trees, and the key's trees are dealt so that all workers have as much to do: else the owner of
//! more keys than the others is who all wait for.
//! But for the points themselves all that travels is plain rows, of a length that is a multiple of 8 bytes, as timely aligns messages.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use timely::dataflow::{Scope, Stream};

use super::wire::Plain;
use crate::record::Key;
use crate::source::Time;

/// How trees are dealt out.
#[derive(Clone, Copy)]
pub(super) struct Deal {
    worker: u64,
    workers: u64,
    trees: usize,
    owners_work: usize,
}

impl Deal {
    /// `owners_work` is what an owner does with a point besides, in trees.
    pub(super) fn new(scope: &Scope<'_, Time>, trees: usize, owners_work: usize) -> Deal {
        Deal {
            worker: scope.index() as u64,
            workers: scope.peers() as u64,
            trees,
            owners_work,
        }
    }

    /// As the only worker.
    #[cfg(test)]
    pub(super) fn of_one(trees: usize) -> Deal {
        Deal {
            worker: 0,
            workers: 1,
            trees,
            owners_work: 0,
        }
    }

    /// This worker.
    pub(super) fn me(self) -> u32 {
        self.worker as u32
    }

    /// Whether the key with this route is this worker's.
    pub(super) fn owns(self, route: u64) -> bool {
        route % self.workers == self.worker
    }

    /// This worker's trees of the key with this route.
    pub(super) fn trees(self, route: u64) -> Range<usize> {
        self.trees_of((self.worker + self.workers - route % self.workers) % self.workers)
    }

    /// The workers that have trees of it.
    pub(super) fn workers(self, route: u64) -> impl Iterator<Item = u32> {
        let having = (0..self.workers).filter(move |behind| !self.trees_of(*behind).is_empty());
        having.map(move |behind| ((route % self.workers + behind) % self.workers) as u32)
    }

    /// The trees of the worker so many behind a key's owner.
    fn trees_of(self, behind: u64) -> Range<usize> {
        let (behind, workers) = (behind as usize, self.workers as usize);
        let owners = ((self.trees + self.owners_work) / workers).saturating_sub(self.owners_work);
        // where the share of the worker so many behind the first of the others begins
        let begin = |at: usize| owners + (self.trees - owners) * at / (workers - 1);
        match behind {
            0 => 0..owners,
            _ => begin(behind - 1)..begin(behind),
        }
    }
}

/// A key's points of one epoch, in order, for a worker that has trees of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Points {
    pub(super) to: u32,
    /// The key's owner.
    pub(super) from: u32,
    /// Of the first, among all points of the epoch that come from there.
    pub(super) place: u32,
    pub(super) key: Key,
    /// How many points the key had before.
    pub(super) first: u64,
    pub(super) values: Vec<f32>,
}

impl Points {
    /// To all who have trees of the key with this route.
    pub(super) fn deliver(self, route: u64, deal: Deal, out: &mut Vec<Points>) {
        if self.values.is_empty() {
            return;
        }
        let mut workers = deal.workers(route);
        let last = workers.next();
        out.extend(workers.map(|to| Points { to, ..self.clone() }));
        out.extend(last.map(|to| Points { to, ..self }));
    }
}

/// Shares of scores, on their way to the owners.
pub(super) type Shares<'scope> = Stream<'scope, Time, Plain<Share>>;

/// What some trees add to the score of the point at a place; NaN: none yet.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Share {
    pub(super) to: u32,
    pub(super) place: u32,
    pub(super) sum: f64,
}

/// What all trees together say of an epoch's so many points, by place.
pub(super) fn sums<'a>(shares: impl Iterator<Item = &'a Share>, points: usize) -> Vec<f64> {
    let mut sums = vec![0.0; points];
    for share in shares {
        sums[share.place as usize] += share.sum;
    }
    sums
}

/// Asks for the attribution of the point at a place, among those that came from the asking worker.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Asked {
    pub(super) to: u32,
    pub(super) from: u32,
    pub(super) place: u64,
}

/// What some trees add to the part of a measure in the attribution of the point at a place.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct MeasurePart {
    pub(super) to: u32,
    pub(super) place: u32,
    pub(super) measure: u64,
    pub(super) high: f64,
    pub(super) low: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::bytes::arc::BytesMut;
    use timely::dataflow::channels::ContainerBytes;

    use super::*;

    fn comes_back<T: Pod + PartialEq + std::fmt::Debug>(rows: Vec<T>) {
        let sent = Plain(rows.clone());
        let mut bytes = Vec::new();
        sent.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), sent.length_in_bytes());
        assert_eq!(bytes.len() % 8, 0);
        let Plain(received) = Plain::<T>::from_bytes(BytesMut::from(bytes).freeze());
        assert_eq!(received, rows);
    }

    proptest! {
        #[test]
        fn rows_come_back_from_the_wire(rows in proptest::collection::vec((any::<u32>(), any::<u32>(), 0u64..999, 0.0..1.0f64), 0..99)) {
            comes_back(rows.iter().map(|(to, place, _, sum)| Share { to: *to, place: *place, sum: *sum }).collect());
            comes_back(rows.iter().map(|(to, from, place, _)| Asked { to: *to, from: *from, place: *place }).collect());
            let part = |(to, place, measure, part): &(u32, u32, u64, f64)| {
                MeasurePart { to: *to, place: *place, measure: *measure, high: *part, low: -part }
            };
            comes_back(rows.iter().map(part).collect());
        }

        #[test]
        fn every_tree_is_somebodys_and_nobody_has_much_more_to_do_than_another(
            route: u64, workers in 1u64..20, trees in 1usize..200, owners_work in 0usize..20,
        ) {
            let deals: Vec<Deal> = (0..workers).map(|worker| Deal { worker, workers, trees, owners_work }).collect();
            let mut dealt: Vec<usize> = deals.iter().flat_map(|deal| deal.trees(route)).collect();
            dealt.sort_unstable();
            prop_assert_eq!(dealt, (0..trees).collect::<Vec<_>>());
            let of_others = deals.iter().filter(|deal| !deal.owns(route)).map(|deal| deal.trees(route).len());
            let (least, most) = of_others.fold((usize::MAX, 0), |(least, most), count| (least.min(count), most.max(count)));
            prop_assert!(most <= least.saturating_add(1));
            let owner = deals.iter().find(|deal| deal.owns(route)).expect("one of them").trees(route).len();
            let owner_has_enough = owner == 0 && least <= owners_work;
            prop_assert!(workers == 1 || owner_has_enough || least.abs_diff(owner + owners_work) <= 1);
            let mut having: Vec<u32> = deals[0].workers(route).collect();
            having.sort_unstable();
            let want = deals.iter().filter(|deal| !deal.trees(route).is_empty());
            prop_assert_eq!(having, want.map(|deal| deal.me()).collect::<Vec<_>>());
        }
    }
}
