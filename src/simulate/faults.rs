//! What goes wrong with a patient or a sensor: a course of consecutive readings of one device, far enough from the ordinary to be
//! seen, with the measures that show it.

use super::plan::MEASURES;
use super::random::Random;
use super::vitals::{Vitals, nearest};

const TEMPERATURE: usize = 0;
const PULSE: usize = 1;
const OXYGEN: usize = 2;
const SYSTOLIC: usize = 3;
const DIASTOLIC: usize = 4;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Tachycardia,
    Bradycardia,
    Desaturation,
    Hypotension,
    Hypertension,
    Fever,
    /// The sensor repeats one value that no patient has.
    StuckSensor,
    /// One reading of one measure off the scale.
    Spike,
}

impl Fault {
    pub const ALL: [Fault; 8] = [
        Fault::Tachycardia,
        Fault::Bradycardia,
        Fault::Desaturation,
        Fault::Hypotension,
        Fault::Hypertension,
        Fault::Fever,
        Fault::StuckSensor,
        Fault::Spike,
    ];

    /// As it stands in a file of labels.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Tachycardia => "tachycardia",
            Fault::Bradycardia => "bradycardia",
            Fault::Desaturation => "desaturation",
            Fault::Hypotension => "hypotension",
            Fault::Hypertension => "hypertension",
            Fault::Fever => "fever",
            Fault::StuckSensor => "stuck_sensor",
            Fault::Spike => "spike",
        }
    }
}

/// How long a course of a fault takes, in readings.
const SHORTEST: u64 = 4;
const LONGEST: u64 = 12;
/// Of the eight kinds seven take 4 to 12 readings, 8 on average, and a spike takes one.
const MEAN_LENGTH: f64 = (7.0 * (SHORTEST + LONGEST) as f64 / 2.0 + 1.0) / 8.0;

/// The chance that a reading of a healthy device begins a fault, so that in the long run `share` of all readings are in one: a cycle
/// is MEAN_LENGTH readings in a fault and then (1 - p) / p out of it.
pub(super) fn chance_to_begin(share: f64) -> f64 {
    share / (MEAN_LENGTH * (1.0 - share) + share)
}

/// A fault under way on a device.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) fault: Fault,
    /// Readings that are still to come.
    left: u64,
    /// The measure and the value of a sensor's fault.
    sensor: (usize, i32),
}

impl Course {
    pub(super) fn begin(random: &mut Random) -> Course {
        let fault = Fault::ALL[random.below(8) as usize];
        Course::of(fault, random)
    }

    /// One in the middle of which a device is found, when faults have been coming and going for long: the longer a course, the
    /// likelier it is met.
    pub(super) fn meet(random: &mut Random) -> Course {
        loop {
            let mut course = Course::begin(random);
            if random.below(LONGEST) < course.left {
                course.left = 1 + random.below(course.left);
                return course;
            }
        }
    }

    fn of(fault: Fault, random: &mut Random) -> Course {
        let left = match fault {
            Fault::Spike => 1,
            _ => SHORTEST + random.below(LONGEST - SHORTEST + 1),
        };
        let measure = random.below(5) as usize;
        let (least, most) = match measure {
            TEMPERATURE => (320.0, 450.0),
            PULSE => (230.0, 290.0),
            OXYGEN => (0.0, 10.0),
            SYSTOLIC => (240.0, 290.0),
            _ => (150.0, 200.0),
        };
        Course {
            fault,
            left,
            sensor: (measure, nearest(random.between(least, most))),
        }
    }

    /// One reading with the fault in it; whether the course is over.
    pub(super) fn read(&mut self, vitals: &mut Vitals, random: &mut Random) -> bool {
        let values = &mut vitals.0;
        let mut set = |measure: usize, least: f64, most: f64| values[measure] = nearest(random.between(least, most));
        match self.fault {
            Fault::Tachycardia => set(PULSE, 170.0, 200.0),
            Fault::Bradycardia => {
                set(PULSE, 20.0, 30.0);
                set(SYSTOLIC, 70.0, 82.0);
            }
            Fault::Desaturation => {
                set(OXYGEN, 55.0, 70.0);
                set(PULSE, 115.0, 130.0);
            }
            Fault::Hypotension => {
                set(SYSTOLIC, 50.0, 62.0);
                set(DIASTOLIC, 26.0, 36.0);
            }
            Fault::Hypertension => {
                set(SYSTOLIC, 200.0, 230.0);
                set(DIASTOLIC, 115.0, 135.0);
            }
            Fault::Fever => {
                set(TEMPERATURE, 1040.0, 1065.0);
                set(PULSE, 135.0, 155.0);
            }
            Fault::StuckSensor | Fault::Spike => values[self.sensor.0] = self.sensor.1,
        }
        self.left -= 1;
        self.left == 0
    }

    /// The measures that show it.
    pub(super) fn measures(&self) -> &'static [&'static str] {
        match self.fault {
            Fault::Tachycardia => &["pulse"],
            Fault::Bradycardia => &["pulse", "systolic"],
            Fault::Desaturation => &["pulse", "oxygen_percent"],
            Fault::Hypotension | Fault::Hypertension => &["systolic", "diastolic"],
            Fault::Fever => &["temperature", "pulse"],
            Fault::StuckSensor | Fault::Spike => &MEASURES[self.sensor.0..=self.sensor.0],
        }
    }
}
