use std::sync::Arc;

use proptest::prelude::*;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::vec::Map;

use super::super::Mark;
use super::super::mark_late;
use super::super::replay::{Life, Plan, Seen, replay, replay_lives};
use super::super::watermark::{watermark, watermark_per_device};
use super::*;
use crate::record::{Device, Reading};

mod reference;

/// A reading, told shortly.
#[derive(Clone, Debug)]
struct Sample {
    time: i64,
    device: u8,
    /// 0: no facts, 1: facts without a manufacturer, else a manufacturer.
    manufacturer: u8,
    measures: [f64; 2],
    score: Option<f64>,
    anomalous: bool,
}

#[derive(Clone, Debug)]
struct Case {
    samples: Vec<Sample>,
    rules: WatermarkRules,
    per_device: bool,
}

/// What comes out, all of it comparable to the bit.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// By position.
    late: Vec<bool>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    start: i64,
    grouping: usize,
    key: Option<String>,
    revision: u32,
    end: i64,
    records: u64,
    anomalies: u64,
    /// For each measure count, and least, greatest, mean and deviation as bits.
    measures: Vec<(u64, [Option<u64>; 4])>,
    score: [Option<u64>; 2],
    completed_at: u64,
}

fn bits(value: Option<f64>) -> Option<u64> {
    value.map(f64::to_bits)
}

fn row_of(row: &WindowRow) -> Row {
    assert_eq!(row.window_score, None, "set further on");
    let of = |m: &Statistics| (m.count, [m.min(), m.max(), m.mean(), m.deviation()].map(bits));
    Row {
        start: row.start,
        grouping: row.grouping,
        key: row.key.as_deref().map(str::to_owned),
        revision: row.revision,
        end: row.end,
        records: row.records,
        anomalies: row.anomalies,
        measures: row.measures.iter().map(of).collect(),
        score: [row.score_max, row.score_mean].map(bits),
        completed_at: row.completed_at,
    }
}

fn device(sample: &Sample) -> String {
    format!("monitor-{}", sample.device)
}

fn manufacturer(sample: &Sample) -> Option<String> {
    (sample.manufacturer > 1).then(|| format!("maker-{}", sample.manufacturer))
}

fn reading(position: u64, sample: &Sample) -> Reading {
    let facts = Device {
        manufacturer: manufacturer(sample).map(Into::into),
        ..Device::default()
    };
    Reading {
        position,
        timestamp: sample.time,
        received: i64::MAX,
        device: DeviceId::new(device(sample)),
        patient: None,
        measures: sample.measures.as_slice().into(),
        fingerprint: position,
        facts: (sample.manufacturer > 0).then(|| Arc::new(facts)),
        late: false,
    }
}

fn groupings(per_device: bool) -> Vec<Grouping> {
    let by = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Grouping::new(&names, &[]).expect("known columns")
    };
    match per_device {
        true => vec![by(&["device_id"]), by(&["manufacturer", "device_id"])],
        false => vec![by(&["manufacturer"]), by(&["device_id"])],
    }
}

/// What a worker sees: a reading's position and lateness, or a row.
type Sight = (Option<(u64, bool)>, Option<Row>);

/// The operators themselves.
fn build<'scope>(
    case: &Arc<Case>,
    readings: Rows<'scope, Reading>,
    ends: Rows<'scope, Mark>,
    checkpoints: Option<&Checkpoints>,
    seen: Seen<Sight>,
) {
    let Case { rules, per_device, .. } = **case;
    let (readings, steps) = match per_device {
        true => watermark_per_device(readings, ends, rules, checkpoints),
        false => watermark(readings, ends, rules, checkpoints),
    };
    let samples = Arc::clone(case);
    let scored = readings.map(move |reading| {
        let sample = &samples.samples[reading.position as usize];
        let attribution = sample.anomalous.then(Box::default);
        Scored {
            score: sample.score,
            attribution,
            threshold: None,
            reading,
        }
    });
    let scored = match per_device {
        true => scored,
        false => mark_late(scored, steps.clone(), rules, checkpoints),
    };
    let windows = Tumbling {
        groupings: groupings(per_device),
        measures: 2,
        rules,
        per_device,
    };
    let (scored, rows) = tumbling(scored, steps, windows, checkpoints);
    let (late, row) = (seen.clone(), seen);
    scored.inspect(move |s| {
        late.borrow_mut()
            .push((Some((s.reading.position, s.reading.late)), None))
    });
    rows.inspect(move |r| row.borrow_mut().push((None, Some(row_of(r)))));
}

