//! `select`: keeps the readings of the patients, devices and event times that the dataflow file names.

use std::collections::HashSet;

use compact_str::CompactString;
use timely::dataflow::channels::pact::Pipeline;

use super::Rows;
use super::fork::fork;
use crate::record::{EventTime, Parsed, Reading};

/// Which readings are kept. An empty set means all, and so does no time.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub patients: HashSet<CompactString>,
    pub devices: HashSet<CompactString>,
    /// The first event time that is kept.
    pub from: Option<EventTime>,
    /// The first event time that is not kept any more.
    pub to: Option<EventTime>,
}

impl Selection {
    fn has(&self, reading: &Reading) -> bool {
        let Selection {
            patients,
            devices,
            from,
            to,
        } = self;
        from.is_none_or(|from| from <= reading.timestamp)
            && to.is_none_or(|to| reading.timestamp < to)
            && (devices.is_empty() || devices.contains(reading.device.text()))
            && (patients.is_empty() || reading.patient.as_ref().is_some_and(|id| patients.contains(id)))
    }
}

/// The readings of the selection; and how many are not in it.
pub fn select<'scope>(parsed: Rows<'scope, Parsed>, selection: Selection) -> (Rows<'scope, Parsed>, Rows<'scope, u64>) {
    fork(parsed, Pipeline, "Select", move |input, _, selected, not_selected| {
        input.for_each_stamp(|stamp, batches| {
            let mut dropped = 0;
            for batch in batches {
                let before = batch.len();
                batch.retain(|parsed| selection.has(&parsed.reading));
                dropped += (before - batch.len()) as u64;
                selected.session(&stamp).give_container(batch);
            }
            if dropped > 0 {
                not_selected.session(&stamp).give(dropped);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Plan, replay};
    use super::*;
    use crate::record::{DeviceId, Identity};

    fn parsed(position: u64, device: u8, patient: Option<u8>) -> Parsed {
        let reading = Reading {
            position,
            timestamp: position as i64 / 2,
            received: i64::MAX,
            device: DeviceId::new(format!("d{device}")),
            patient: patient.map(|patient| format!("p{patient}").into()),
            measures: Default::default(),
            fingerprint: 0,
            facts: None,
            late: false,
        };
        Parsed {
            reading,
            identity: Identity::default(),
        }
    }

    fn ids(kind: char, numbers: &[u8]) -> HashSet<CompactString> {
        numbers.iter().map(|n| format!("{kind}{n}").into()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_the_named_are_kept_and_the_others_counted(
            records in proptest::collection::vec((0u8..4, proptest::option::of(0u8..4)), 0..100),
            patients in proptest::collection::vec(0u8..5, 0..3),
            devices in proptest::collection::vec(0u8..5, 0..3),
            from in proptest::option::of(0i64..60),
            to in proptest::option::of(0i64..60),
            plan in Plan::any(),
        ) {
            let wanted = |(at, (device, patient)): &(u64, &(u8, Option<u8>))| {
                let time = *at as i64 / 2;
                from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to) &&
                (devices.is_empty() || devices.contains(device))
                    && (patients.is_empty() || patient.is_some_and(|patient| patients.contains(&patient)))
            };
            let want: Vec<u64> = (0..).zip(&records).filter(wanted).map(|(at, _)| at).collect();
            let rows = (0..).zip(&records).map(|(at, (device, patient))| parsed(at, *device, *patient)).collect();
            let selection = Selection { patients: ids('p', &patients), devices: ids('d', &devices), from, to };
            let seen = replay(plan, rows, move |parsed, _, seen| {
                let (selected, others) = select(parsed, selection.clone());
                let (position, count) = (seen.clone(), seen);
                selected.inspect(move |parsed| position.borrow_mut().push(Ok(parsed.reading.position)));
                others.inspect(move |others| count.borrow_mut().push(Err(*others)));
            });
            let mut selected: Vec<u64> = seen.iter().filter_map(|s| s.ok()).collect();
            selected.sort_unstable();
            prop_assert_eq!(selected.len() as u64 + seen.iter().filter_map(|s| s.err()).sum::<u64>(), records.len() as u64);
            prop_assert_eq!(selected, want);
        }
    }
}
