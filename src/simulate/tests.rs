//! What a plan promises of its records.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::*;
use crate::record::{DeviceFrom, Fields, Parsed, Parser, Reason, Zone, format_event_time};

/// As the dataflows read records by default.
fn parser() -> Parser {
    let fields = Fields {
        timestamp: "timestamp".into(),
        device: DeviceFrom::Field("device_id".into()),
        patient: "patient_id".into(),
        name: "name".into(),
        dob: "dob".into(),
        manufacturer: String::new(),
        model: String::new(),
        measures: MEASURES.map(String::from).to_vec(),
        aliases: Vec::new(),
    };
    Parser::new(fields, Zone::new(TimeZone::UTC, 1_000), 1 << 20)
}

fn parse(parser: &Parser, record: &Record) -> Result<Parsed, Reason> {
    parser
        .parse(&record.payload, record.payload.len() as u64, 0, "")
        .map_err(|rejection| rejection.reason)
}

fn made(plan: &Plan, records: usize) -> Vec<Record> {
    let simulation = Simulation::new(plan.clone()).expect("a plan that can be");
    simulation.take(records).collect()
}

/// A ward where everything happens.
fn eventful() -> Plan {
    Plan {
        devices: 70,
        patients: 200,
        rate: 20.0,
        record_bytes: 400,
        disorder: 0.1,
        duplicates: 0.05,
        bad: 0.05,
        over_long: Some(1_100_000),
        anomalies: 0.03,
        anomalies_from: 10.0,
        profile: Profile::Day,
        ..Plan::default()
    }
}

fn digest(plan: &Plan, records: usize) -> u64 {
    let mut hash = Xxh3::new();
    for record in Simulation::new(plan.clone()).expect("a plan that can be").take(records) {
        hash.update(&record.due.to_bits().to_le_bytes());
        hash.update(&record.payload);
        if let Some(label) = record.label {
            hash.update(&label.timestamp.to_le_bytes());
            hash.update(format!("{},{},{:?}\n", label.device_id, label.fault.name(), label.measures).as_bytes());
        }
    }
    let mut devices = Vec::new();
    plan.write_devices(&mut devices).expect("memory takes all");
    hash.update(&devices);
    hash.digest()
}

/// Data sets are told by their plan, so a plan means the same bytes for ever: these numbers never change.
#[test]
fn a_plan_gives_the_same_bytes_everywhere_and_for_ever() {
    let other_seed = Plan { seed: 43, ..eventful() };
    let pressure = Plan::preset("blood-pressure").expect("a preset");
    let golden = [
        (digest(&eventful(), 3000), 0xca40_5ab9_5f45_c180),
        (digest(&other_seed, 3000), 0x8f94_ba14_769f_ed19),
        (digest(&pressure, 3000), 0x24c3_8495_d8ca_e0d8),
        (digest(&Plan::default(), 3000), 0x8b23_4584_b05f_f29d),
    ];
    for (i, (made, wanted)) in golden.into_iter().enumerate() {
        assert_eq!(made, wanted, "plan {i}: {made:#018x}");
    }
}

#[test]
fn the_presets_are_the_papers_scenarios() {
    let rates = Plan::PRESETS.map(|name| Plan::preset(name).expect("each name is known").rate);
    assert_eq!(rates[..4], [50.0, 100.0, 1000.0, 5000.0]);
    for name in ["small", "small-tables", "medium", "large"] {
        let plan = Plan::preset(name).expect("a preset");
        assert_eq!((plan.devices, plan.patients, plan.record_bytes), (10_000, 10_000, 1024));
        for record in made(&plan, 500) {
            assert_eq!(record.payload.len(), 1024);
        }
    }
    assert_eq!(Plan::preset("huge"), None);
}

#[test]
fn a_timestamp_comes_in_three_forms() {
    let mut forms = [0; 3];
    for record in made(&Plan::default(), 3000) {
        let text = String::from_utf8(record.payload).expect("UTF-8");
        let value = text.strip_prefix("{\"timestamp\":").expect("it comes first");
        let form = match value.as_bytes() {
            [b'"', ..] if value[..30].contains('T') => 2,
            [b'"', ..] => 1,
            _ => 0,
        };
        forms[form] += 1;
    }
    assert!(forms.iter().all(|count| (900..1100).contains(count)), "{forms:?}");
}

