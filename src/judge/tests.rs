//! Everything against slow and obvious references, on readings with many ties, missing scores and several devices.

use std::collections::BTreeSet;

use compact_str::CompactString;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::labels::{Interval, NONE, Point};
use super::*;
use crate::record::{DeviceId, Zone};

const RULES: Rules = Rules {
    cool_down: 3,
    skip: 0,
    unscored: Unscored::LeftOut,
    budget: None,
    thresholds: Vec::new(),
};

/// (device, time, score in quarters, labelled)
type Sample = (u8, i64, Option<u8>, bool);

fn outcome(position: u64, (device, timestamp, score, _): &Sample) -> Outcome {
    Outcome {
        position,
        device: DeviceId::new(format!("d{device}")),
        timestamp: *timestamp,
        score: score.map(|quarters| f64::from(quarters) / 4.0),
        anomalous: score.is_some_and(|quarters| quarters >= 5),
    }
}

fn trial(samples: &[Sample]) -> (Trial, Marked) {
    let trial = Trial::new((0..).zip(samples).map(|(position, sample)| outcome(position, sample)));
    let labels = (0..).zip(samples).filter(|(_, sample)| sample.3);
    let labels = Labels::Column(labels.map(|(position, _)| (position, "x".into())).collect());
    let marked = labels.mark(&trial);
    (trial, marked)
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let score = proptest::option::weighted(0.9, 0u8..9);
    proptest::collection::vec((0u8..3, 0i64..60, score, proptest::bool::weighted(0.3)), 1..60)
}

/// Every pair of a labelled reading and another one.
fn slow_roc(scored: &[(f64, bool)]) -> Option<f64> {
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (score, _) in scored.iter().filter(|(_, labelled)| *labelled) {
        for (other, _) in scored.iter().filter(|(_, labelled)| !labelled) {
            pairs += 1.0;
            sum += if score > other {
                1.0
            } else if score == other {
                0.5
            } else {
                0.0
            };
        }
    }
    (pairs > 0.0).then(|| sum / pairs)
}

/// Precision and recall anew at each threshold.
fn slow_precision_recall(scored: &[(f64, bool)]) -> Option<f64> {
    let labelled = scored.iter().filter(|(_, labelled)| *labelled).count() as f64;
    let mut thresholds: Vec<f64> = scored.iter().map(|(score, _)| *score).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let (mut area, mut recall_before) = (0.0, 0.0);
    for threshold in thresholds {
        let flagged: Vec<bool> = scored
            .iter()
            .filter(|(s, _)| *s >= threshold)
            .map(|(_, l)| *l)
            .collect();
        let hits = flagged.iter().filter(|labelled| **labelled).count() as f64;
        area += (hits / labelled - recall_before) * hits / flagged.len() as f64;
        recall_before = hits / labelled;
    }
    (labelled > 0.0).then_some(area)
}

/// (flagged, hits, alarms, false alarms, events) at a threshold, each counted on its own.
fn slow_counts(samples: &[Sample], marked: &Marked, cool_down: i64, threshold: f64) -> [u64; 5] {
    let flagged: Vec<usize> = (0..samples.len())
        .filter(|i| {
            samples[*i]
                .2
                .is_some_and(|quarters| f64::from(quarters) / 4.0 >= threshold)
        })
        .collect();
    let hits = flagged.iter().filter(|i| samples[**i].3).count();
    let events: BTreeSet<u32> = flagged
        .iter()
        .map(|i| marked.event_of[*i])
        .filter(|e| *e != NONE)
        .collect();
    let (mut alarms, mut false_alarms) = (0, 0);
    for device in 0..3 {
        let mut times: Vec<(i64, bool)> = flagged
            .iter()
            .filter(|i| samples[**i].0 == device)
            .map(|i| (samples[*i].1, samples[*i].3))
            .collect();
        times.sort_unstable();
        for incident in times.chunk_by(|a, b| b.0 - a.0 <= cool_down) {
            alarms += 1;
            false_alarms += u64::from(!incident.iter().any(|(_, labelled)| *labelled));
        }
    }
    [
        flagged.len() as u64,
        hits as u64,
        alarms,
        false_alarms,
        events.len() as u64,
    ]
}

