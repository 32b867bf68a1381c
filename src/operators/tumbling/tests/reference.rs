//! Watermark, lateness and windows once more, as the contract's words have them: walk the readings by position, keep every
//! window in a list for ever, and add up each window's readings anew whenever it is written.

use std::collections::BTreeSet;

use super::{Case, Outcome, Row, Sample, bits, device, manufacturer};

struct Window {
    start: i64,
    grouping: usize,
    key: Option<String>,
    /// Whose watermark it is under.
    owner: Option<String>,
    samples: Vec<Sample>,
    written: u32,
    /// Has readings that no written row counts.
    due: bool,
}

/// One clock: who has been seen, the highest event time that counts, and what is too far ahead of it to count yet.
#[derive(Default)]
struct Clock {
    owner: Option<String>,
    devices: BTreeSet<u8>,
    high: Option<i64>,
    ahead: Vec<(u8, i64)>,
}

impl Clock {
    /// The highest event time that counts, when one more reading is seen.
    fn see(&mut self, device: u8, time: i64, max_jump: i64) -> Option<i64> {
        self.devices.insert(device);
        self.ahead.push((device, time));
        // What two devices have come to counts; while there is only one, what two of its times have come to.
        let confirms = |a: &(u8, i64), b: &(u8, i64)| a.0 != b.0 || (self.devices.len() == 1 && a.1 != b.1);
        for (a, b) in self.ahead.iter().flat_map(|a| self.ahead.iter().map(move |b| (a, b))) {
            if confirms(a, b) {
                self.high = self.high.max(Some(a.1.min(b.1)));
            }
        }
        // And whatever is no jump from there.
        while let Some(high) = self.high {
            let next = self
                .ahead
                .iter()
                .map(|(_, time)| *time)
                .filter(|time| *time <= high + max_jump)
                .max();
            if next <= Some(high) {
                break;
            }
            self.high = next;
        }
        // Of what waits, the farthest is remembered.
        self.ahead.retain(|(_, time)| Some(*time) > self.high);
        self.ahead.sort_by_key(|(_, time)| -time);
        self.ahead.truncate(1);
        self.high
    }
}

pub(super) fn run(case: &Case) -> Outcome {
    let rules = case.rules;
    let (mut clocks, mut windows, mut rows, mut late) = (Vec::<Clock>::new(), Vec::new(), Vec::new(), Vec::new());
    for (position, sample) in (0..).zip(&case.samples) {
        let owner = case.per_device.then(|| device(sample));
        if !clocks.iter().any(|clock| clock.owner == owner) {
            clocks.push(Clock {
                owner: owner.clone(),
                ..Clock::default()
            });
        }
        let clock = clocks.iter_mut().find(|clock| clock.owner == owner).expect("just made");
        let before = clock.high.map(|high| high - rules.out_of_orderness);
        let watermark = clock
            .see(sample.device, sample.time, rules.max_jump)
            .map(|high| high - rules.out_of_orderness);

        // The watermark passes a multiple of the window size: ended windows and corrections are written.
        let multiple = |watermark: i64| watermark.div_euclid(rules.size);
        if let Some(watermark) = watermark
            && before.is_none_or(|before| multiple(before) < multiple(watermark))
        {
            for window in windows.iter_mut().filter(|w: &&mut Window| w.owner == owner && w.due) {
                if window.start + rules.size <= watermark {
                    rows.push(window.write(case, position));
                }
            }
        }

        let start = sample.time.div_euclid(rules.size) * rules.size;
        let end = start + rules.size;
        let too_late = watermark.is_some_and(|watermark| watermark >= end + rules.allowed_lateness);
        late.push(too_late);
        if too_late {
            continue;
        }
        for (grouping, key) in keys(sample, case.per_device).into_iter().enumerate() {
            let is = |w: &Window| (w.start, w.grouping, &w.key) == (start, grouping, &key);
            if !windows.iter().any(is) {
                windows.push(Window {
                    start,
                    grouping,
                    key: key.clone(),
                    owner: owner.clone(),
                    samples: Vec::new(),
                    written: 0,
                    due: true,
                });
            }
            let window = windows.iter_mut().find(|w| is(w)).expect("just made");
            window.samples.push(sample.clone());
            window.due = true;
        }
    }
    rows.extend(
        windows
            .iter_mut()
            .filter(|w| w.due)
            .map(|window| window.write(case, u64::MAX)),
    );
    rows.sort_unstable();
    Outcome { late, rows }
}

fn keys(sample: &Sample, per_device: bool) -> [Option<String>; 2] {
    match per_device {
        true => {
            let manufacturer = manufacturer(sample).unwrap_or_else(|| "\\N".into());
            [Some(device(sample)), Some(format!("{manufacturer},{}", device(sample)))]
        }
        false => [manufacturer(sample), Some(device(sample))],
    }
}

impl Window {
    fn write(&mut self, case: &Case, completed_at: u64) -> Row {
        (self.written, self.due) = (self.written + 1, false);
        let scores: Vec<f64> = self.samples.iter().filter_map(|s| s.score).collect();
        let measures = (0..2).map(|i| {
            let values: Vec<f64> = self
                .samples
                .iter()
                .map(|s| s.measures[i])
                .filter(|v| !v.is_nan())
                .collect();
            let (mean, deviation) = mean_and_deviation(&values);
            let (least, greatest) = (
                first_extreme(&values, |a, b| a < b),
                first_extreme(&values, |a, b| a > b),
            );
            (values.len() as u64, [least, greatest, mean, deviation].map(bits))
        });
        Row {
            start: self.start,
            grouping: self.grouping,
            key: self.key.clone(),
            revision: self.written - 1,
            end: self.start + case.rules.size,
            records: self.samples.len() as u64,
            anomalies: self.samples.iter().filter(|s| s.anomalous).count() as u64,
            measures: measures.collect(),
            score: [first_extreme(&scores, |a, b| a > b), mean_and_deviation(&scores).0].map(bits),
            completed_at,
        }
    }
}

/// Of equal values the first.
fn first_extreme(values: &[f64], beats: fn(f64, f64) -> bool) -> Option<f64> {
    values
        .iter()
        .copied()
        .reduce(|best, value| if beats(value, best) { value } else { best })
}

/// Welford's recurrence: M_k = M_{k-1} + (x_k - M_{k-1}) / k, S_k = S_{k-1} + (x_k - M_{k-1}) (x_k - M_k).
fn mean_and_deviation(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (k, x) in (1u32..).zip(values) {
        let before = mean;
        mean = before + (x - before) / f64::from(k);
        squares += (x - before) * (x - mean);
    }
    let deviation = |n: usize| (squares / (n - 1) as f64).sqrt();
    match values.len() {
        0 => (None, None),
        1 => (Some(mean), None),
        n => (Some(mean), Some(deviation(n))),
    }
}
