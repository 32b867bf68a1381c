//! `tumbling`: tumbling windows over event time, for several groupings at once.
//!
//! In: scored readings and the watermark's steps. Out: a row for every window when it is complete (revision 0), and one more for
//! each batch of late corrections. Readings and steps are taken in source order, each key's readings on one worker, so that
//! sums are added up in one order everywhere. A window is forgotten once no late reading may revise it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use slab::Slab;
use smallvec::SmallVec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::barrier::{Barrier, Share, earliest};
use super::batches::Batches;
use super::fork::fork;
use super::grouping::Grouping;
use super::stash::Stash;
use super::to_owner::to_owner;
use super::watermark::{Step, WatermarkRules};
use super::{Rows, route_device, route_key};
use crate::record::{DeviceId, Key, Measures, Scored, Statistics, WindowRow};
use crate::snapshot::Checkpoints;

mod state;

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
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Scored>, Rows<'scope, WindowRow>) {
    let (scored, entries) = enter(scored, windows.clone());
    // With a watermark for each device, its windows are where its steps are.
    let by_owner = to_owner(|entry: &Entry| match &entry.device {
        Some(device) => route_device(device),
        None => route_group(entry.grouping, &entry.key),
    });
    let (mut waiting, mut ahead) = (Stash::<Entry>::default(), Stash::<Step>::default());
    let share = Share::of(&entries.scope());
    let mut domains = state::restored(checkpoints, &windows, share);
    let account = checkpoints.is_some();
    let rows = entries.binary_frontier::<_, CapacityContainerBuilder<Vec<WindowRow>>, _, _, _, _>(
        steps,
        by_owner,
        Pipeline,
        "Tumbling",
        |capability, _| {
            let mut barrier = Barrier::new(checkpoints, capability);
            move |(entries, entries_frontier), (steps, steps_frontier), output| {
                waiting.fill(entries);
                ahead.fill(steps);
                while let Some(time) = waiting.earliest().into_iter().chain(ahead.earliest()).min() {
                    if entries_frontier.less_equal(&time) || steps_frontier.less_equal(&time) {
                        break;
                    }
                    barrier.before(time, || state::changes(&mut domains, usize::MAX));
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
                    let (entries_at, entries) =
                        entries.map_or((None, Batches::default()), |([at], entries)| (Some(at), entries));
                    let (steps_at, steps) = steps.map_or((None, Batches::default()), |([at], steps)| (Some(at), steps));
                    let steps = steps.in_order(|a, b| (a.position, &a.device).cmp(&(b.position, &b.device)));
                    let mut rows = Vec::new();
                    let mut steps = steps.into_iter().peekable();
                    for entry in entries.merged(|a, b| a.position.cmp(&b.position)) {
                        while let Some(step) = steps.next_if(|step| step.position <= entry.position) {
                            complete(&mut domains, &step, &windows.rules, account, &mut rows);
                        }
                        let domain = match domains.get_mut(&entry.device) {
                            Some(domain) => domain,
                            None => domains
                                .entry(entry.device.clone())
                                .or_insert_with(|| Domain::new(account)),
                        };
                        domain.add(entry, windows.measures);
                    }
                    steps.for_each(|step| complete(&mut domains, &step, &windows.rules, account, &mut rows));
                    if let Some(capability) = entries_at.or(steps_at) {
                        output.session(&capability).give_container(&mut rows);
                    }
                }
                barrier.passed(earliest([entries_frontier, steps_frontier]), || {
                    state::changes(&mut domains, usize::MAX)
                });
                barrier.ahead(|at_most| state::changes(&mut domains, at_most));
            }
        },
    );
    (scored, rows)
}