fn counts(operating: &Operating) -> [u64; 5] {
    let o = operating;
    [o.flagged, o.true_positives, o.alarms, o.false_alarms, o.events_detected]
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-12,
        (a, b) => a == b,
    }
}

proptest! {
    #[test]
    fn areas_are_those_of_the_definition(samples in samples(), lowest: bool) {
        let (trial, marked) = trial(&samples);
        let unscored = if lowest { Unscored::Lowest } else { Unscored::LeftOut };
        let verdict = judge(&trial, &marked, &Rules { unscored, ..RULES });
        let scored: Vec<(f64, bool)> = samples
            .iter()
            .filter(|sample| lowest || sample.2.is_some())
            .map(|sample| (sample.2.map_or(f64::NEG_INFINITY, |q| f64::from(q) / 4.0), sample.3))
            .collect();
        prop_assert_eq!(verdict.judged, scored.len() as u64);
        prop_assert!(same(verdict.roc_area, slow_roc(&scored)), "{:?}", verdict.roc_area);
        prop_assert!(same(verdict.pr_area, slow_precision_recall(&scored)), "{:?}", verdict.pr_area);
        let scoreless = samples.iter().filter(|sample| sample.2.is_none());
        prop_assert_eq!(verdict.unscored, scoreless.clone().count() as u64);
        prop_assert_eq!(verdict.unscored_labelled, scoreless.filter(|sample| sample.3).count() as u64);
    }

    #[test]
    fn a_threshold_comes_to_what_counting_comes_to(samples in samples(), cool_down in 0i64..9) {
        let (trial, marked) = trial(&samples);
        let thresholds: Vec<f64> = (0..10).map(|quarters| f64::from(quarters) / 4.0).collect();
        let verdict = judge(&trial, &marked, &Rules { cool_down, thresholds: thresholds.clone(), ..RULES });
        for (threshold, operating) in thresholds.into_iter().zip(&verdict.thresholds) {
            prop_assert_eq!(counts(operating), slow_counts(&samples, &marked, cool_down, threshold), "{}", threshold);
        }
        prop_assert_eq!(counts(&verdict.as_configured), slow_counts(&samples, &marked, cool_down, 1.25));
    }

    #[test]
    fn the_sweep_counts_every_threshold_as_it_is_alone(samples in samples(), cool_down in 0i64..9) {
        let (trial, marked) = trial(&samples);
        let cases: Vec<sweep::Case> = trial.by_device.iter().map(|place| {
            let row = &trial.rows[*place as usize];
            let score = if row.score.is_nan() { f64::NEG_INFINITY } else { row.score };
            let event = marked.event_of[*place as usize];
            sweep::Case { device: row.device, timestamp: row.timestamp, score, event, anomalous: row.anomalous }
        }).collect();
        for step in sweep::sweep(&cases, marked.events.len(), cool_down) {
            if step.threshold > f64::NEG_INFINITY {
                let found = [step.flagged, step.hits, step.alarms, step.false_alarms, step.events].map(u64::from);
                prop_assert_eq!(found, slow_counts(&samples, &marked, cool_down, step.threshold));
            } else {
                prop_assert_eq!(step.flagged as usize, samples.len());
            }
        }
    }

    #[test]
    fn the_budget_is_kept_at_the_threshold_and_above_and_broken_below(samples in samples(), cool_down in 0i64..9, most in 0u32..5) {
        let (trial, marked) = trial(&samples);
        let budget = Some(most.to_string().parse().expect("a budget"));
        let verdict = judge(&trial, &marked, &Rules { cool_down, budget, ..RULES });
        let at = |quarters: u8| slow_counts(&samples, &marked, cool_down, f64::from(quarters) / 4.0);
        let mut scores: Vec<u8> = samples.iter().filter_map(|sample| sample.2).collect();
        scores.sort_unstable();
        scores.dedup();
        let lowest = scores.iter().rev().take_while(|quarters| at(**quarters)[3] <= u64::from(most)).last();
        let found = verdict.budget.and_then(|budget| budget.operating);
        prop_assert_eq!(found.as_ref().map(counts), lowest.map(|quarters| at(*quarters)));
    }

    #[test]
    fn the_best_f1_is_the_best_of_all(samples in samples()) {
        let (trial, marked) = trial(&samples);
        let thresholds: Vec<f64> = (0..10).map(|quarters| f64::from(quarters) / 4.0).collect();
        let verdict = judge(&trial, &marked, &Rules { thresholds, ..RULES });
        let best = verdict.thresholds.iter().filter_map(|operating| operating.f1).fold(0.0, f64::max);
        prop_assert!(same(Some(best), Some(verdict.best_f1.and_then(|operating| operating.f1).unwrap_or(0.0))));
    }

    #[test]
    fn nothing_shows_in_which_order_outcomes_arrive(samples in samples(), turn in 0usize..60) {
        let (one, marked) = trial(&samples);
        let mut outcomes: Vec<Outcome> = (0..).zip(&samples).map(|(position, sample)| outcome(position, sample)).collect();
        outcomes.rotate_left(turn % samples.len());
        outcomes.reverse();
        let other = Trial::new(outcomes);
        prop_assert_eq!(judge(&one, &marked, &RULES), judge(&other, &marked, &RULES));
    }

    #[test]
    fn any_text_is_labels_or_an_error_of_one_line(text in "\\PC{0,60}|(device_id|timestamp|start|end|label|,|\n|2020-01-01|[a-z]){0,12}|[\\[\\]{}\":,0-9a]{0,30}") {
        if let Err(error) = Labels::read(&text, &zone()) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }
}

