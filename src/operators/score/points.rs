//! Points out of readings: at the owner of a key, with what is known of the key and of its devices.
//!
//! In: readings by key. Out: the [`Points`] of each key for all workers that have trees of it, and the [`Epoch`] that waits for its
//! scores here. Devices beyond the room for them are put away, and those that have been silent for long.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::super::barrier::{Barrier, earliest};
use super::super::batches::Batches;
use super::super::deal::{Deal, Points};
use super::super::fork::fork_holding;
use super::super::grouping::Grouping;
use super::super::stash::Stash;
use super::super::to_owner::to_owner;
use super::super::{Rows, route_key};
use super::room::{Room, Tenants};
use super::state;
use crate::cluster::halt;
use crate::detection::Ranges;
use crate::forest::{DeviceMemory, KeyMemory, Parameters};
use crate::record::{DeviceId, Key, Reading};
use crate::snapshot::{self, Checkpoints, SnapshotError};

/// Idle devices that leave with an epoch at most.
const LEAVING: usize = 8;

/// All that makes a key's points, but for the readings.
pub(super) struct OfKey {
    pub(super) memory: KeyMemory,
    pub(super) devices: HashMap<DeviceId, OfDevice, foldhash::fast::RandomState>,
    /// Points made.
    pub(super) seen: u64,
    /// Whose memory has changed since the last commit, where account is kept of it; the key's own has if one of them has.
    pub(super) changed: Option<Vec<DeviceId>>,
}

pub(super) struct OfDevice {
    pub(super) memory: DeviceMemory,
    pub(super) changed: bool,
    /// The number of its last use.
    used: u64,
}

/// What there is of each key.
pub(super) struct Sources {
    pub(super) keys: HashMap<Key, OfKey, foldhash::fast::RandomState>,
    /// Those that have changed since the last commit.
    pub(super) changed: Vec<Key>,
    /// What had changed of the devices that were put away since the last commit.
    pub(super) put_away: Vec<snapshot::Entry>,
    devices: Tenants<(Key, DeviceId)>,
}

/// An epoch's readings of one worker, and what is found of them.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) readings: Vec<Reading>,
    /// The same keys' behind each other, each key's in source order.
    pub(super) candidates: Vec<Candidate>,
    /// Of each key where its candidates begin.
    pub(super) keys: Vec<(Key, usize)>,
    pub(super) points: usize,
    /// How many shares of scores all workers together send back.
    pub(super) shares: usize,
    /// Of each reading, once they are judged.
    pub(super) findings: Vec<Finding>,
    /// Those whose attributions are wanted, in the order of their places.
    pub(super) strange: Vec<Strange>,
}

/// A reading that something is to be found of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) reading: usize,
    /// Of its point, if it has one.
    pub(super) place: Option<u32>,
    /// Whether it is an anomaly whatever its score.
    pub(super) outside: bool,
}

/// What is found of a reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Finding {
    pub(super) score: Option<f64>,
    /// The threshold that applied, if it is an anomaly.
    pub(super) threshold: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Strange {
    pub(super) reading: usize,
    pub(super) place: u32,
    /// Its key's.
    pub(super) route: u64,
}

pub(super) fn points<'scope>(
    readings: Rows<'scope, Reading>,
    key: Grouping,
    parameters: &Parameters,
    ranges: Ranges,
    deal: Deal,
    mut sources: Sources,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Points>, Rows<'scope, Epoch>) {
    let of_key = key.clone();
    let by_key = to_owner(move |reading: &Reading| route_key(&of_key.key(reading)));
    let (parameters, account) = (parameters.clone(), checkpoints.is_some());
    let mut stash = Stash::<Reading, 2>::default();
    fork_holding(readings, by_key, "Points", |capability| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |input, frontier, points_out, epochs_out| {
            stash.fill(input);
            while let Some(([points_at, epoch_at], readings)) = stash.complete(frontier) {
                barrier.before(*points_at.time(), || state::changed_sources(&mut sources, usize::MAX));
                let mut epoch = Epoch::new(readings);
                let mut points = Vec::new();
                for (key, readings) in epoch.by_key(&key) {
                    epoch.keys.push((key.clone(), epoch.candidates.len()));
                    let seen = sources.keys.get(&key).map_or(0, |of_key| of_key.seen);
                    let (first, place) = (seen, epoch.points as u32);
                    let values = sources.take(&key, &readings, &ranges, &parameters, account, &mut epoch);
                    let route = route_key(&key);
                    epoch.shares += (epoch.points - place as usize) * deal.workers(route).count();
                    let of_key = Points {
                        to: 0,
                        from: deal.me(),
                        place,
                        key,
                        first,
                        values,
                    };
                    of_key.deliver(route, deal, &mut points);
                }
                points_out.session(&points_at).give_container(&mut points);
                epochs_out.session(&epoch_at).give(epoch);
                sources.let_idle_leave();
            }
            barrier.passed(earliest([frontier]), || {
                state::changed_sources(&mut sources, usize::MAX)
            });
            barrier.ahead(|at_most| state::changed_sources(&mut sources, at_most));
        }
    })
}

impl Epoch {
    fn new(readings: Batches<Reading>) -> Epoch {
        let readings = readings.in_order(|a, b| a.position.cmp(&b.position));
        Epoch {
            findings: vec![Finding::default(); readings.len()],
            readings,
            candidates: Vec::new(),
            keys: Vec::new(),
            points: 0,
            shares: 0,
            strange: Vec::new(),
        }
    }