/// The readings unchanged, and one entry per grouping for each that is not too late for its windows.
fn enter<'scope>(scored: Rows<'scope, Scored>, windows: Tumbling) -> (Rows<'scope, Scored>, Rows<'scope, Entry>) {
    fork(scored, Pipeline, "EnterWindows", move |input, _, passed, entered| {
        input.for_each_stamp(|stamp, batches| {
            for batch in batches {
                let mut entries = Vec::with_capacity(batch.len() * windows.groupings.len());
                for Scored {
                    reading,
                    score,
                    attribution,
                    ..
                } in batch.iter().filter(|scored| !scored.reading.late)
                {
                    let index = windows.rules.index(reading.timestamp);
                    entries.extend(windows.groupings.iter().zip(0..).map(|(by, grouping)| Entry {
                        position: reading.position,
                        index,
                        grouping,
                        key: by.key(reading),
                        device: windows.per_device.then(|| reading.device.clone()),
                        measures: reading.measures.clone(),
                        score: score.unwrap_or(f64::NAN),
                        anomalous: attribution.is_some(),
                    }));
                }
                entered.session(&stamp).give_container(&mut entries);
                passed.session(&stamp).give_container(batch);
            }
        });
    })
}

/// Where a group's windows are under everybody's watermark.
fn route_group(grouping: u32, key: &Key) -> u64 {
    route_key(key).wrapping_add(u64::from(grouping))
}

/// Takes a step: of one device, or of everybody.
fn complete(domains: &mut Domains, step: &Step, rules: &WatermarkRules, account: bool, rows: &mut Vec<WindowRow>) {
    let before = rows.len();
    // Whose windows it is may have none here yet: a reading that comes later must still find what is complete.
    let domain = domains
        .entry(step.device.clone())
        .or_insert_with(|| Domain::new(account));
    match step.device {
        Some(_) => domain.step(step, rules, rows),
        None => domains.values_mut().for_each(|domain| domain.step(step, rules, rows)),
    }
    rows[before..].sort_by(|a, b| (a.start, a.grouping, &a.key).cmp(&(b.start, b.grouping, &b.key)));
}

type GroupKey = (u32, Key);

type Domains = HashMap<Option<DeviceId>, Domain, foldhash::fast::RandomState>;

/// The windows under one watermark.
#[derive(Default)]
struct Domain {
    /// Where in `series` a group's windows are. Seeded at random: its order never shows.
    places: HashMap<GroupKey, usize, foldhash::fast::RandomState>,
    series: Slab<Series>,
    /// Which series have a window at an index that is not complete.
    open: BTreeMap<i64, Vec<usize>>,
    /// Those written at least once or due with the next step, and still within reach of late readings.
    closed: BTreeMap<i64, Vec<usize>>,
    revised: BTreeSet<(i64, usize)>,
    complete: Option<i64>,
    /// What has changed since the last commit, where account is kept of it.
    account: Option<Account>,
}

/// Windows that are not on disk as they are here.
#[derive(Default)]
struct Account {
    /// Some of them forgotten since.
    changed: Vec<(i64, usize)>,
    gone: Vec<(i64, GroupKey)>,
}

/// The windows of one group. Nearly every reading falls into the newest, so that one lies at hand.
struct Series {
    group: GroupKey,
    newest: (i64, Window),
    /// In the order of their indices.
    older: VecDeque<(i64, Box<Window>)>,
}

#[derive(Default)]
struct Window {
    records: u64,
    anomalies: u64,
    measures: SmallVec<[Statistics; 6]>,
    score: Statistics,
    /// How often it has been written.
    written: u32,
    /// Whether it is among its domain's changed ones; true from the start where no account is kept.
    changed: bool,
}

impl Series {
    fn window(&mut self, index: i64) -> Option<&mut Window> {
        if self.newest.0 == index {
            return Some(&mut self.newest.1);
        }
        let place = self.place(index).ok()?;
        Some(&mut self.older[place].1)
    }

    /// Among the older ones, of which the last is asked for most.
    fn place(&self, index: i64) -> Result<usize, usize> {
        match self.older.back() {
            Some((last, _)) if *last == index => Ok(self.older.len() - 1),
            _ => self.older.binary_search_by_key(&index, |(at, _)| *at),
        }
    }

    /// Adds a window that is not there yet.
    fn insert(&mut self, index: i64, window: Window) {
        if index > self.newest.0 {
            let (at, newest) = std::mem::replace(&mut self.newest, (index, window));
            self.older.push_back((at, Box::new(newest)));
        } else if let Err(place) = self.place(index) {
            self.older.insert(place, (index, Box::new(window)));
        }
    }
}