fn zone() -> Zone {
    Zone::new(TimeZone::UTC, 1_000_000)
}

fn read(text: &str) -> Result<Labels, String> {
    Labels::read(text, &zone()).map_err(|e| e.to_string())
}

fn device(name: &str) -> Option<CompactString> {
    Some(name.into())
}

#[test]
fn every_form_of_labels_is_read() {
    let point = |device, timestamp, what: &str| Point {
        device,
        timestamp,
        what: what.into(),
    };
    let Ok(Labels::Points(points)) = read(
        "timestamp,device_id,fault,measures\n1970-01-01T00:00:01Z,a,spike,x;y\n2000000,b,,\n3,b,normal,\n4000000,\"b\",1,\n",
    ) else {
        panic!("points")
    };
    assert_eq!(
        points,
        [
            point(device("a"), 1_000_000, "spike"),
            point(device("b"), 4_000_000, "1")
        ]
    );
    let Ok(Labels::Points(points)) = read("Timestamp\n7\n") else {
        panic!("points")
    };
    assert_eq!(points, [point(None, 7, "")]);
    let interval = |device, start, end| Interval { device, start, end };
    let Ok(Labels::Intervals(intervals)) = read("device_id;start;end\na;1;5\n") else {
        panic!("intervals")
    };
    assert_eq!(intervals, [interval(device("a"), 1, 5)]);
    let Ok(Labels::Intervals(intervals)) =
        read("{\"x/a.csv\": [[\"1970-01-01 00:00:00.000001\", \"1970-01-01 00:00:00.000009\"]], \"b.csv\": []}")
    else {
        panic!("intervals")
    };
    assert_eq!(intervals, [interval(device("a"), 1, 9)]);
    let Ok(Labels::Points(points)) = read("{\"x/a.csv\": [\"1970-01-01 00:00:01\"]}") else {
        panic!("points")
    };
    assert_eq!(points, [point(device("a"), 1_000_000, "")]);
}

