//! The truth: which readings are labelled, and what belongs together as one event.

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;

use super::trial::Trial;
use crate::record::{EventTime, format_event_time};

/// No event.
pub(super) const NONE: u32 = u32::MAX;

/// The labels of an input.
#[derive(Clone, Debug)]
pub enum Labels {
    /// What is written in the records themselves: position → what it is called. Readings that are not there are ordinary.
    Column(HashMap<u64, CompactString>),
    /// Single readings.
    Points(Vec<Point>),
    /// Stretches of time, both ends included.
    Intervals(Vec<Interval>),
}

/// A labelled reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `None`: of any device.
    pub device: Option<CompactString>,
    pub timestamp: EventTime,
    /// What it is called, empty for nothing special. Readings in a row that are called the same make one event.
    pub what: CompactString,
}

/// A labelled stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// `None`: of any device.
    pub device: Option<CompactString>,
    pub start: EventTime,
    pub end: EventTime,
}

/// A labelled stretch of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub start: EventTime,
    pub end: EventTime,
}

/// The readings of a trial with their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marked {
    /// For each row the event it belongs to, or [`NONE`].
    pub(super) event_of: Vec<u32>,
    pub events: Vec<Event>,
    /// How many labels there are.
    pub labels: usize,
    /// Those that no reading has, told by device and time.
    pub unmatched: Vec<String>,
    /// Devices of labels that the input does not have; their labels are not among the unmatched.
    pub absent: Vec<String>,
}

/// Whether a label says that there is nothing to say: empty, `0`, `false`, `no`, `normal`, `ordinary`, `none`.
pub fn is_ordinary(label: &str) -> bool {
    let label = label.trim();
    let words = ["", "false", "no", "normal", "ordinary", "none", "null"];
    words.iter().any(|word| label.eq_ignore_ascii_case(word)) || label.parse() == Ok(0.0)
}

impl Marked {
    /// No reading is labelled.
    pub fn nothing(trial: &Trial) -> Marked {
        Marked {
            event_of: vec![NONE; trial.rows.len()],
            ..Marked::default()
        }
    }

    /// How many readings are labelled.
    pub fn readings(&self) -> usize {
        self.event_of.iter().filter(|event| **event != NONE).count()
    }
}

impl Labels {
    /// Finds the readings that are labelled.
    pub fn mark(&self, trial: &Trial) -> Marked {
        let mut marked = Marked::nothing(trial);
        match self {
            Labels::Column(labels) => {
                marked.labels = labels.len();
                let what = |place: u32| labels.get(&trial.rows[place as usize].position);
                marked.events_of_runs(trial, what);
            }
            Labels::Points(points) => marked.points(trial, points),
            Labels::Intervals(intervals) => marked.intervals(trial, intervals),
        }
        marked
    }
}

/// The places of devices by the names that labels have for them; `None`: any device.
struct Places {
    of: HashMap<Option<CompactString>, Option<u32>>,
}

impl Places {
    fn new<'a>(trial: &Trial, devices: impl Iterator<Item = &'a Option<CompactString>>) -> Places {
        let place = |device: &Option<CompactString>| trial.place_of(device.as_deref()?);
        let of = devices.map(|device| (device.clone(), place(device))).collect();
        Places { of }
    }

    /// `None`: there is no such device in the input.
    fn get(&self, device: &Option<CompactString>) -> Option<Option<u32>> {
        match device {
            None => Some(None),
            Some(_) => self.of.get(device).copied().flatten().map(Some),
        }
    }

    /// Names of devices that are not in the input, in order.
    fn absent(&self) -> Vec<String> {
        let absent = self.of.iter().filter(|(_, place)| place.is_none());
        let mut names: Vec<String> = absent
            .filter_map(|(name, _)| Some(name.as_ref()?.to_string()))
            .collect();
        names.sort_unstable();
        names
    }
}

fn told(device: &Option<CompactString>, time: &str) -> String {
    match device {
        Some(device) => format!("{device} at {time}"),
        None => format!("any device at {time}"),
    }
}

