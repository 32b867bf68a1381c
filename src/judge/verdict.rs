//! The verdict: how good the scores are, and what comes of a threshold.

use std::collections::HashMap;

use serde::Serialize;

use super::areas;
use super::budget::{Budget, Watched};
use super::labels::{Marked, NONE};
use super::sweep::{Case, Step, sweep};
use super::trial::Trial;

/// A silence longer than this counts as so long, in microseconds: a device that is away is not watched.
const LONGEST_STEP: i64 = 86_400_000_000;

/// What becomes of readings without a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscored {
    /// They are not judged: nothing was said of them.
    LeftOut,
    /// They are judged as lower than every score: a labelled one is missed.
    Lowest,
}

/// How is judged.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Flagged readings of a device within this time of each other are one alarm, microseconds.
    pub cool_down: i64,
    /// Readings of each device, from its first on, that are not judged.
    pub skip: u64,
    pub unscored: Unscored,
    pub budget: Option<Budget>,
    /// Thresholds to be told of; empty: some round ones.
    pub thresholds: Vec<f64>,
}

/// What comes of a threshold, or of the dataflow's own decisions. Shares are `None` where there is nothing to divide by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operating {
    /// `None`: as the dataflow decided.
    pub threshold: Option<f64>,
    pub flagged: u64,
    pub true_positives: u64,
    pub false_positives: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    pub alarms: u64,
    pub false_alarms: u64,
    pub alarms_per_device_day: Option<f64>,
    pub false_alarms_per_device_day: Option<f64>,
    pub events_detected: u64,
    /// Of the detected events.
    pub delay: Option<Delay>,
}

/// From an event's start to its first flagged reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delay {
    pub median_seconds: f64,
    pub p90_seconds: f64,
    pub max_seconds: f64,
    /// Judged readings of the event before the flagged one.
    pub median_readings: u64,
}

/// Areas of one device alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfDevice {
    pub device_id: String,
    pub judged: u64,
    pub labelled: u64,
    pub roc_area: Option<f64>,
    pub pr_area: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfBudget {
    pub budget: String,
    /// In all.
    pub allowed_false_alarms: f64,
    /// The lowest threshold that keeps to it, with all above it; `None`: not even the highest score does.
    pub operating: Option<Operating>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub readings: u64,
    pub judged: u64,
    /// Left out because of `--skip`.
    pub skipped: u64,
    /// Without a score, of those not skipped.
    pub unscored: u64,
    pub unscored_labelled: u64,
    pub devices: usize,
    pub device_days: f64,
    /// Judged readings that are labelled.
    pub labelled: u64,
    /// Events with at least one judged reading.
    pub events: u64,
    pub events_not_judged: u64,
    pub roc_area: Option<f64>,
    /// Average precision; by chance it is labelled / judged.
    pub pr_area: Option<f64>,
    pub as_configured: Operating,
    pub best_f1: Option<Operating>,
    pub budget: Option<OfBudget>,
    pub thresholds: Vec<Operating>,
    pub by_device: Vec<OfDevice>,
}

/// Judges a trial by its labels.
pub fn judge(trial: &Trial, marked: &Marked, rules: &Rules) -> Verdict {
    let bench = Bench::new(trial, marked, rules);
    let steps = sweep(&bench.cases, marked.events.len(), rules.cool_down);
    let (labelled, others) = bench.kinds(&bench.cases);
    let at = |threshold: f64| bench.operate(Some(threshold), |case| case.score >= threshold);
    let of_step = |place: usize| at(typeable(&steps, place));
    let best = best_f1(&steps, labelled).map(of_step);
    let budget = rules.budget.as_ref().map(|budget| {
        let allowed = budget.allows(&bench.watched);
        let kept = steps
            .iter()
            .take_while(|step| step.threshold > f64::NEG_INFINITY && f64::from(step.false_alarms) <= allowed)
            .count();
        OfBudget {
            budget: budget.to_string(),
            allowed_false_alarms: allowed,
            operating: kept.checked_sub(1).map(of_step),
        }
    });
    let round = if rules.thresholds.is_empty() {
        round_ones(&steps)
    } else {
        rules.thresholds.clone()
    };
    let thresholds = round.into_iter().map(at).collect();
    let as_configured = bench.operate(None, |case| case.anomalous);
    let by_device = bench.by_device(trial);
    Verdict {
        readings: trial.rows.len() as u64,
        judged: labelled + others,
        skipped: bench.counts.skipped,
        unscored: bench.counts.unscored,
        unscored_labelled: bench.counts.unscored_labelled,
        devices: bench.watched.devices,
        device_days: bench.watched.device_days(),
        labelled,
        events: bench.events,
        events_not_judged: marked.events.len() as u64 - bench.events,
        roc_area: areas::roc(&steps, labelled, others),
        pr_area: areas::precision_recall(&steps, labelled),
        as_configured,
        best_f1: best,
        budget,
        thresholds,
        by_device,
    }
}

