//! `alert`: the anomalies that someone must know of: the first one of each incident.
//!
//! All anomalies come to worker 0, which has the outbox: they are few, and alerts would only have to follow them there. They are taken in
//! source order, so that the same ones become alerts whatever the workers and the epochs. What a shard of devices remembers is state, as
//! in every operator that remembers: a run that died gives the same alerts again.

use std::collections::{BTreeSet, HashMap};

use compact_str::CompactString;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::barrier::{Barrier, StateOf, earliest, restore};
use super::shard::shard_of_device;
use super::stash::Stash;
use crate::alerts::{Alert, Composer, Incidents};
use crate::record::{Anomaly, DeviceId};
use crate::snapshot::{Checkpoints, Entry, decode, encode};

/// Of the values' form.
const VERSION: u8 = 1;
const NAME: &str = "the alerts";

/// What becomes an alert, and what it says.
#[derive(Clone, Debug)]
pub struct Alerting {
    /// Anomalies of a device within this time of each other are one incident, in microseconds.
    pub cool_down: i64,
    pub composer: Composer,
}

/// All shards of devices, on worker 0.
#[derive(Default)]
struct Shards {
    shards: HashMap<u64, Incidents>,
    /// Devices of which something has changed since the last commit, where account is kept of it.
    changed: Option<BTreeSet<CompactString>>,
}

/// An alert for each incident, on worker 0; an epoch's come in one batch, in source order.
pub fn alert<'scope>(
    anomalies: Rows<'scope, Anomaly>,
    alerting: Alerting,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Alert> {
    let to_one = Exchange::new(|_: &Anomaly| 0);
    let checkpoints = checkpoints.filter(|_| anomalies.scope().index() == 0);
    let mut shards = Shards::restored(checkpoints);
    let mut stash = Stash::<Anomaly>::default();
    anomalies.unary_frontier::<CapacityContainerBuilder<Vec<Alert>>, _, _, _>(to_one, "Alert", |capability, _| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], anomalies)) = stash.complete(frontier) {
                barrier.before(*capability.time(), || shards.changes());
                let place = |anomaly: &Anomaly| anomaly.scored.reading.position;
                let mut anomalies = anomalies.in_order(|a, b| place(a).cmp(&place(b)));
                anomalies.retain(|anomaly| shards.begins_incident(anomaly, alerting.cool_down));
                let alerts = anomalies.iter().map(|anomaly| alerting.composer.compose(anomaly));
                output.session(&capability).give_container(&mut alerts.collect());
            }
            barrier.passed(earliest([frontier]), || shards.changes());
        }
    })
}

impl Shards {
    fn restored(checkpoints: Option<&Checkpoints>) -> Shards {
        let mut shards = Shards {
            shards: HashMap::new(),
            changed: checkpoints.is_some().then(BTreeSet::new),
        };
        restore(checkpoints, StateOf::Alert, |key, value| {
            let device = DeviceId::new(decode::<CompactString>(NAME, None, key)?);
            let of_device = decode(NAME, Some(VERSION), value)?;
            shards.of(&device).put_back(device.text().clone(), of_device);
            Ok(())
        });
        shards
    }

    fn of(&mut self, device: &DeviceId) -> &mut Incidents {
        self.shards.entry(shard_of_device(device)).or_default()
    }

    fn begins_incident(&mut self, anomaly: &Anomaly, cool_down: i64) -> bool {
        let reading = &anomaly.scored.reading;
        let device = reading.device.text();
        let shard = self.of(&reading.device);
        let (begins, forgotten) = shard.take(device, reading.timestamp, reading.position, cool_down);
        if let Some(changed) = &mut self.changed {
            changed.insert(device.clone());
            changed.extend(forgotten);
        }
        begins
    }

    /// What has changed since it was asked for the last time.
    fn changes(&mut self) -> Vec<Entry> {
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let entry = |device: CompactString| {
            let key = encode(None, &device);
            let device = DeviceId::new(device);
            match self.of(&device).get(&device) {
                Some(of_device) => Entry::put(StateOf::Alert as u8, key, encode(Some(VERSION), of_device)),
                None => Entry::forget(StateOf::Alert as u8, key),
            }
        };
        changed.into_iter().map(entry).collect()
    }
}
