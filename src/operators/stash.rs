//! Rows that wait until their epoch is complete, or due for another reason. In: rows as they come; out: an epoch's, the earliest first.

use std::array;
use std::collections::BTreeMap;

use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::progress::frontier::MutableAntichain;

use super::batches::Batches;
use super::wire::Plain;
use crate::source::Time;

/// A batch of rows, in whichever form it travels.
pub(super) trait Batch<D> {
    fn rows(&mut self) -> &mut Vec<D>;
}

impl<D> Batch<D> for Vec<D> {
    fn rows(&mut self) -> &mut Vec<D> {
        self
    }
}

impl<D> Batch<D> for Plain<D> {
    fn rows(&mut self) -> &mut Vec<D> {
        &mut self.0
    }
}

/// Rows by epoch, each epoch with the capabilities to answer on the operator's `N` outputs.
pub(super) struct Stash<D, const N: usize = 1> {
    held: BTreeMap<Time, ([Capability<Time>; N], Batches<D>)>,
}

impl<D, const N: usize> Default for Stash<D, N> {
    fn default() -> Self {
        Stash { held: BTreeMap::new() }
    }
}

impl<D: 'static, const N: usize> Stash<D, N> {
    /// Takes everything that has arrived.
    pub(super) fn fill<C, P>(&mut self, input: &mut InputHandleCore<Time, C, P>)
    where
        C: Batch<D> + Default + timely::Accountable,
        P: Pull<Message<Time, C>>,
    {
        input.for_each_stamp(|stamp, batches| {
            let Some(time) = stamp.least().copied() else { return };
            let (_, rows) = self.held.entry(time).or_insert_with(|| {
                let capabilities = array::from_fn(|output| stamp.delayed(&time, output));
                (capabilities, Batches::default())
            });
            batches.for_each(|batch| rows.add(std::mem::take(batch.rows())));
        });
    }

    /// The earliest epoch, once no more rows can come for it.
    pub(super) fn complete(
        &mut self,
        frontier: &MutableAntichain<Time>,
    ) -> Option<([Capability<Time>; N], Batches<D>)> {
        self.due(|time, _| !frontier.less_equal(&time))
    }

    /// What there is of the earliest epoch, if that is due.
    pub(super) fn due(
        &mut self,
        is_due: impl FnOnce(Time, &Batches<D>) -> bool,
    ) -> Option<([Capability<Time>; N], Batches<D>)> {
        let first = self.held.first_entry()?;
        is_due(*first.key(), &first.get().1).then(|| first.remove())
    }

    /// How many rows there are of an epoch.
    pub(super) fn count(&self, time: Time) -> usize {
        self.held.get(&time).map_or(0, |(_, rows)| rows.len())
    }

    /// The rows of an epoch, as far as they have come.
    pub(super) fn take(&mut self, time: Time) -> Batches<D> {
        self.held.remove(&time).map_or_else(Batches::default, |(_, rows)| rows)
    }

    /// The earliest epoch's time, complete or not.
    pub(super) fn earliest(&self) -> Option<Time> {
        self.held.first_key_value().map(|(time, _)| *time)
    }
}