#[test]
fn what_is_wrong_with_labels_is_told_with_its_line() {
    for (text, told) in [
        ("", "it is empty"),
        ("a,b\n1,2\n", "neither timestamp nor start and end"),
        ("timestamp,device_id\nyesterday,a\n", "line 2: timestamp is no time"),
        ("timestamp,device_id\n1,a\n2,\n", "line 3 has no device"),
        ("timestamp,device_id\n1\n", "line 2 does not fit the header"),
        ("start,end\n5,1\n", "line 2: the end is before the start"),
        ("{\"a\": 1}", "a is no list"),
        ("{\"a\": [[1]]}", "no pair of start and end"),
        ("{\"a\": [1", "no JSON at line 1"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(told), "{text:?}: {error}");
    }
}

#[test]
fn labels_without_a_reading_are_named() {
    let samples: [Sample; 4] = [
        (0, 1, None, false),
        (0, 2, None, false),
        (1, 2, None, false),
        (1, 9, None, false),
    ];
    let (trial, _) = trial(&samples);
    let labels = read("device_id,timestamp,label\nd0,2,a\nd0,3,a\nd7,2,a\n").expect("labels");
    let marked = labels.mark(&trial);
    assert_eq!(marked.event_of, [NONE, 0, NONE, NONE]);
    assert_eq!(marked.unmatched, ["d0 at 1970-01-01T00:00:00.000003"]);
    assert_eq!(marked.absent, ["d7"]);
    let labels = read("device_id,start,end\nd1,3,8\nd1,0,2\nd1,2,3\nd0,0,9\n").expect("labels");
    let marked = labels.mark(&trial);
    assert_eq!(marked.event_of, [0, 0, 1, NONE]);
    assert_eq!(
        marked.events[1],
        Event { start: 0, end: 3 },
        "overlapping ones are one event"
    );
    assert_eq!(marked.unmatched.len(), 1);
    let of_any = read("timestamp\n2\n").expect("labels").mark(&trial);
    assert_eq!(of_any.event_of, [NONE, 0, 1, NONE]);
}

#[test]
fn a_delay_is_from_the_events_start_to_its_first_flagged_reading() {
    let samples: [Sample; 5] = [
        (0, 0, Some(1), false),
        (0, 10, Some(1), true),
        (0, 20, Some(8), true),
        (0, 30, Some(8), true),
        (1, 5, Some(8), true),
    ];
    let (trial, marked) = trial(&samples);
    let verdict = judge(&trial, &marked, &RULES);
    let delay = verdict.as_configured.delay.expect("both are detected");
    assert_eq!(
        (delay.median_seconds, delay.max_seconds, delay.median_readings),
        (0.0, 10e-6, 0)
    );
    assert_eq!((verdict.events, verdict.as_configured.events_detected), (2, 2));
}

#[test]
fn thresholds_can_be_typed_and_flag_the_same() {
    let score = [0.7312345, 0.99, 2.34567, 2.349];
    let outcomes = (0..).zip(score).map(|(position, score)| Outcome {
        position,
        device: DeviceId::new("d"),
        timestamp: position as i64 * 100,
        score: Some(score),
        anomalous: false,
    });
    let trial = Trial::new(outcomes);
    let marked = Labels::Column([(2, "x".into()), (3, "x".into())].into()).mark(&trial);
    let best = judge(&trial, &marked, &RULES).best_f1.expect("there are labels");
    assert_eq!((best.threshold, best.f1), (Some(2.0), Some(1.0)));
}

#[test]
fn the_first_readings_of_each_device_can_be_skipped() {
    let samples: [Sample; 4] = [
        (0, 1, Some(1), true),
        (1, 1, Some(1), false),
        (0, 2, Some(2), false),
        (0, 3, Some(3), true),
    ];
    let (trial, marked) = trial(&samples);
    let verdict = judge(&trial, &marked, &Rules { skip: 1, ..RULES });
    assert_eq!((verdict.judged, verdict.skipped, verdict.labelled), (2, 2, 1));
    assert_eq!((verdict.events, verdict.events_not_judged), (1, 1));
}