#[derive(Default)]
struct Counts {
    skipped: u64,
    unscored: u64,
    unscored_labelled: u64,
}

/// All that is judged, device by device in the order of event time.
struct Bench<'a> {
    cases: Vec<Case>,
    marked: &'a Marked,
    cool_down: i64,
    watched: Watched,
    /// Events with judged readings.
    events: u64,
    counts: Counts,
}

impl<'a> Bench<'a> {
    fn new(trial: &Trial, marked: &'a Marked, rules: &Rules) -> Bench<'a> {
        let mut counts = Counts::default();
        let mut passed = vec![0; trial.devices.len()];
        // By the order of the source: the first ones are those that the forest met first.
        let beyond: Vec<bool> = trial
            .rows
            .iter()
            .map(|row| {
                let passed = &mut passed[row.device as usize];
                *passed += 1;
                *passed > rules.skip
            })
            .collect();
        let mut cases = Vec::with_capacity(trial.rows.len());
        for place in trial.by_device.iter().map(|place| *place as usize) {
            let (row, event) = (&trial.rows[place], marked.event_of[place]);
            if !beyond[place] {
                counts.skipped += 1;
                continue;
            }
            if row.score.is_nan() {
                counts.unscored += 1;
                counts.unscored_labelled += u64::from(event != NONE);
                if rules.unscored == Unscored::LeftOut {
                    continue;
                }
            }
            cases.push(Case {
                device: row.device,
                timestamp: row.timestamp,
                score: if row.score.is_nan() {
                    f64::NEG_INFINITY
                } else {
                    row.score
                },
                event,
                anomalous: row.anomalous,
            });
        }
        let mut events: Vec<u32> = cases
            .iter()
            .map(|case| case.event)
            .filter(|event| *event != NONE)
            .collect();
        events.sort_unstable();
        events.dedup();
        let mut watched = Watched::default();
        for of_device in cases.chunk_by(|a, b| a.device == b.device) {
            watched.devices += 1;
            watched.device_time += time_in(of_device.iter().map(|case| case.timestamp));
        }
        let mut times: Vec<i64> = cases.iter().map(|case| case.timestamp).collect();
        times.sort_unstable();
        watched.time = time_in(times.into_iter());
        Bench {
            cases,
            marked,
            cool_down: rules.cool_down,
            watched,
            events: events.len() as u64,
            counts,
        }
    }

    /// Labelled ones, and the others.
    fn kinds(&self, cases: &[Case]) -> (u64, u64) {
        let labelled = cases.iter().filter(|case| case.is_labelled()).count();
        (labelled as u64, (cases.len() - labelled) as u64)
    }

    fn operate(&self, threshold: Option<f64>, flags: impl Fn(&Case) -> bool) -> Operating {
        let mut delays: Vec<(i64, u64)> = Vec::new();
        let (mut flagged, mut hits, mut alarms, mut true_alarms) = (0, 0, 0, 0);
        // The last flagged reading, and whether a labelled one is in its incident.
        let mut last: Option<(&Case, bool)> = None;
        let mut readings: HashMap<u32, Option<u64>> = HashMap::new();
        for case in &self.cases {
            let flag = flags(case);
            if case.is_labelled() {
                // How many of the event came before; None: it is detected.
                let before = readings.entry(case.event).or_insert(Some(0));
                if let (Some(count), true) = (*before, flag) {
                    let start = self.marked.events[case.event as usize].start;
                    delays.push((case.timestamp.saturating_sub(start).max(0), count));
                    *before = None;
                } else if let Some(count) = before {
                    *count += 1;
                }
            }
            if !flag {
                continue;
            }
            flagged += 1;
            hits += u64::from(case.is_labelled());
            let same = last.filter(|(other, _)| {
                other.device == case.device && case.timestamp.abs_diff(other.timestamp) <= self.cool_down.unsigned_abs()
            });
            let was_true = same.is_some_and(|(_, labelled)| labelled);
            alarms += u64::from(same.is_none());
            true_alarms += u64::from(!was_true && case.is_labelled());
            last = Some((case, was_true || case.is_labelled()));
        }
        let (labelled, _) = self.kinds(&self.cases);
        let share = |of: u64, all: u64| (all > 0).then(|| of as f64 / all as f64);
        let days = self.watched.device_days();
        let per_day = |count: u64| (days > 0.0).then(|| count as f64 / days);
        Operating {
            threshold,
            flagged,
            true_positives: hits,
            false_positives: flagged - hits,
            precision: share(hits, flagged),
            recall: share(hits, labelled),
            f1: share(2 * hits, labelled + flagged).filter(|_| labelled > 0),
            alarms,
            false_alarms: alarms - true_alarms,
            alarms_per_device_day: per_day(alarms),
            false_alarms_per_device_day: per_day(alarms - true_alarms),
            events_detected: delays.len() as u64,
            delay: Delay::of(delays),
        }
    }

    fn by_device(&self, trial: &Trial) -> Vec<OfDevice> {
        let of_device = |cases: &[Case]| {
            let (labelled, others) = self.kinds(cases);
            let steps = sweep(cases, self.marked.events.len(), self.cool_down);
            OfDevice {
                device_id: trial.devices[cases[0].device as usize].text().to_string(),
                judged: labelled + others,
                labelled,
                roc_area: areas::roc(&steps, labelled, others),
                pr_area: areas::precision_recall(&steps, labelled),
            }
        };
        let devices = self.cases.chunk_by(|a, b| a.device == b.device);
        devices
            .filter(|cases| cases.iter().any(Case::is_labelled))
            .map(of_device)
            .collect()
    }
}

impl Delay {
    fn of(mut delays: Vec<(i64, u64)>) -> Option<Delay> {
        let last = delays.len().checked_sub(1)?;
        delays.sort_unstable();
        // The lower of two in the middle; the nearest rank.
        let seconds = |place: usize| delays[place].0 as f64 / 1e6;
        let (median, p90, max) = (seconds(last / 2), seconds((last * 9).div_ceil(10)), seconds(last));
        let mut readings: Vec<u64> = delays.iter().map(|(_, count)| *count).collect();
        readings.sort_unstable();
        Some(Delay {
            median_seconds: median,
            p90_seconds: p90,
            max_seconds: max,
            median_readings: readings[last / 2],
        })
    }
}

/// How long ordered times go on, silences counted up to [`LONGEST_STEP`].
fn time_in(times: impl Iterator<Item = i64>) -> i64 {
    let (mut sum, mut before) = (0i64, None);
    for time in times {
        let step = before.map_or(0, |before| time.saturating_sub(before).min(LONGEST_STEP));
        sum = sum.saturating_add(step);
        before = Some(time);
    }
    sum
}

/// The step with the highest F1; of several the one with the highest threshold.
fn best_f1(steps: &[Step], labelled: u64) -> Option<usize> {
    let f1 = |step: &Step| (2 * u64::from(step.hits), labelled + u64::from(step.flagged));
    let mut best: Option<usize> = None;
    for (place, step) in steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.threshold > f64::NEG_INFINITY)
    {
        let (hits, of) = f1(step);
        let better = best.is_none_or(|best| {
            let (most, most_of) = f1(&steps[best]);
            u128::from(hits) * u128::from(most_of) > u128::from(most) * u128::from(of)
        });
        if hits > 0 && better {
            best = Some(place);
        }
    }
    best
}

