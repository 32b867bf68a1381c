//! Scores and attributions: at every worker, by the trees that it has.
//!
//! Score takes points through the trees as they come and sends their shares back. Until the epoch's owners have judged it, what it has
//! changed in the trees is kept, so that Explain finds them as they were when the point came: it lets go of an epoch when its
//! frontier has passed it. Keys beyond the room for them are put away, but none whose epochs are not judged yet.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use slab::Slab;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, ExchangeCore};
use timely::dataflow::operators::Operator;

use super::super::barrier::{Barrier, TREE, earliest};
use super::super::deal::{Asked, Deal, MeasurePart, Points, Share, Shares};
use super::super::grouping::key_bytes;
use super::super::stash::Stash;
use super::super::wire::Plain;
use super::super::{Rows, route_key};
use super::room::{Room, Tenants};
use super::state;
use crate::cluster::halt;
use crate::forest::{Before, ForestPart, Parameters, Part, Spare};
use crate::record::Key;
use crate::snapshot::{Checkpoints, Entry, SnapshotError, decode, encode};
use crate::source::Time;

/// A worker's trees, shared by the two steps that need them.
pub(super) struct Trees {
    parameters: Parameters,
    deal: Deal,
    places: HashMap<Key, usize>,
    pub(super) stands: Slab<Stand>,
    /// Batches that may still be asked about, by epoch; in each by owner and place.
    open: BTreeMap<Time, Vec<Batch>>,
    pub(super) spare: Spare,
    /// Stands that have seen points since the last commit, where account is kept of it.
    pub(super) changed: Option<Vec<usize>>,
    /// What had changed of those that were put away since the last commit.
    pub(super) put_away: Vec<Entry>,
    tenants: Tenants<usize>,
}

/// A worker's trees of one key.
pub(super) struct Stand {
    pub(super) key: Key,
    pub(super) part: ForestPart,
    /// What its open batches have changed, the oldest first, with their epochs.
    before: VecDeque<(Time, Before)>,
    pub(super) changed: bool,
    /// The number of its last use.
    used: u64,
}

/// A key's points of one epoch.
struct Batch {
    from: u32,
    place: u32,
    stand: usize,
}

/// What Judge sends: whose attributions are wanted.
pub(super) type Questions<'scope> = Stream<'scope, Time, Plain<Asked>>;
/// What Explain sends: shares of attributions.
pub(super) type MeasureParts<'scope> = Stream<'scope, Time, Plain<MeasurePart>>;

/// Scores points with this worker's trees, and has the trees take them in.
pub(super) fn score<'scope>(
    points: Rows<'scope, Points>,
    trees: Rc<RefCell<Trees>>,
    checkpoints: Option<&Checkpoints>,
) -> Shares<'scope> {
    let by_tree = Exchange::new(|points: &Points| u64::from(points.to));
    let mut stash = Stash::<Points>::default();
    let scope = points.scope();
    points.unary_frontier::<CapacityContainerBuilder<Plain<Share>>, _, _, _>(by_tree, "Score", |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut barrier = Barrier::new(checkpoints, capability);
        let mut sums = Vec::new();
        move |(input, frontier), output| {
            stash.fill(input);
            let trees = &mut *trees.borrow_mut();
            if let Some(([capability], points)) = stash.due(|time, _| barrier.may_take(time, frontier)) {
                let time = *capability.time();
                barrier.before(time, || state::changed_trees(trees, usize::MAX));
                let mut session = output.session(&capability);
                for points in points {
                    let (to, place) = (points.from, points.place);
                    trees.score(time, points, &mut sums);
                    let shares = sums.drain(..).zip(place..);
                    session.give_iterator(shares.map(|(sum, place)| Share { to, place, sum }));
                }
                trees.close(time);
            }
            // One epoch at a time, so that those behind it get to judge it and what it has changed need not be kept for long.
            match stash.earliest().is_some_and(|time| barrier.may_take(time, frontier)) {
                true => activator.activate(),
                false => {
                    barrier.passed(earliest([frontier]), || state::changed_trees(trees, usize::MAX));
                    barrier.ahead(|at_most| state::changed_trees(trees, (at_most / TREE).max(1)));
                }
            }
        }
    })
}

/// This worker's trees' shares of the attributions that are asked for.
pub(super) fn explain<'scope>(asked: Questions<'scope>, trees: Rc<RefCell<Trees>>) -> MeasureParts<'scope> {
    let by_tree = ExchangeCore::<CapacityContainerBuilder<Plain<Asked>>, _>::new(|asked: &Asked| u64::from(asked.to));
    asked.unary_frontier::<CapacityContainerBuilder<Plain<MeasurePart>>, _, _, _>(by_tree, "Explain", |_, _| {
        move |(input, frontier), output| {
            let trees = &mut *trees.borrow_mut();
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                // An owner's batches come in order, and lose it where timely groups them by their stamps.
                let mut asked: Vec<Asked> = batches.flat_map(|Plain(batch)| batch.drain(..)).collect();
                asked.sort_unstable_by_key(|asked| (asked.from, asked.place));
                let mut session = output.session(&stamp);
                for Asked { from, place, .. } in asked {
                    let place = place as u32;
                    let parts = trees.explain(time, from, place).into_iter().zip(0..);
                    session.give_iterator(parts.map(|(part, measure)| MeasurePart {
                        to: from,
                        place,
                        measure,
                        high: part.high,
                        low: part.low,
                    }));
                }
            });
            trees.forget(|open| !frontier.less_equal(&open));
        }
    })
}

