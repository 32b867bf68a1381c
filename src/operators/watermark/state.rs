//! What the watermark remembers over a restart, as entries: those who follow its steps take up from them, too.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::super::barrier::{StateOf, restore};
use super::ClockState;
use crate::record::DeviceId;
use crate::snapshot::{Checkpoints, Entry, decode, encode};

const VERSION: u8 = 1;
const NAME: &str = "the watermark";

/// A clock, and what its last step said: (complete, out of reach).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(in crate::operators) struct Reached {
    pub(super) clock: ClockState,
    pub(in crate::operators) reached: (i64, i64),
}

pub(super) fn of_everybody(clock: ClockState, reached: (i64, i64)) -> Entry {
    let value = encode(Some(VERSION), &Reached { clock, reached });
    Entry::put(StateOf::Watermark as u8, Vec::new(), value)
}

pub(super) fn of_device(device: &DeviceId, clock: ClockState, reached: (i64, i64)) -> Entry {
    let (key, value) = (
        encode(None, device.text()),
        encode(Some(VERSION), &Reached { clock, reached }),
    );
    Entry::put(StateOf::WatermarkPerDevice as u8, key, value)
}

/// Everybody's, as an earlier run has left it.
pub(in crate::operators) fn everybodys(checkpoints: Option<&Checkpoints>) -> Option<Reached> {
    let mut found = None;
    restore(checkpoints, StateOf::Watermark, |_, value| {
        found = Some(decode(NAME, Some(VERSION), value)?);
        Ok(())
    });
    found
}

/// Those of the devices, as an earlier run has left them.
pub(in crate::operators) fn of_devices(checkpoints: Option<&Checkpoints>) -> Vec<(DeviceId, Reached)> {
    let mut found = Vec::new();
    restore(checkpoints, StateOf::WatermarkPerDevice, |key, value| {
        let device: CompactString = decode(NAME, None, key)?;
        found.push((DeviceId::new(device), decode(NAME, Some(VERSION), value)?));
        Ok(())
    });
    found
}
