//! What `tumbling` remembers over a restart: an entry for each window that is kept, so that a commit costs the windows that changed.
//! What is complete comes from the watermark's own state.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::super::barrier::{Share, StateOf, restore};
use super::super::route_device;
use super::super::watermark::state::{everybodys, of_devices};
use super::{Domain, Domains, Tumbling, Window, route_group};
use crate::record::{DeviceId, Key, Statistics};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode};

const VERSION: u8 = 1;
const NAME: &str = "the windows";

/// Whose watermark, grouping, key, index.
type Place = (Option<CompactString>, u32, Key, i64);

#[derive(Serialize, Deserialize)]
struct Saved {
    records: u64,
    anomalies: u64,
    measures: SmallVec<[Statistics; 6]>,
    score: Statistics,
    written: u32,
    /// Whether it waits to be written once more.
    revised: bool,
}

fn key(device: Option<&DeviceId>, (grouping, key): &(u32, Key), index: i64) -> Vec<u8> {
    encode(None, &(device.map(DeviceId::text), grouping, key, index))
}

/// What has changed since it was asked for the last time: all of it, or so many windows, those that have changed last.
pub(super) fn changes(domains: &mut Domains, at_most: usize) -> Vec<Entry> {
    let of = StateOf::Tumbling as u8;
    let mut entries = Vec::new();
    for (device, domain) in domains {
        let Some(account) = &mut domain.account else { continue };
        let device = device.as_ref();
        // A window that is gone does not come back within the commit: where both are told, it is the other way round.
        entries.extend(
            account
                .gone
                .drain(..)
                .map(|(index, group)| Entry::forget(of, key(device, &group, index))),
        );
        let rest = account
            .changed
            .len()
            .saturating_sub(at_most - entries.len().min(at_most));
        for (index, at) in account.changed.drain(rest..) {
            // Its place may have been given to another group since.
            let Some(series) = domain.series.get_mut(at) else {
                continue;
            };
            let group = series.group.clone();
            let Some(window) = series.window(index).filter(|window| window.changed) else {
                continue;
            };
            window.changed = false;
            let saved = Saved {
                records: window.records,
                anomalies: window.anomalies,
                measures: window.measures.clone(),
                score: window.score,
                written: window.written,
                revised: domain.revised.contains(&(index, at)),
            };
            entries.push(Entry::put(
                of,
                key(device, &group, index),
                encode(Some(VERSION), &saved),
            ));
        }
    }
    entries
}

/// The windows that an earlier run has left, as far as they are this worker's.
pub(super) fn restored(checkpoints: Option<&Checkpoints>, windows: &Tumbling, share: Share) -> Domains {
    let mut domains = Domains::default();
    let complete = |(complete, _): (i64, i64)| Some(complete).filter(|complete| *complete > i64::MIN);
    let mut begin = |device: Option<DeviceId>, reached| {
        let domain = domains.entry(device).or_insert_with(|| Domain::new(true));
        domain.complete = complete(reached);
    };
    match windows.per_device {
        true => of_devices(checkpoints)
            .into_iter()
            .filter(|(device, _)| share.has(route_device(device)))
            .for_each(|(device, found)| begin(Some(device), found.reached)),
        false => everybodys(checkpoints)
            .into_iter()
            .for_each(|found| begin(None, found.reached)),
    }
    restore(checkpoints, StateOf::Tumbling, |key, value| {
        let (device, grouping, key, index): Place = decode(NAME, None, key)?;
        let device = device.map(DeviceId::new);
        let route = match &device {
            Some(device) => route_device(device),
            None => route_group(grouping, &key),
        };
        if !share.has(route) {
            return Ok(());
        }
        let saved: Saved = decode(NAME, Some(VERSION), value)?;
        if saved.measures.len() != windows.measures {
            let flaw = Flaw::Settings("record.measures");
            return Err(SnapshotError::Value { of: NAME, flaw });
        }
        let domain = domains.entry(device).or_insert_with(|| Domain::new(true));
        domain.take_up(index, (grouping, key), saved);
        Ok(())
    });
    domains
}

impl Domain {
    fn take_up(&mut self, index: i64, group: (u32, Key), saved: Saved) {
        let Saved {
            records,
            anomalies,
            measures,
            score,
            written,
            revised,
        } = saved;
        let window = Window {
            records,
            anomalies,
            measures,
            score,
            written,
            changed: false,
        };
        let at = self.insert(index, group, window);
        let is_closed = self.complete.is_some_and(|complete| index < complete);
        let of = if is_closed { &mut self.closed } else { &mut self.open };
        of.entry(index).or_default().push(at);
        if revised {
            self.revised.insert((index, at));
        }
    }
}
