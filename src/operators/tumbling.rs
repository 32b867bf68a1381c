//! `tumbling`: tumbling windows over event time, for several groupings at once.
//!
//! In: scored readings and the watermark's steps. Out: a row for every window when it is complete (revision 0), and one more for
//! each batch of late corrections. Readings and steps are taken in source order, each key's readings on one worker, so that
//! sums are added up in one order everywhere. A window is forgotten once no late reading may revise it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::grouping::{Grouping, key_bytes};
use super::stash::Stash;
use super::tap::tap;
use super::watermark::{Step, WatermarkRules};
use super::{Rows, route, route_device};
use crate::record::{DeviceId, Key, Measures, Scored, Statistics, WindowRow};

/// What windows are kept.
#[derive(Clone, Debug)]
pub struct Tumbling {
    pub groupings: Vec<Grouping>,
    pub measures: usize,
    pub rules: WatermarkRules,
    /// Whether each device has its own watermark; then every grouping contains the device.
    pub per_device: bool,
}

/// A reading on its way to one of its windows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    position: u64,
    index: i64,
    grouping: u32,
    key: Key,
    /// Whose watermark rules it; `None`: everybody's.
    device: Option<DeviceId>,
    measures: Measures,
    /// NaN: none.
    score: f64,
    anomalous: bool,
}

/// The readings unchanged, and the rows of windows as they become complete or are revised.
pub fn tumbling<'scope>(
    scored: Rows<'scope, Scored>,
    steps: Rows<'scope, Step>,
    windows: Tumbling,
) -> (Rows<'scope, Scored>, Rows<'scope, WindowRow>) {
    let (scored, entries) = enter(scored, windows.clone());
    // With a watermark for each device, its windows are where its steps are.
    let by_owner = Exchange::new(|entry: &Entry| match &entry.device {
        Some(device) => route_device(device),
        None => route(&key_bytes(&entry.key)).wrapping_add(u64::from(entry.grouping)),
    });
    let (mut waiting, mut ahead) = (Stash::<Entry>::default(), Stash::<Step>::default());
    let mut domains = Domains::default();
    let rows = entries.binary_frontier::<_, CapacityContainerBuilder<Vec<WindowRow>>, _, _, _, _>(
        steps,
        by_owner,
        Pipeline,
        "Tumbling",
        |_, _| {
            move |(entries, entries_frontier), (steps, steps_frontier), output| {
                waiting.fill(entries);
                ahead.fill(steps);
                while let Some(time) = waiting.earliest().into_iter().chain(ahead.earliest()).min() {
                    if entries_frontier.less_equal(&time) || steps_frontier.less_equal(&time) {
                        break;
                    }
                    let entries = if waiting.earliest() == Some(time) {
                        waiting.complete(entries_frontier)
                    } else {
                        None
                    };
                    let steps = if ahead.earliest() == Some(time) {
                        ahead.complete(steps_frontier)
                    } else {
                        None
                    };
                    let (entries_at, mut entries) =
                        entries.map_or((None, Vec::new()), |([at], entries)| (Some(at), entries));
                    let (steps_at, mut steps) = steps.map_or((None, Vec::new()), |([at], steps)| (Some(at), steps));
                    entries.sort_by_key(|entry| entry.position);
                    steps.sort_by(|a, b| (a.position, &a.device).cmp(&(b.position, &b.device)));
                    let mut rows = Vec::new();
                    let mut steps = steps.into_iter().peekable();
                    for entry in entries {
                        while let Some(step) = steps.next_if(|step| step.position <= entry.position) {
                            complete(&mut domains, &step, &windows.rules, &mut rows);
                        }
                        if !domains.contains_key(&entry.device) {
                            domains.insert(entry.device.clone(), Domain::default());
                        }
                        domains
                            .get_mut(&entry.device)
                            .expect("just inserted")
                            .add(entry, windows.measures);
                    }
                    steps.for_each(|step| complete(&mut domains, &step, &windows.rules, &mut rows));
                    if let Some(capability) = entries_at.or(steps_at) {
                        output.session(&capability).give_container(&mut rows);
                    }
                }
            }
        },
    );
    (scored, rows)
}