fn readings(case: &Case) -> Vec<Reading> {
    let samples = (0..).zip(&case.samples);
    samples.map(|(at, sample)| reading(at, sample)).collect()
}

fn outcome(case: &Case, sights: Vec<Sight>) -> Outcome {
    let (mut late, mut rows) = (Vec::new(), Vec::new());
    for (reading, row) in sights {
        late.extend(reading);
        rows.extend(row);
    }
    late.sort_unstable();
    rows.sort_unstable();
    assert!(
        late.iter()
            .map(|(position, _)| *position)
            .eq(0..case.samples.len() as u64),
        "each reading once"
    );
    Outcome {
        late: late.into_iter().map(|(_, late)| late).collect(),
        rows,
    }
}

fn run(case: &Case, plan: Plan) -> Outcome {
    let shared = Arc::new(case.clone());
    let sights = replay(plan, readings(case), move |readings, ends, seen| {
        build(&shared, readings, ends, None, seen);
    });
    outcome(case, sights)
}

/// By several runs, each going on from the state that the one before it has committed.
fn run_lives(case: &Case, lives: Vec<Life>) -> Outcome {
    let shared = Arc::new(case.clone());
    let is_committed = |(reading, row): &Sight, rows: usize| {
        let position = reading.map(|(position, _)| position);
        position.or(row.as_ref().map(|row| row.completed_at)) < Some(rows as u64)
    };
    let sights = replay_lives(
        lives,
        readings(case),
        is_committed,
        move |readings, ends, checkpoints, seen| {
            build(&shared, readings, ends, Some(checkpoints), seen);
        },
    );
    outcome(case, sights)
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -1000.0..1000.0f64,
        2 => prop::sample::select(vec![0.0, -0.0, 3.4e38, -3.4e38, 1e-40, 98.6]),
        2 => Just(f64::NAN),
    ]
}

/// Mostly a little on, sometimes back, far back, or far ahead.
fn pace() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0i64..8, 6 => -20i64..0, 2 => -150i64..0, 2 => 30i64..120, 1 => 100i64..3000, 1 => -4000i64..-100]
}

fn sample() -> impl Strategy<Value = (i64, Sample)> {
    let score = proptest::option::of(0.5..3.0f64);
    // A jump of one reading alone is a wrong clock; one that stays is a gap.
    let glitch = prop_oneof![12 => Just(0i64), 1 => -5000i64..5000, 1 => 200i64..400];
    (pace(), glitch, 0u8..4, 0u8..4, [value(), value()], score, any::<bool>()).prop_map(
        |(pace, time, device, manufacturer, measures, score, anomalous)| {
            let anomalous = anomalous && score.is_some();
            (
                pace,
                Sample {
                    time,
                    device,
                    manufacturer,
                    measures,
                    score,
                    anomalous,
                },
            )
        },
    )
}

fn rules() -> impl Strategy<Value = WatermarkRules> {
    (1i64..40, 0i64..50, 0i64..120, 1i64..200).prop_map(|(size, out_of_orderness, allowed_lateness, max_jump)| {
        WatermarkRules {
            size,
            out_of_orderness,
            allowed_lateness,
            max_jump,
        }
    })
}

