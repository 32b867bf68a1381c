//! `watermark`: how far event time has come, as a function of the position in the source.
//!
//! In: the accepted readings. Out: [`Step`]s, each saying from which position on which windows are complete and
//! which are out of reach. One operator on one worker walks the event times in source order, so a step falls on
//! the same reading whatever the workers and the epochs; it is a few nanoseconds a reading.

use std::collections::{BTreeMap, HashMap};

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::{Broadcast, Map};
use timely::dataflow::operators::{Capability, Concat, Exchange};

use super::barrier::{Barrier, Share, earliest};
use super::fork::fork_holding;
use super::stash::Stash;
use super::tap::tap;
use super::to_owner::to_owner;
use super::wire::Plain;
use super::{Rows, route_device};
use crate::record::{DeviceId, EventTime, Reading};
use crate::snapshot::{Checkpoints, Entry};
use crate::source::Time;

pub(super) mod state;

/// The `[windows]` settings that decide when a window is complete, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct WatermarkRules {
    pub size: i64,
    pub out_of_orderness: i64,
    pub allowed_lateness: i64,
    pub max_jump: i64,
}

/// From `position` on, windows with an index below `complete` are complete, and those below `out_of_reach` take no more readings.
///
/// A window's index is its start divided by the window size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub position: u64,
    /// Whose watermark it is; `None`: everybody's.
    pub device: Option<DeviceId>,
    pub complete: i64,
    pub out_of_reach: i64,
}

/// What a source tells besides its records; on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The input has ended: every window is complete.
    End,
    /// A live source has been silent before the record at `position`: event time is taken to have come to `at`.
    Idle { position: u64, at: EventTime },
}

/// (complete, out of reach) before there was a step.
const NO_STEP: (i64, i64) = (i64::MIN, i64::MIN);

impl Step {
    fn end(mark: Mark) -> Option<Step> {
        (mark == Mark::End).then_some(Step {
            position: u64::MAX,
            device: None,
            complete: i64::MAX,
            out_of_reach: i64::MAX,
        })
    }
}

impl WatermarkRules {
    /// The window that an event time falls into.
    pub fn index(&self, time: EventTime) -> i64 {
        time.div_euclid(self.size)
    }

    /// (complete, out of reach) once event time has come to `high`.
    pub(super) fn reached(&self, high: EventTime) -> (i64, i64) {
        let watermark = high.saturating_sub(self.out_of_orderness);
        (
            self.index(watermark),
            self.index(watermark.saturating_sub(self.allowed_lateness)),
        )
    }
}

/// An event time seen: a plain row of 24 bytes without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Observation {
    pub(super) position: u64,
    pub(super) time: EventTime,
    /// Hash of the device's id: enough to tell a second device from the first.
    pub(super) device: u64,
}

/// To a clock, stands for no device: a source's silence.
const IDLE: u64 = 0;
/// To a device's own clock, the device.
pub(super) const ITSELF: u64 = 1;

/// What tells a reading's device from the others to everybody's clock; never [`IDLE`].
pub(super) fn clock_id(reading: &Reading) -> u64 {
    reading.device.stable_hash().max(1)
}

/// The event time by which a reading moves the watermark: a live source knows that nothing it receives is of the future.
pub(super) fn counted(reading: &Reading) -> EventTime {
    reading.timestamp.min(reading.received)
}