impl Trees {
    pub(super) fn new(parameters: &Parameters, deal: Deal, room: &Room, account: bool) -> Trees {
        Trees {
            parameters: parameters.clone(),
            deal,
            places: HashMap::new(),
            stands: Slab::new(),
            open: BTreeMap::new(),
            spare: Spare::default(),
            changed: account.then(Vec::new),
            put_away: Vec::new(),
            tenants: Tenants::new(room, room.keys, "trees", deal.me()),
        }
    }

    /// This worker's trees of a key.
    pub(super) fn part(&mut self, key: &Key) -> &mut ForestPart {
        let place = self.stand(key);
        &mut self.stands[place].part
    }

    /// Where they are.
    fn stand(&mut self, key: &Key) -> usize {
        if let Some(&place) = self.places.get(key) {
            self.tenants.used(&mut self.stands[place].used);
            return place;
        }
        let trees = self.deal.trees(route_key(key));
        let bytes = key_bytes(key);
        let mut part = ForestPart::new(&self.parameters, &bytes, trees);
        if let Some(state) = self.tenants.take(&bytes) {
            take_back(&mut part, &state).unwrap_or_else(|e| halt(e));
        }
        let place = self.stands.insert(Stand {
            key: key.clone(),
            part,
            before: VecDeque::new(),
            changed: false,
            used: 0,
        });
        self.places.insert(key.clone(), place);
        self.stands[place].used = self.tenants.come(place);
        let may_leave = |stands: &Slab<Stand>, of: usize| of != place && stands[of].before.is_empty();
        while let Some(leaving) = self.tenants.leaving(|of| may_leave(&self.stands, *of)) {
            self.put_away(leaving);
        }
        place
    }

    fn put_away(&mut self, place: usize) {
        let mut stand = self.stands.remove(place);
        self.places.remove(&stand.key);
        stand.settle(&mut self.spare);
        if stand.changed {
            state::changed_trees_of(&mut stand, usize::MAX, &mut self.put_away);
            self.changed
                .iter_mut()
                .for_each(|changed| changed.retain(|of| *of != place));
        }
        let mut trees: Vec<(u16, Vec<u8>)> = Vec::new();
        stand.part.write_all(|index, state| trees.push((index as u16, state)));
        self.tenants.put(&key_bytes(&stand.key), &encode(None, &trees));
    }

    /// Appends this worker's shares of the points' scores.
    fn score(&mut self, time: Time, points: Points, sums: &mut Vec<f64>) {
        let place = self.stand(&points.key);
        let stand = &mut self.stands[place];
        if let Some(changed) = &mut self.changed
            && !stand.changed
        {
            stand.changed = true;
            changed.push(place);
        }
        stand.settle(&mut self.spare);
        if let Some(before) = stand
            .part
            .score(points.first, points.values, Some(&mut self.spare), sums)
        {
            stand.before.push_back((time, before));
            self.open.entry(time).or_default().push(Batch {
                from: points.from,
                place: points.place,
                stand: place,
            });
        }
    }

    /// All points of an epoch that have come have been scored.
    fn close(&mut self, time: Time) {
        if let Some(batches) = self.open.get_mut(&time) {
            batches.sort_unstable_by_key(|batch| (batch.from, batch.place));
        }
    }

    /// This worker's share of the parts of the measures in an attribution. A key's must be asked for in the order of its points.
    fn explain(&mut self, time: Time, from: u32, place: u32) -> Vec<Part> {
        let mut parts = vec![Part::default(); self.parameters.measures];
        let batches = self.open.get(&time).map_or(&[][..], Vec::as_slice);
        let behind = batches.partition_point(|batch| (batch.from, batch.place) <= (from, place));
        let batch = behind.checked_sub(1).map(|at| &batches[at]);
        let batch = batch.expect("only who has a score is asked about, and its batch is kept until then");
        let stand = &mut self.stands[batch.stand];
        let open = stand.before.make_contiguous();
        let own = open.partition_point(|(epoch, _)| *epoch < time);
        let ((_, own), later) = open[own..].split_first_mut().expect("as above");
        let (row, later) = ((place - batch.place) as usize, later.iter().map(|(_, before)| before));
        stand.part.add_attribution(own, row, later, &mut parts);
        parts
    }

    /// Lets go of the first epochs that nobody will ask about any more.
    fn forget(&mut self, is_judged: impl Fn(Time) -> bool) {
        while let Some(first) = self.open.first_entry().filter(|first| is_judged(*first.key())) {
            for batch in first.remove() {
                if let Some((_, before)) = self.stands[batch.stand].before.pop_front() {
                    before.give_back(&mut self.spare);
                }
            }
        }
    }
}

impl Stand {
    /// Takes in the last point. If a batch is open, it is the last one's.
    pub(super) fn settle(&mut self, spare: &mut Spare) {
        let last = self.before.back_mut().map(|(_, before)| before);
        self.part.settle(last, spare);
    }
}

/// What [`Trees::put_away`] wrote.
fn take_back(part: &mut ForestPart, state: &[u8]) -> Result<(), SnapshotError> {
    let trees: Vec<(u16, Vec<u8>)> = decode(state::NAME, None, state)?;
    for (index, state) in trees {
        part.read_tree(index.into(), &state)
            .map_err(|e| SnapshotError::of(state::NAME, e))?;
    }
    Ok(())
}
