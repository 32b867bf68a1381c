//! What is judged: every reading of a run, in source order.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::record::{DeviceId, EventTime};

/// What a run made of one reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub position: u64,
    pub device: DeviceId,
    pub timestamp: EventTime,
    pub score: Option<f64>,
    /// Whether the dataflow called it an anomaly.
    pub anomalous: bool,
}

/// One of them as it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) position: u64,
    pub(super) timestamp: EventTime,
    /// NaN: none.
    pub(super) score: f64,
    /// Its place among the devices.
    pub(super) device: u32,
    pub(super) anomalous: bool,
}

/// All readings of a run.
#[derive(Debug, Default)]
pub struct Trial {
    places: HashMap<DeviceId, u32>,
    pub(super) devices: Vec<DeviceId>,
    pub(super) rows: Vec<Row>,
    /// Places of rows, device by device and in the order of event time.
    pub(super) by_device: Vec<u32>,
}

impl Trial {
    /// Takes the outcomes of a run, in any order.
    pub fn new(outcomes: impl IntoIterator<Item = Outcome>) -> Trial {
        let mut trial = Trial::default();
        outcomes.into_iter().for_each(|outcome| trial.take(outcome));
        trial.complete();
        trial
    }

    /// Takes one more reading; [`complete`](Trial::complete) is to follow the last.
    pub fn take(&mut self, outcome: Outcome) {
        let device = match self.places.get(&outcome.device) {
            Some(place) => *place,
            None => {
                let place = self.devices.len() as u32;
                self.devices.push(outcome.device.clone());
                self.places.insert(outcome.device, place);
                place
            }
        };
        self.rows.push(Row {
            position: outcome.position,
            timestamp: outcome.timestamp,
            score: outcome.score.unwrap_or(f64::NAN),
            device,
            anomalous: outcome.anomalous,
        });
    }

    /// Puts everything in order, so that nothing shows in which order the readings came.
    pub fn complete(&mut self) {
        let mut order: Vec<usize> = (0..self.devices.len()).collect();
        order.sort_by(|a, b| self.devices[*a].text().cmp(self.devices[*b].text()));
        let mut place_of = vec![0; order.len()];
        for (place, old) in (0..).zip(&order) {
            place_of[*old] = place;
        }
        self.devices = order.iter().map(|old| self.devices[*old].clone()).collect();
        self.places = self.devices.iter().cloned().zip(0..).collect();
        self.rows
            .iter_mut()
            .for_each(|row| row.device = place_of[row.device as usize]);
        self.rows.sort_unstable_by_key(|row| row.position);
        self.by_device = (0..self.rows.len() as u32).collect();
        let rows = &self.rows;
        self.by_device.sort_unstable_by_key(|place| {
            let row = &rows[*place as usize];
            (row.device, row.timestamp, row.position)
        });
    }

    /// How many readings there are.
    pub fn readings(&self) -> usize {
        self.rows.len()
    }

    /// The names of the devices, in order.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|device| device.text().as_str())
    }

    /// The place of a device by its name.
    pub(super) fn place_of(&self, device: &str) -> Option<u32> {
        self.places.get(&DeviceId::new(device)).copied()
    }

    /// Of each device, in order, the places of its rows in the order of event time.
    pub(super) fn of_devices(&self) -> impl Iterator<Item = &[u32]> {
        let device = |place: &u32| self.rows[*place as usize].device;
        self.by_device.chunk_by(move |a, b| device(a) == device(b))
    }
}