/// The readings unchanged, and everybody's watermark, brought to every worker.
///
/// The readings must come in source order on each worker, as [`enrich`](super::enrich()) gives them.
pub fn watermark<'scope>(
    readings: Rows<'scope, Reading>,
    marks: Rows<'scope, Mark>,
    rules: WatermarkRules,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, Step>) {
    // Starts anew with each run: what it lets through more than it would have moves no clock.
    let mut relevant = Relevant::default();
    let (readings, observations) = tap::<_, _, _, CapacityContainerBuilder<Plain<Observation>>, _>(
        readings,
        "Observe",
        move |reading: &Reading| {
            Some(Observation {
                position: reading.position,
                time: counted(reading),
                device: clock_id(reading),
            })
            .filter(|o| relevant.is(o))
        },
    );
    let silences = marks.clone().unary(Pipeline, "Silences", |_, _| {
        |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let idle = batches.flat_map(|batch| batch.drain(..)).filter_map(|mark| match mark {
                    Mark::End => None,
                    Mark::Idle { position, at } => Some(Observation {
                        position,
                        time: at,
                        device: IDLE,
                    }),
                });
                output.session(&stamp).give_iterator(idle);
            });
        }
    });
    let observations = observations.concat(silences);
    let to_one = ExchangeCore::<CapacityContainerBuilder<Plain<Observation>>, _>::new(|_: &Observation| 0);
    let mut held: BTreeMap<Time, (Capability<Time>, Vec<Observation>)> = BTreeMap::new();
    let checkpoints = checkpoints.filter(|_| readings.scope().index() == 0); // where everybody's clock is
    let (mut clock, mut last) = (EventClock::new(rules.max_jump), NO_STEP);
    if let Some(found) = state::everybodys(checkpoints) {
        last = found.reached;
        clock.go_on(found.clock);
    }
    let mut saved = (clock.state, last);
    let mut changes = move |clock: &EventClock, last| {
        let before = std::mem::replace(&mut saved, (clock.state, last));
        (before != saved)
            .then(|| state::of_everybody(clock.state, last))
            .into_iter()
            .collect()
    };
    let steps = observations.unary_frontier::<CapacityContainerBuilder<Vec<Step>>, _, _, _>(
        to_one,
        "Watermark",
        |capability, _| {
            let mut barrier = Barrier::new(checkpoints, capability);
            move |(input, frontier), output| {
                input.for_each_stamp(|stamp, batches| {
                    let Some(time) = stamp.least().copied() else { return };
                    let (_, observations) = held
                        .entry(time)
                        .or_insert_with(|| (stamp.delayed(&time, 0), Vec::new()));
                    for Plain(batch) in batches {
                        observations.append(batch);
                    }
                });
                while let Some(first) = held.first_entry() {
                    if frontier.less_equal(first.key()) {
                        break;
                    }
                    let (capability, mut observations) = first.remove();
                    barrier.before(*capability.time(), || changes(&clock, last));
                    observations.sort_unstable_by_key(|o| (o.position, o.device != IDLE)); // silence was before the record
                    let mut session = output.session(&capability);
                    for Observation { position, time, device } in observations {
                        let Some(high) = clock.observe(device, time) else {
                            continue;
                        };
                        let reached = rules.reached(high);
                        if reached != last {
                            last = reached;
                            session.give(Step {
                                position,
                                device: None,
                                complete: reached.0,
                                out_of_reach: reached.1,
                            });
                        }
                    }
                }
                barrier.passed(earliest([frontier]), || changes(&clock, last));
            }
        },
    );
    (readings, steps.concat(marks.flat_map(Step::end)).broadcast())
}

/// A watermark for each device: the readings with `late` set, and the steps, brought to where [`route_device`] the device is.
pub fn watermark_per_device<'scope>(
    readings: Rows<'scope, Reading>,
    marks: Rows<'scope, Mark>,
    rules: WatermarkRules,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, Step>) {
    let by_device = to_owner(|reading: &Reading| route_device(&reading.device));
    let mut devices = Devices::restored(checkpoints, rules, Share::of(&readings.scope()));
    let mut stash = Stash::<Reading, 2>::default();
    let (readings, steps) = fork_holding(readings, by_device, "WatermarkPerDevice", |capability| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |input, frontier, marked, steps| {
            stash.fill(input);
            while let Some(([marked_at, steps_at], readings)) = stash.complete(frontier) {
                barrier.before(*marked_at.time(), || devices.changes());
                let mut readings = readings.in_order(|a, b| a.position.cmp(&b.position));
                let mut session = steps.session(&steps_at);
                for reading in &mut readings {
                    let device = devices.of(&reading.device);
                    if let Some(high) = device.clock.observe(ITSELF, counted(reading)) {
                        let reached = rules.reached(high);
                        if reached != device.reached {
                            device.reached = reached;
                            let (complete, out_of_reach) = reached;
                            let (position, device) = (reading.position, Some(reading.device.clone()));
                            session.give(Step {
                                position,
                                device,
                                complete,
                                out_of_reach,
                            });
                        }
                    }
                    reading.late = rules.index(reading.timestamp) < device.reached.1;
                }
                drop(session);
                marked.session(&marked_at).give_container(&mut readings);
            }
            barrier.passed(earliest([frontier]), || devices.changes());
        }
    });
    let own = steps.exchange(|step: &Step| step.device.as_ref().map_or(0, route_device));
    (readings, own.concat(marks.flat_map(Step::end).broadcast()))
}

/// The devices that have a watermark each.
struct Devices {
    devices: HashMap<DeviceId, OfDevice>,
    rules: WatermarkRules,
    keeps_account: bool,
    /// Who has changed since the last commit.
    changed: Vec<DeviceId>,
}