impl Domain {
    fn new(account: bool) -> Domain {
        Domain {
            account: account.then(Account::default),
            ..Domain::default()
        }
    }

    fn add(&mut self, entry: Entry, measures: usize) {
        let index = entry.index;
        let late = self.complete.is_some_and(|complete| index < complete);
        let group = (entry.grouping, entry.key);
        let (at, is_new) = match self.places.get(&group) {
            Some(at) if self.series[*at].window(index).is_some() => (*at, false),
            _ => {
                let fresh = Window {
                    measures: SmallVec::from_elem(Statistics::default(), measures),
                    changed: self.account.is_none(),
                    ..Window::default()
                };
                (self.insert(index, group, fresh), true)
            }
        };
        if is_new {
            let of = if late { &mut self.closed } else { &mut self.open };
            of.entry(index).or_default().push(at);
        }
        if late {
            self.revised.insert((index, at));
        }
        let Some(window) = self.series[at].window(index) else {
            return; // never: it was there or has just been made
        };
        if !window.changed {
            window.changed = true;
            if let Some(account) = &mut self.account {
                account.changed.push((index, at));
            }
        }
        window.records += 1;
        window.anomalies += u64::from(entry.anomalous);
        for (statistics, value) in window.measures.iter_mut().zip(&entry.measures) {
            statistics.add(*value);
        }
        window.score.add(entry.score);
    }

    /// Adds a window that is not there yet; where its group's are.
    fn insert(&mut self, index: i64, group: GroupKey, window: Window) -> usize {
        if let Some(at) = self.places.get(&group) {
            self.series[*at].insert(index, window);
            return *at;
        }
        let at = self.series.insert(Series {
            group: group.clone(),
            newest: (index, window),
            older: VecDeque::new(),
        });
        self.places.insert(group, at);
        at
    }

    fn step(&mut self, step: &Step, rules: &WatermarkRules, rows: &mut Vec<WindowRow>) {
        let account = &mut self.account;
        let mut write = |index, at: usize, series: &mut Series| {
            let group = series.group.clone();
            let Some(window) = series.window(index) else { return };
            if !std::mem::replace(&mut window.changed, true)
                && let Some(account) = account
            {
                account.changed.push((index, at));
            }
            rows.push(window.write(index, group, step, rules));
        };
        if self.complete.is_none_or(|complete| complete < step.complete) {
            self.complete = Some(step.complete);
            for (index, at) in std::mem::take(&mut self.revised) {
                write(index, at, &mut self.series[at]);
            }
            let later = self.open.split_off(&step.complete);
            for (index, mut group) in std::mem::replace(&mut self.open, later) {
                group.iter().for_each(|at| write(index, *at, &mut self.series[*at]));
                self.closed.entry(index).or_default().append(&mut group);
            }
        }
        // What is still to be written stays until it is.
        let kept = self
            .revised
            .first()
            .map_or(step.out_of_reach, |(index, _)| step.out_of_reach.min(*index));
        let within_reach = self.closed.split_off(&kept);
        for (index, group) in std::mem::replace(&mut self.closed, within_reach) {
            group.into_iter().for_each(|at| self.forget(index, at));
        }
    }

    fn forget(&mut self, index: i64, at: usize) {
        let series = &mut self.series[at];
        if let Some(account) = &mut self.account {
            account.gone.push((index, series.group.clone()));
        }
        if series.newest.0 == index {
            // Windows are forgotten in the order of their indices: behind the newest there is none left.
            let Series { group, .. } = self.series.remove(at);
            self.places.remove(&group);
        } else if let Ok(place) = series.place(index) {
            series.older.remove(place);
        }
    }
}

impl Window {
    fn write(&mut self, index: i64, (grouping, key): GroupKey, step: &Step, rules: &WatermarkRules) -> WindowRow {
        let revision = self.written;
        self.written += 1;
        let start = index.saturating_mul(rules.size);
        WindowRow {
            start,
            end: start.saturating_add(rules.size),
            grouping: grouping as usize,
            key,
            records: self.records,
            anomalies: self.anomalies,
            measures: self.measures.to_vec(),
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