/// A threshold that flags what the step does, with as few digits as there is room for: people type it into their settings.
fn typeable(steps: &[Step], place: usize) -> f64 {
    let highest = steps[place].threshold;
    let beyond = steps.get(place + 1).map_or(f64::NEG_INFINITY, |step| step.threshold);
    for digits in 0..12 {
        let scale = 10u64.pow(digits) as f64;
        let candidate = (highest * scale).floor() / scale;
        if candidate > beyond && candidate <= highest && candidate > 0.0 {
            return candidate;
        }
    }
    highest
}

/// About ten round thresholds from the upper half of the scores to the highest.
fn round_ones(steps: &[Step]) -> Vec<f64> {
    let scores: Vec<&Step> = steps.iter().filter(|step| step.threshold > f64::NEG_INFINITY).collect();
    let (Some(first), Some(last)) = (scores.first(), scores.last()) else {
        return Vec::new();
    };
    let middle = scores
        .iter()
        .find(|step| step.flagged * 2 >= last.flagged)
        .unwrap_or(last);
    let range = first.threshold - middle.threshold;
    let widths = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];
    let width = widths.into_iter().find(|width| range / width <= 12.0).unwrap_or(100.0);
    let from = (middle.threshold / width).ceil() as i64;
    let to = (first.threshold / width).floor() as i64;
    (from..=to)
        .map(|n| (n as f64 * width * 100.0).round() / 100.0)
        .collect()
}
