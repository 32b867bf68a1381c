//! A small model of the body: what a patient's monitor reads.
//!
//! In: a patient and a moment. Out: [`Vitals`]. Each patient has a resting state that follows age, a rhythm of the day, a slow
//! wander (a first-order autoregression, which forgets within minutes) in which pulse and pressures move together, and the noise of
//! the measurement. It is plausible, no more: nothing clinical is to be learned from it.

use std::f64::consts::TAU;

use super::people::Person;
use super::random::Random;

/// Seconds after which the wander has forgotten all but 1/e.
const MEMORY: f64 = 600.0;
const DAY: f64 = 86_400.0;
/// The hour (UTC) at which temperature, pulse and pressures are at their highest.
const HIGHEST: f64 = 17.0;

/// One reading: temperature in tenths of °F, pulse in beats a minute, oxygen in percent, pressures in mmHg; in the order of
/// [`super::MEASURES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vitals(pub(super) [i32; 5]);

/// A patient's state of health.
pub(super) struct Patient {
    /// At rest, without rhythm and wander.
    resting: [f64; 5],
    /// Temperature, pulse, oxygen, pressure; each with deviation 1.
    wander: [f64; 4],
    /// Seconds after the start.
    last: f64,
}

impl Patient {
    pub(super) fn new(seed: u64, number: u32) -> Patient {
        let age = Person::of(number).age();
        let mut random = Random::new(seed, u64::from(number));
        let resting = [
            98.4 + 0.25 * random.bell(),
            74.0 + 5.0 * random.bell(),
            97.2 + 0.6 * random.bell(),
            104.0 + 0.25 * age + 4.0 * random.bell(),
            64.0 + 0.1 * age + 3.0 * random.bell(),
        ];
        Patient {
            resting,
            wander: std::array::from_fn(|_| random.bell()),
            last: 0.0,
        }
    }

    /// What is read `seconds` after the start, which is the event time `at` (µs since 1970). Readings come in the order of time.
    pub(super) fn read(&mut self, seconds: f64, at: i64, random: &mut Random) -> Vitals {
        let kept = libm::exp((self.last - seconds).min(0.0) / MEMORY);
        let new = (1.0 - kept * kept).sqrt();
        self.last = seconds;
        for wander in &mut self.wander {
            *wander = kept * *wander + new * random.bell();
        }
        let second_of_day = at.div_euclid(1_000_000).rem_euclid(86_400) as f64;
        let rhythm = libm::sin(TAU * (second_of_day / DAY - HIGHEST / 24.0 + 0.25));
        let [warmth, rate, breath, own] = self.wander;
        let pressure = 0.6 * rate + 0.8 * own; // the deviation stays 1
        let [temperature, pulse, oxygen, systolic, diastolic] = self.resting;
        Vitals([
            nearest(10.0 * (temperature + 0.4 * rhythm + 0.15 * warmth + 0.05 * random.bell())),
            nearest(pulse + 3.0 * rhythm + 4.0 * rate + random.bell()),
            nearest(oxygen + 0.6 * breath + 0.3 * random.bell()).min(100),
            nearest(systolic + 4.0 * rhythm + 5.0 * pressure + 1.5 * random.bell()),
            nearest(diastolic + 2.0 * rhythm + 3.0 * pressure + random.bell()),
        ])
    }
}

pub(super) fn nearest(value: f64) -> i32 {
    libm::floor(value + 0.5) as i32
}