    /// The keys, and of each the places of its readings in source order.
    fn by_key(&self, key: &Grouping) -> BTreeMap<Key, Vec<usize>> {
        let mut places: HashMap<Key, Vec<usize>, foldhash::fast::RandomState> = HashMap::default();
        for (place, reading) in self.readings.iter().enumerate() {
            places.entry(key.key(reading)).or_default().push(place);
        }
        places.into_iter().collect()
    }
}

impl OfKey {
    pub(super) fn new(parameters: &Parameters, account: bool) -> OfKey {
        OfKey {
            memory: KeyMemory::new(parameters),
            devices: HashMap::default(),
            seen: 0,
            changed: account.then(Vec::new),
        }
    }
}

impl Sources {
    pub(super) fn new(deal: Deal, room: &Room) -> Sources {
        Sources {
            keys: HashMap::default(),
            changed: Vec::new(),
            put_away: Vec::new(),
            devices: Tenants::new(room, room.devices, "devices", deal.me()),
        }
    }

    /// What an earlier run has left of a device.
    pub(super) fn restore(&mut self, key: &Key, device: DeviceId, memory: DeviceMemory, new: impl FnOnce() -> OfKey) {
        let of_key = self.keys.entry(key.clone()).or_insert_with(new);
        let used = self.devices.come((key.clone(), device.clone()));
        let changed = false;
        of_key.devices.insert(device, OfDevice { memory, changed, used });
        self.make_room(None);
    }

    /// Makes points of the readings of these places, all of this key and in source order, and enters them as candidates.
    fn take(
        &mut self,
        key: &Key,
        places: &[usize],
        ranges: &Ranges,
        parameters: &Parameters,
        account: bool,
        epoch: &mut Epoch,
    ) -> Vec<f32> {
        let mut points = Vec::with_capacity(places.len() * parameters.dimensions());
        for place in places {
            let Reading { device, measures, .. } = &epoch.readings[*place];
            if measures.iter().all(|measure| measure.is_nan()) {
                continue;
            }
            let of_key = match self.keys.get_mut(key) {
                Some(of_key) => of_key,
                None => self
                    .keys
                    .entry(key.clone())
                    .or_insert_with(|| OfKey::new(parameters, account)),
            };
            let mut has_come = false;
            let of_device = match of_key.devices.entry(device.clone()) {
                Entry::Occupied(known) => {
                    let known = known.into_mut();
                    self.devices.used(&mut known.used);
                    known
                }
                Entry::Vacant(place) => {
                    has_come = true;
                    let memory = take_back(&mut self.devices, key, device, parameters);
                    let (changed, used) = (false, self.devices.come((key.clone(), device.clone())));
                    place.insert(OfDevice { memory, changed, used })
                }
            };
            if let Some(changed) = &mut of_key.changed
                && !of_device.changed
            {
                of_device.changed = true;
                if changed.is_empty() {
                    self.changed.push(key.clone());
                }
                changed.push(device.clone());
            }
            let point = of_device.memory.point(measures, &mut of_key.memory);
            points.extend_from_slice(point.unwrap_or_default());
            let candidate = Candidate {
                reading: *place,
                place: point.map(|_| epoch.points as u32),
                outside: ranges.is_outside(measures),
            };
            if point.is_some() {
                epoch.points += 1;
                of_key.seen += 1;
            }
            epoch
                .candidates
                .extend((point.is_some() || candidate.outside).then_some(candidate));
            if has_come {
                self.make_room(Some((key, device)));
            }
        }
        points
    }

    /// Puts away who has to leave, but not the one that has just come.
    fn make_room(&mut self, newest: Option<(&Key, &DeviceId)>) {
        let may_leave = |(key, device): &(Key, DeviceId)| newest != Some((key, device));
        while let Some((key, device)) = self.devices.leaving(may_leave) {
            self.put_away(&key, &device);
        }
    }

    /// Puts some of those away that have been silent for long: memory follows the devices that are there. A few at a time, since
    /// records wait meanwhile.
    fn let_idle_leave(&mut self) {
        for _ in 0..LEAVING {
            let Some((key, device)) = self.devices.idle() else {
                break;
            };
            self.put_away(&key, &device);
        }
    }

    fn put_away(&mut self, key: &Key, device: &DeviceId) {
        let of_key = self.keys.get_mut(key);
        let Some(OfDevice { memory, changed, .. }) = of_key.and_then(|of_key| of_key.devices.remove(device)) else {
            return;
        };
        let mut state = Vec::new();
        memory.write_state(&mut state);
        if changed {
            self.put_away.push(state::device(key, device, &memory));
        }
        self.devices.put(&state::place_of_device(key, device), &state);
    }
}

/// What is known of a device that was put away; a new one has nothing.
fn take_back(
    devices: &mut Tenants<(Key, DeviceId)>,
    key: &Key,
    device: &DeviceId,
    Parameters { measures, shingle, .. }: &Parameters,
) -> DeviceMemory {
    match devices.take(&state::place_of_device(key, device)) {
        None => DeviceMemory::new(*measures, *shingle),
        Some(state) => DeviceMemory::read_state(*measures, *shingle, &state)
            .unwrap_or_else(|e| halt(SnapshotError::of(state::NAME, e))),
    }
}