#[test]
fn a_day_has_four_hours_at_the_peak_and_twenty_at_a_fifth() {
    let plan = Plan {
        rate: 0.5,
        profile: Profile::Day,
        record_bytes: 0,
        ..Plan::default()
    };
    let mut of_hour = [0u32; 48];
    for record in Simulation::new(plan).expect("a plan that can be") {
        match of_hour.get_mut((record.due / 3600.0) as usize) {
            Some(count) => *count += 1,
            None => break,
        }
    }
    for (hour, count) in of_hour.into_iter().enumerate() {
        let expected = if hour % 24 < 4 { 1800 } else { 360 };
        assert!(count.abs_diff(expected) <= 1, "hour {hour}: {count}");
    }
}

#[test]
fn every_device_has_its_turn_before_one_has_it_again_and_every_patient_is_seen() {
    for (devices, patients) in [(1, 1), (7, 20), (20, 7), (100, 100)] {
        let plan = Plan {
            devices,
            patients,
            record_bytes: 0,
            ..Plan::default()
        };
        let mut collection = Vec::new();
        plan.write_devices(&mut collection).expect("memory takes all");
        let collection = String::from_utf8(collection).expect("UTF-8");
        let known: HashSet<&str> = collection
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').next())
            .collect();
        assert_eq!(known.len(), devices as usize);
        let (parser, mut seen, mut identities) = (parser(), HashSet::new(), HashMap::new());
        let records = made(&plan, 5000);
        for round in records.chunks(devices as usize) {
            let mut of_round = HashSet::new();
            for record in round {
                let parsed = parse(&parser, record).expect("a good record");
                assert!(known.contains(&*parsed.reading.device));
                assert!(of_round.insert(parsed.reading.device.to_string()), "twice in a round");
                let patient = parsed.reading.patient.expect("every record has a patient");
                let identity = (parsed.identity.name, parsed.identity.dob);
                assert!(identity.0.is_some() && identity.1.is_some());
                let before = identities.entry(patient.clone()).or_insert_with(|| identity.clone());
                assert!(*before == identity, "a patient has one identity");
                seen.insert(patient);
            }
        }
        assert_eq!(seen.len(), patients as usize, "{devices} devices, {patients} patients");
    }
}

#[test]
fn bad_lines_are_refused_for_every_reason() {
    let plan = Plan {
        bad: 1.0,
        duplicates: 0.0,
        anomalies: 0.0,
        ..eventful()
    };
    let parser = parser();
    let mut reasons = BTreeMap::new();
    for record in made(&plan, 2000) {
        assert!(!record.payload.contains(&b'\n') && record.label.is_none());
        let reason = parse(&parser, &record).expect_err("an unusable line");
        *reasons.entry(reason.code()).or_insert(0) += 1;
    }
    assert_eq!(reasons.len(), 10, "{reasons:?}");
}

#[test]
fn healthy_readings_stay_within_what_bodies_do() {
    let parser = parser();
    let ranges = [
        (96.5, 100.5),
        (40.0, 115.0),
        (92.0, 100.0),
        (75.0, 175.0),
        (40.0, 105.0),
    ];
    for record in made(
        &Plan {
            profile: Profile::Day,
            ..Plan::default()
        },
        30_000,
    ) {
        let reading = parse(&parser, &record).expect("a good record").reading;
        for (value, (least, most)) in reading.measures.iter().zip(ranges) {
            assert!((least..=most).contains(value), "{:?}", reading.measures);
        }
    }
}