/// The readings unchanged, and one entry per grouping for each that is not too late for its windows.
fn enter<'scope>(scored: Rows<'scope, Scored>, windows: Tumbling) -> (Rows<'scope, Scored>, Rows<'scope, Entry>) {
    tap::<_, _, _, CapacityContainerBuilder<Vec<Entry>>, _>(scored, "EnterWindows", move |scored: &Scored| {
        let Scored {
            reading,
            score,
            attribution,
        } = scored;
        let groupings = if reading.late {
            &[]
        } else {
            windows.groupings.as_slice()
        };
        let entry = |(grouping, by): (usize, &Grouping)| Entry {
            position: reading.position,
            index: windows.rules.index(reading.timestamp),
            grouping: grouping as u32, // a handful at most
            key: by.key(reading),
            device: windows.per_device.then(|| reading.device.clone()),
            measures: reading.measures.clone(),
            score: score.unwrap_or(f64::NAN),
            anomalous: attribution.is_some(),
        };
        groupings
            .iter()
            .enumerate()
            .map(entry)
            .collect::<SmallVec<[Entry; 2]>>()
    })
}

/// Takes a step: of one device, or of everybody.
fn complete(domains: &mut Domains, step: &Step, rules: &WatermarkRules, rows: &mut Vec<WindowRow>) {
    let before = rows.len();
    // Whose windows it is may have none here yet: a reading that comes later must still find what is complete.
    let domain = domains.entry(step.device.clone()).or_default();
    match step.device {
        Some(_) => domain.step(step, rules, rows),
        None => domains.values_mut().for_each(|domain| domain.step(step, rules, rows)),
    }
    rows[before..].sort_by(|a, b| (a.start, a.grouping, &a.key).cmp(&(b.start, b.grouping, &b.key)));
}

type GroupKey = (u32, Key);
/// Seeded at random, and always sorted before its order could show.
type Grouped = HashMap<GroupKey, Window, foldhash::fast::RandomState>;

type Domains = HashMap<Option<DeviceId>, Domain, foldhash::fast::RandomState>;

/// The windows under one watermark, by index.
#[derive(Default)]
struct Domain {
    open: BTreeMap<i64, Grouped>,
    /// Written at least once or due with the next step, and still within reach of late readings.
    closed: BTreeMap<i64, Grouped>,
    revised: BTreeSet<(i64, GroupKey)>,
    complete: Option<i64>,
}

#[derive(Default)]
struct Window {
    records: u64,
    anomalies: u64,
    measures: Vec<Statistics>,
    score: Statistics,
    /// How often it has been written.
    written: u32,
}

impl Domain {
    fn add(&mut self, entry: Entry, measures: usize) {
        let Entry {
            index,
            grouping,
            key,
            measures: values,
            score,
            anomalous,
            ..
        } = entry;
        let of = if self.complete.is_some_and(|complete| index < complete) {
            self.revised.insert((index, (grouping, key.clone())));
            &mut self.closed
        } else {
            &mut self.open
        };
        let window = of.entry(index).or_default().entry((grouping, key)).or_default();
        window.records += 1;
        window.anomalies += u64::from(anomalous);
        window.measures.resize(measures, Statistics::default());
        for (statistics, value) in window.measures.iter_mut().zip(values) {
            statistics.add(value);
        }
        window.score.add(score);
    }

    fn step(&mut self, step: &Step, rules: &WatermarkRules, rows: &mut Vec<WindowRow>) {
        if self.complete.is_none_or(|complete| complete < step.complete) {
            self.complete = Some(step.complete);
            for (index, group) in std::mem::take(&mut self.revised) {
                if let Some(window) = self.closed.get_mut(&index).and_then(|windows| windows.get_mut(&group)) {
                    rows.push(window.write(index, &group, step, rules));
                }
            }
            let later = self.open.split_off(&step.complete);
            for (index, mut windows) in std::mem::replace(&mut self.open, later) {
                rows.extend(
                    windows
                        .iter_mut()
                        .map(|(group, window)| window.write(index, group, step, rules)),
                );
                self.closed.entry(index).or_default().extend(windows);
            }
        }
        // What is still to be written stays until it is.
        let kept = self
            .revised
            .first()
            .map_or(step.out_of_reach, |(index, _)| step.out_of_reach.min(*index));
        self.closed = self.closed.split_off(&kept);
    }
}

impl Window {
    fn write(&mut self, index: i64, (grouping, key): &GroupKey, step: &Step, rules: &WatermarkRules) -> WindowRow {
        let revision = self.written;
        self.written += 1;
        let start = index.saturating_mul(rules.size);
        WindowRow {
            start,
            end: start.saturating_add(rules.size),
            grouping: *grouping as usize,
            key: key.clone(),
            records: self.records,
            anomalies: self.anomalies,
            measures: self.measures.clone(),
            score_max: self.score.max(),
            score_mean: self.score.mean(),
            window_score: None,
            revision,
            completed_at: step.position,
        }
    }
}

#[cfg(test)]
mod tests;