struct OfDevice {
    clock: EventClock,
    reached: (i64, i64),
    changed: bool,
}

impl Devices {
    fn restored(checkpoints: Option<&Checkpoints>, rules: WatermarkRules, share: Share) -> Devices {
        let found = state::of_devices(checkpoints).into_iter();
        let own = found.filter(|(device, _)| share.has(route_device(device)));
        let devices = own.map(|(device, state::Reached { clock, reached })| {
            let mut of_device = OfDevice::new(rules.max_jump);
            of_device.clock.go_on(clock);
            of_device.reached = reached;
            (device, of_device)
        });
        Devices {
            devices: devices.collect(),
            rules,
            keeps_account: checkpoints.is_some(),
            changed: Vec::new(),
        }
    }

    /// A device that is about to be changed.
    fn of(&mut self, device: &DeviceId) -> &mut OfDevice {
        let max_jump = self.rules.max_jump;
        let of_device = match self.devices.contains_key(device) {
            true => self.devices.get_mut(device).expect("just found"),
            false => self
                .devices
                .entry(device.clone())
                .or_insert_with(|| OfDevice::new(max_jump)),
        };
        if self.keeps_account && !of_device.changed {
            of_device.changed = true;
            self.changed.push(device.clone());
        }
        of_device
    }

    fn changes(&mut self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.changed.len());
        for id in self.changed.drain(..) {
            if let Some(device) = self.devices.get_mut(&id) {
                device.changed = false;
                entries.push(state::of_device(&id, device.clock.state, device.reached));
            }
        }
        entries
    }
}

impl OfDevice {
    fn new(max_jump: i64) -> OfDevice {
        OfDevice {
            clock: EventClock::new(max_jump),
            reached: NO_STEP,
            changed: false,
        }
    }
}

/// Which observations can still move a clock: once two devices have both come to a time, no earlier one can.
#[derive(Default)]
struct Relevant {
    highest: Option<(u64, EventTime)>,
    /// The highest time of any other device.
    second: Option<EventTime>,
}

impl Relevant {
    fn is(&mut self, o: &Observation) -> bool {
        if self.second.is_some_and(|second| o.time <= second) {
            return false;
        }
        match &mut self.highest {
            None => self.highest = Some((o.device, o.time)),
            Some((device, time)) if *device == o.device => *time = (*time).max(o.time),
            Some((_, time)) if o.time > *time => {
                self.second = self.highest.replace((o.device, o.time)).map(|(_, time)| time)
            }
            Some(_) => self.second = Some(o.time),
        }
        true
    }
}

/// The highest event time that counts.
///
/// A time more than `max_jump` ahead of it waits until a second device confirms it, by coming as far (then the lower
/// of the two counts) or by everyone coming within reach. While only one device has ever been seen, its
/// own next reading confirms: there is nobody else to ask. The first reading of all is such a jump. Of several that wait,
/// the farthest is remembered.
pub(super) struct EventClock {
    max_jump: i64,
    state: ClockState,
}

/// What a clock remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClockState {
    high: Option<EventTime>,
    /// A jump that waits: whose, and how far.
    waiting: Option<(u64, EventTime)>,
    first_device: Option<u64>,
    several_devices: bool,
}

impl EventClock {
    pub(super) fn new(max_jump: i64) -> EventClock {
        EventClock {
            max_jump,
            state: ClockState::default(),
        }
    }

    /// From what an earlier run has come to.
    fn go_on(&mut self, from: ClockState) {
        self.state = from;
    }

    /// Takes one event time, in source order; the highest that counts now, `None` before there is one.
    pub(super) fn observe(&mut self, device: u64, time: EventTime) -> Option<EventTime> {
        if device == IDLE {
            self.state.high = self.state.high.map(|high| high.max(time));
            return self.settle();
        }
        self.state.several_devices |= *self.state.first_device.get_or_insert(device) != device;
        if self.within_reach(time) {
            self.state.high = self.state.high.max(Some(time));
        } else {
            self.state.waiting = match self.state.waiting {
                None => Some((device, time)),
                Some((whose, far)) if whose != device || (!self.state.several_devices && far != time) => {
                    self.state.high = self.state.high.max(Some(far.min(time)));
                    Some(if time > far { (device, time) } else { (whose, far) })
                }
                Some((whose, far)) => Some((whose, far.max(time))),
            };
        }
        self.settle()
    }