#[test]
fn plans_that_cannot_be_are_refused_with_advice() {
    let plan = Plan::default;
    let wrong = [
        Plan { devices: 0, ..plan() },
        Plan {
            patients: u32::MAX,
            ..plan()
        },
        Plan { rate: 0.0, ..plan() },
        Plan {
            rate: f64::NAN,
            ..plan()
        },
        Plan {
            disorder: -0.1,
            ..plan()
        },
        Plan {
            bad: f64::NAN,
            ..plan()
        },
        Plan {
            anomalies: 1.5,
            ..plan()
        },
        Plan {
            bad: 0.6,
            duplicates: 0.6,
            ..plan()
        },
        Plan {
            anomalies_from: f64::INFINITY,
            ..plan()
        },
        Plan {
            record_bytes: usize::MAX,
            ..plan()
        },
        Plan {
            start: i64::MIN,
            ..plan()
        },
    ];
    for plan in wrong {
        let error = Simulation::new(plan.clone())
            .err()
            .unwrap_or_else(|| panic!("{plan:?} is taken"));
        assert!(error.to_string().contains(": "), "{error}");
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let shares = (0.0..0.4, 0.0..0.2, 0.0..0.2, prop_oneof![Just(0.0), 0.001..0.3]);
    let sizes = (1u32..300, 1u32..300, 0usize..700, 0.5..5000.0);
    let kinds = (any::<bool>(), any::<bool>(), 0.0..20.0);
    (any::<u64>(), shares, sizes, kinds, 0i64..4_000_000_000_000_000).prop_map(
        |(seed, (disorder, duplicates, bad, anomalies), (devices, patients, record_bytes, rate), kinds, start)| Plan {
            seed,
            kind: if kinds.0 { Kind::Vitals } else { Kind::BloodPressure },
            devices,
            patients,
            rate,
            profile: if kinds.1 { Profile::Steady } else { Profile::Day },
            start,
            record_bytes,
            disorder,
            duplicates,
            bad,
            over_long: None,
            anomalies,
            anomalies_from: kinds.2,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Each record is good, a copy of a recent one, or bad; good ones carry the time at which they are due, or up to 29 s before it if
    /// there is disorder; labels name a good reading of a fault; and there is about as much of everything as was asked for.
    #[test]
    fn records_keep_what_the_plan_says(plan in plans()) {
        const RECORDS: usize = 6000;
        let parser = parser();
        let (mut bad, mut copies, mut displaced, mut faulty) = (0, 0, 0, 0);
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut last = 0.0;
        for (i, record) in made(&plan, RECORDS).into_iter().enumerate() {
            prop_assert_eq!(record.due, plan.due(i as u64));
            prop_assert!(record.due >= last);
            last = record.due;
            let Ok(Parsed { reading, .. }) = parse(&parser, &record) else {
                prop_assert!(record.label.is_none());
                bad += 1;
                continue;
            };
            // A steady pulse of a single device may say the same twice without being a copy, but not with the same time.
            if seen.insert(record.payload.clone(), i).is_some() && record.label.is_none() {
                copies += 1;
                continue;
            }
            let due = plan.start.div_euclid(1000) * 1000 + (record.due * 1000.0).floor() as i64 * 1000;
            let behind = due - reading.timestamp;
            prop_assert!((0..=29_000_000).contains(&behind), "{behind}");
            prop_assert!(behind == 0 || plan.disorder > 0.0);
            displaced += usize::from(behind > 0);
            if let Some(label) = record.label {
                faulty += 1;
                prop_assert!(record.due >= plan.anomalies_from);
                prop_assert_eq!(label.timestamp, reading.timestamp, "{}", format_event_time(label.timestamp));
                prop_assert_eq!(&*label.device_id, &*reading.device);
                prop_assert!(!label.measures.is_empty() && label.measures.iter().all(|m| MEASURES.contains(m)));
            }
        }
        let near = |count: usize, share: f64, slack: f64| (count as f64 / RECORDS as f64 - share).abs() < slack;
        // The copies of one record can be many at a rate of thousands a millisecond, so they are counted loosely.
        prop_assert!(near(bad, plan.bad, 0.03), "{bad} bad");
        prop_assert!(near(copies, plan.duplicates, 0.04), "{copies} copies");
        prop_assert!(near(displaced, plan.disorder * (1.0 - plan.bad - plan.duplicates), 0.04), "{displaced} displaced");
        let exposed = (0..RECORDS as u64).filter(|i| plan.due(*i) >= plan.anomalies_from).count() as f64 / RECORDS as f64;
        prop_assert!(near(faulty, plan.anomalies * exposed, 0.02 + 0.3 * plan.anomalies), "{faulty} in faults");
    }

    /// A fault is one course of consecutive readings of its device, which may have unusable lines in between.
    #[test]
    fn a_fault_is_a_course_of_consecutive_readings(seed in any::<u64>()) {
        let plan = Plan { seed, devices: 30, patients: 30, anomalies: 0.02, record_bytes: 0, ..Plan::default() };
        let parser = parser();
        // By device: the fault under way, its readings so far, whether it was met half-way.
        let mut courses: HashMap<String, Option<(Fault, u32, bool)>> = HashMap::new();
        for record in made(&plan, 6000) {
            let device = parse(&parser, &record).expect("no bad ones were asked for").reading.device.to_string();
            let first = !courses.contains_key(&device);
            let course = courses.entry(device).or_default();
            let label = record.label.map(|label| label.fault);
            match (course.as_mut(), label) {
                (Some((fault, length, _)), Some(label)) if label == *fault => *length += 1,
                (before, label) => {
                    if let Some((fault, length, met)) = before {
                        let least = if *fault == Fault::Spike || *met { 1 } else { 4 };
                        prop_assert!(*length >= least, "{fault:?}: {length}");
                        // Two of a kind may follow each other.
                        prop_assert!(*length <= if *fault == Fault::Spike { 3 } else { 36 }, "{fault:?}: {length}");
                    }
                    *course = label.map(|fault| (fault, 1, first));
                }
            }
        }
    }
}
