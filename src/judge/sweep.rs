//! Every threshold at once: what is flagged, which alarms there are and which events are detected, from the highest score down.
//!
//! Readings become flagged one by one. Who a reading's flagged neighbours are is found out beforehand, by taking the readings away in the
//! opposite order from a linked list; incidents that grow together are joined in a forest of disjoint sets. So the whole costs one sort.

use super::labels::NONE;
use crate::record::EventTime;

/// A reading that is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) device: u32,
    pub(super) timestamp: EventTime,
    /// Minus infinity: it is below every threshold. Never NaN.
    pub(super) score: f64,
    pub(super) event: u32,
    pub(super) anomalous: bool,
}

impl Case {
    pub(super) fn is_labelled(&self) -> bool {
        self.event != NONE
    }
}

/// What there is at a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) threshold: f64,
    /// Readings that reach it.
    pub(super) flagged: u32,
    /// Labelled ones among them.
    pub(super) hits: u32,
    pub(super) alarms: u32,
    pub(super) false_alarms: u32,
    /// Events detected.
    pub(super) events: u32,
}

/// A step for every score there is, the highest first. `cases` are device by device in the order of event time; flagged readings of a device
/// belong to one incident if they follow each other within `cool_down`.
pub(super) fn sweep(cases: &[Case], events: usize, cool_down: i64) -> Vec<Step> {
    let mut order: Vec<u32> = (0..cases.len() as u32).collect();
    order.sort_unstable_by(|a, b| {
        let score = |place: &u32| cases[*place as usize].score;
        score(b).total_cmp(&score(a)).then_with(|| a.cmp(b))
    });
    let neighbours = neighbours(cases, &order);
    let mut incidents = Incidents::new(cases);
    let mut detected = vec![false; events];
    let mut now = Step::default();
    let mut steps: Vec<Step> = Vec::new();
    for place in order {
        let case = &cases[place as usize];
        now.flagged += 1;
        if case.is_labelled() {
            now.hits += 1;
            let seen = &mut detected[case.event as usize];
            now.events += u32::from(!std::mem::replace(seen, true));
        }
        incidents.open(place);
        for neighbour in neighbours[place as usize]
            .into_iter()
            .filter(|neighbour| *neighbour != NONE)
        {
            let other = &cases[neighbour as usize];
            if other.device == case.device && other.timestamp.abs_diff(case.timestamp) <= cool_down.unsigned_abs() {
                incidents.join(place, neighbour);
            }
        }
        (now.threshold, now.alarms, now.false_alarms) = (case.score, incidents.all, incidents.unlabelled);
        match steps.last_mut().filter(|last| last.threshold == case.score) {
            Some(last) => *last = now,
            None => steps.push(now),
        }
    }
    steps
}

/// For each case the nearest ones before and behind it among those that come before it in `order`, or [`NONE`].
fn neighbours(cases: &[Case], order: &[u32]) -> Vec<[u32; 2]> {
    let count = cases.len() as u32;
    let mut links: Vec<[u32; 2]> = (0..count)
        .map(|place| {
            [
                place.checked_sub(1).unwrap_or(NONE),
                if place + 1 < count { place + 1 } else { NONE },
            ]
        })
        .collect();
    for place in order.iter().rev() {
        // Its own links stay as they are now: those left in the list are the ones that are flagged before it.
        let [before, behind] = links[*place as usize];
        if before != NONE {
            links[before as usize][1] = behind;
        }
        if behind != NONE {
            links[behind as usize][0] = before;
        }
    }
    links
}

/// Disjoint sets of readings, each an incident.
struct Incidents {
    parent: Vec<u32>,
    labelled: Vec<bool>,
    all: u32,
    unlabelled: u32,
}

impl Incidents {
    fn new(cases: &[Case]) -> Incidents {
        Incidents {
            parent: (0..cases.len() as u32).collect(),
            labelled: cases.iter().map(Case::is_labelled).collect(),
            all: 0,
            unlabelled: 0,
        }
    }

    fn open(&mut self, place: u32) {
        self.all += 1;
        self.unlabelled += u32::from(!self.labelled[place as usize]);
    }

    fn root(&mut self, place: u32) -> u32 {
        let mut at = place;
        while self.parent[at as usize] != at {
            let above = self.parent[self.parent[at as usize] as usize];
            self.parent[at as usize] = above; // halves the way for the next one
            at = above;
        }
        at
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let unlabelled = [a, b].map(|root| u32::from(!self.labelled[root as usize]));
        self.parent[a as usize] = b;
        self.labelled[b as usize] |= self.labelled[a as usize];
        self.all -= 1;
        self.unlabelled -= unlabelled[0] + unlabelled[1];
        self.unlabelled += u32::from(!self.labelled[b as usize]);
    }
}