    /// A jump that has come within reach needs no confirmation any more.
    fn settle(&mut self) -> Option<EventTime> {
        if let Some((_, far)) = self.state.waiting
            && self.within_reach(far)
        {
            self.state.high = self.state.high.max(Some(far));
            self.state.waiting = None;
        }
        self.state.high
    }

    fn within_reach(&self, time: EventTime) -> bool {
        self.state
            .high
            .is_some_and(|high| time <= high.saturating_add(self.max_jump))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::bytes::arc::BytesMut;
    use timely::dataflow::channels::ContainerBytes;

    use super::*;

    fn run(observations: &[(u64, EventTime)]) -> Option<EventTime> {
        let mut clock = EventClock::new(100);
        observations
            .iter()
            .fold(None, |_, (device, time)| clock.observe(*device, *time))
    }

    #[test]
    fn a_second_device_confirms_a_jump_and_the_same_device_does_not() {
        assert_eq!(run(&[(1, 0), (2, 5), (1, 1000), (1, 1001)]), Some(5));
        assert_eq!(run(&[(1, 0), (2, 5), (1, 1000), (2, 1050)]), Some(1050));
        assert_eq!(run(&[(1, 0), (2, 5), (1, 1000), (2, 5000)]), Some(1000));
    }

    #[test]
    fn a_clock_in_the_future_moves_nothing_while_the_others_go_on() {
        assert_eq!(
            run(&[(1, 0), (2, 5), (9, 1_000_000), (1, 10), (9, 1_000_001), (2, 60)]),
            Some(60)
        );
    }

    #[test]
    fn a_lone_device_confirms_itself_after_a_gap() {
        assert_eq!(run(&[(1, 0)]), None);
        assert_eq!(run(&[(1, 0), (1, 10), (1, 5000)]), Some(10));
        assert_eq!(run(&[(1, 0), (1, 10), (1, 5000), (1, 5010)]), Some(5010));
    }

    #[test]
    fn a_wrong_first_reading_does_not_set_the_clock() {
        assert_eq!(run(&[(1, 1_000_000), (2, 5), (3, 7)]), Some(7));
    }

    #[test]
    fn silence_moves_the_clock_on_and_never_back() {
        assert_eq!(run(&[(1, 0), (2, 5), (IDLE, 70)]), Some(70));
        assert_eq!(run(&[(1, 0), (2, 5), (IDLE, 3)]), Some(5));
        assert_eq!(run(&[(IDLE, 70)]), None, "silence from the start is no event time");
    }

    proptest! {
        /// What `Relevant` leaves out never changes where the clock stands after any kept observation or at the end.
        #[test]
        fn observations_left_out_would_not_have_moved_the_clock(all in proptest::collection::vec((0u64..5, 0i64..600), 1..80), before in proptest::collection::vec((0u64..4, 0i64..600), 0..20)) {
            let (mut full, mut thin) = (EventClock::new(100), EventClock::new(100));
            for (device, time) in before {
                full.observe(device, time);
                thin.observe(device, time);
            }
            // Starts anew with each run: what it lets through more than it would have moves no clock.
    let mut relevant = Relevant::default();
            for (position, (device, time)) in all.into_iter().enumerate() {
                let high = full.observe(device, time);
                if device == IDLE || relevant.is(&Observation { position: position as u64, time, device }) {
                    thin.observe(device, time);
                }
                prop_assert_eq!(high, thin.state.high);
            }
        }

        #[test]
        fn observations_come_back_from_the_wire(rows in proptest::collection::vec((any::<u64>(), any::<i64>(), any::<u64>()), 0..200)) {
            let rows: Vec<_> = rows.into_iter().map(|(position, time, device)| Observation { position, time, device }).collect();
            let sent = Plain(rows.clone());
            let mut bytes = Vec::new();
            sent.into_bytes(&mut bytes);
            prop_assert_eq!(bytes.len(), sent.length_in_bytes());
            prop_assert_eq!(bytes.len() % 8, 0, "timely keeps messages aligned to 8 bytes");
            let received = Plain::<Observation>::from_bytes(BytesMut::from(bytes).freeze());
            prop_assert_eq!(received.0, rows);
        }

        #[test]
        fn the_clock_never_runs_backwards_nor_past_the_highest_time(all in proptest::collection::vec((0u64..4, 0i64..2000), 1..80)) {
            let mut clock = EventClock::new(100);
            let (mut last, mut highest) = (None, i64::MIN);
            for (device, time) in all {
                highest = highest.max(time);
                let high = clock.observe(device, time);
                prop_assert!(high >= last && high <= Some(highest));
                last = high;
            }
        }
    }
}