impl Marked {
    fn points(&mut self, trial: &Trial, points: &[Point]) {
        let places = Places::new(trial, points.iter().map(|point| &point.device));
        self.labels = points.len();
        self.absent = places.absent();
        let mut wanted: HashMap<(Option<u32>, EventTime), usize> = HashMap::new();
        for (at, point) in points.iter().enumerate() {
            if let Some(place) = places.get(&point.device) {
                wanted.entry((place, point.timestamp)).or_insert(at);
            }
        }
        let of_any = points.iter().any(|point| point.device.is_none());
        let mut met = HashSet::new();
        let mut whats: HashMap<u32, &CompactString> = HashMap::new();
        for (place, row) in (0..).zip(&trial.rows) {
            let own = wanted.get_key_value(&(Some(row.device), row.timestamp));
            let any = || wanted.get_key_value(&(None, row.timestamp)).filter(|_| of_any);
            if let Some((key, at)) = own.or_else(any) {
                met.insert(*key);
                whats.insert(place, &points[*at].what);
            }
        }
        for point in points {
            if places
                .get(&point.device)
                .is_some_and(|place| !met.contains(&(place, point.timestamp)))
            {
                self.unmatched
                    .push(told(&point.device, &format_event_time(point.timestamp)));
            }
        }
        self.events_of_runs(trial, |place| whats.get(&place).copied());
    }

    /// Readings of a device that follow each other in event time and are called the same are one event.
    fn events_of_runs<'a>(&mut self, trial: &Trial, what: impl Fn(u32) -> Option<&'a CompactString>) {
        for places in trial.of_devices() {
            let mut before = None;
            for place in places {
                let now = what(*place);
                if now.is_some() {
                    let time = trial.rows[*place as usize].timestamp;
                    match self.events.last_mut().filter(|_| before == now) {
                        Some(event) => event.end = time,
                        None => self.events.push(Event { start: time, end: time }),
                    }
                    self.event_of[*place as usize] = self.events.len() as u32 - 1;
                }
                before = now;
            }
        }
    }

    fn intervals(&mut self, trial: &Trial, intervals: &[Interval]) {
        let places = Places::new(trial, intervals.iter().map(|interval| &interval.device));
        self.labels = intervals.len();
        self.absent = places.absent();
        let mut met = vec![false; intervals.len()];
        for rows in trial.of_devices() {
            let device = trial.rows[rows[0] as usize].device;
            let time = |place: &u32| trial.rows[*place as usize].timestamp;
            // (start, end, first row, row behind the last) of each interval that has rows.
            let mut found: Vec<(EventTime, EventTime, usize, usize)> = Vec::new();
            for (interval, met) in intervals.iter().zip(&mut met) {
                let of_device = places
                    .get(&interval.device)
                    .is_some_and(|place| place.is_none_or(|p| p == device));
                let first = rows.partition_point(|place| time(place) < interval.start);
                let behind = rows.partition_point(|place| time(place) <= interval.end);
                if of_device && first < behind {
                    *met = true;
                    found.push((interval.start, interval.end, first, behind));
                }
            }
            found.sort_unstable();
            let mut last: Option<(EventTime, EventTime, usize, usize)> = None;
            for next in found {
                match &mut last {
                    // Of overlapping ones only the whole can be found.
                    Some((_, end, _, behind)) if next.0 <= *end => {
                        (*end, *behind) = ((*end).max(next.1), (*behind).max(next.3));
                    }
                    _ => {
                        self.event(rows, last);
                        last = Some(next);
                    }
                }
            }
            self.event(rows, last);
        }
        for (interval, _) in intervals.iter().zip(met).filter(|(_, met)| !met) {
            if places.get(&interval.device).is_some() {
                let (start, end) = (format_event_time(interval.start), format_event_time(interval.end));
                self.unmatched
                    .push(told(&interval.device, &format!("{start} to {end}")));
            }
        }
    }

    fn event(&mut self, rows: &[u32], found: Option<(EventTime, EventTime, usize, usize)>) {
        let Some((start, end, first, behind)) = found else {
            return;
        };
        for place in &rows[first..behind] {
            self.event_of[*place as usize] = self.events.len() as u32;
        }
        self.events.push(Event { start, end });
    }
}