fn case() -> impl Strategy<Value = Case> {
    let samples = proptest::collection::vec(sample(), 1..120);
    (samples, rules(), any::<bool>(), -3000i64..3000, 1u8..5).prop_map(
        |(samples, rules, per_device, mut time, devices)| {
            let samples = samples
                .into_iter()
                .map(|(pace, sample)| {
                    time += pace;
                    Sample {
                        time: time + sample.time,
                        device: sample.device % devices,
                        ..sample
                    }
                })
                .collect();
            Case {
                samples,
                rules,
                per_device,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_worker_gives_what_the_contract_says(case in case(), epoch in 1usize..40) {
        let want = reference::run(&case);
        prop_assert_eq!(run(&case, Plan::one(epoch)), want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn workers_epochs_and_who_reads_what_change_nothing(case in case(), plan in Plan::any()) {
        let want = reference::run(&case);
        // The watermark takes each worker's readings in source order, and timely keeps no order among batches of an epoch.
        prop_assert_eq!(run(&case, Plan { batch: usize::MAX, ..plan }), want);
    }

    #[test]
    fn runs_that_go_on_from_a_commit_change_nothing(case in case(), lives in Life::any_in_order()) {
        let want = reference::run(&case);
        prop_assert_eq!(run_lives(&case, lives), want);
    }
}

/// Zero has two signs: which of them is least and greatest must not be left to the processor.
#[test]
fn of_zeros_with_both_signs_the_first_is_least_and_greatest() {
    for zeros in [[0.0, -0.0], [-0.0, 0.0]] {
        let mut statistics = Statistics::default();
        zeros.into_iter().for_each(|zero| statistics.add(zero));
        let first = bits(Some(zeros[0]));
        assert_eq!((bits(statistics.min()), bits(statistics.max())), (first, first));
    }
}

#[test]
fn windows_out_of_reach_are_forgotten_however_long_the_stream() {
    let rules = WatermarkRules {
        size: 10,
        out_of_orderness: 20,
        allowed_lateness: 50,
        max_jump: 1000,
    };
    let (mut domain, mut written, mut most) = (Domain::default(), Vec::new(), 0);
    for time in 0..20_000i64 {
        let (complete, out_of_reach) = ((time - 20).div_euclid(10), (time - 70).div_euclid(10));
        let step = Step {
            position: time as u64,
            device: None,
            complete,
            out_of_reach,
        };
        domain.step(&step, &rules, &mut written);
        let behind = [0, 15, 65][time as usize % 3]; // in order, and late within what is allowed
        for key in ["a", "b"] {
            domain.add(
                Entry {
                    position: time as u64,
                    index: rules.index(time - behind).max(out_of_reach),
                    grouping: 0,
                    key: Some(key.into()),
                    device: None,
                    measures: Measures::from_slice(&[1.0]),
                    score: f64::NAN,
                    anomalous: false,
                },
                1,
            );
        }
        let windows = |kept: &BTreeMap<i64, _>| kept.len();
        most = most.max(windows(&domain.open) + windows(&domain.closed) + domain.revised.len());
    }
    // Open: size + disorder; closed: lateness; revised: at most both keys of the few windows within reach.
    assert!(most <= (10 + 20 + 50) / 10 + 2 + 16, "{most} windows at once");
    assert!(written.len() > 4000, "{} rows were written", written.len());
}

/// Steps come to every worker, also to one that has no reading yet: one that comes later must not reopen what is complete.
#[test]
fn a_workers_first_reading_finds_what_was_complete_before_it() {
    let rules = WatermarkRules {
        size: 10,
        out_of_orderness: 0,
        allowed_lateness: 100,
        max_jump: 1000,
    };
    let step = |position, complete| Step {
        position,
        device: None,
        complete,
        out_of_reach: complete - 10,
    };
    let (mut domains, mut rows) = (Domains::default(), Vec::new());
    complete(&mut domains, &step(3, 5), &rules, false, &mut rows);
    let entry = Entry {
        position: 4,
        index: 2,
        grouping: 0,
        key: None,
        device: None,
        measures: Measures::from_slice(&[1.0]),
        score: f64::NAN,
        anomalous: false,
    };
    domains.entry(None).or_default().add(entry, 1);
    complete(&mut domains, &step(9, 6), &rules, false, &mut rows);
    let written: Vec<_> = rows
        .iter()
        .map(|row| (row.start, row.revision, row.completed_at))
        .collect();
    assert_eq!(
        written,
        [(20, 0, 9)],
        "with the next step, as a late reading's window is"
    );
}
