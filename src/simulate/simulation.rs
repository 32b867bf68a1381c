//! The simulation itself: whose turn it is, what is read, what goes wrong with it.

use std::collections::VecDeque;

use super::bad::Bad;
use super::faults::{Course, Fault, chance_to_begin};
use super::json::{Said, Writer};
use super::people;
use super::plan::{Kind, MEASURES, Plan, PlanError};
use super::random::Random;
use super::vitals::{Patient, Vitals};

/// Copies are made of the last so many good records.
const REMEMBERED: usize = 32;
/// A device that serves several patients goes on to the next after so many readings.
const STAY: u64 = 60;
/// Streams of chance beside those of the patients, which have the numbers of the patients.
const MAIN_STREAM: u64 = u64::MAX;

/// A record on its way from a device.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// Seconds after the start at which the device sends it.
    pub due: f64,
    /// One JSON object without a line end; an unusable line where the plan wants those.
    pub payload: Vec<u8>,
    /// Set for readings that belong to a fault, and not for further copies of them.
    pub label: Option<Label>,
}

/// The truth about one reading of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Event time, µs since 1970 UTC; with the device it says which reading is meant.
    pub timestamp: i64,
    pub device_id: String,
    pub fault: Fault,
    /// The measures that show it.
    pub measures: &'static [&'static str],
}

/// What a device is doing.
#[derive(Clone, Default)]
struct Device {
    /// Readings of patients who are well; they say whose turn it is.
    readings: u64,
    course: Option<Course>,
    /// Whether the time of faults had come at its last reading.
    exposed: bool,
}

/// The records of a plan, without end, in the order in which they are due.
pub struct Simulation {
    plan: Plan,
    writer: Writer,
    random: Random,
    devices: Vec<Device>,
    patients: Vec<Patient>,
    /// Copies of good records, for duplicates.
    before: VecDeque<Vec<u8>>,
    number: u64,
    /// The device whose turn it is, and how many to go on from there: no divisor in common with the number of devices, so that all
    /// have their turn before one has it again, and not in the order of their numbers.
    device: u32,
    step: u32,
    /// Share of faults among the readings that are neither copies nor unusable, and the chance that one begins.
    share: f64,
    begin: f64,
}

impl Simulation {
    /// # Errors
    /// Settings that cannot be, as a share above 1.
    pub fn new(plan: Plan) -> Result<Simulation, PlanError> {
        plan.check()?;
        let mut random = Random::new(plan.seed, MAIN_STREAM);
        let writer = Writer::new(plan.record_bytes, plan.over_long.unwrap_or(0), &mut random);
        let good = 1.0 - plan.duplicates - plan.bad;
        let share = if good > 0.0 {
            (plan.anomalies / good).min(1.0)
        } else {
            0.0
        };
        let patients = match plan.kind {
            Kind::Vitals => (0..plan.patients)
                .map(|number| Patient::new(plan.seed, number))
                .collect(),
            Kind::BloodPressure => Vec::new(),
        };
        Ok(Simulation {
            writer,
            random,
            devices: vec![Device::default(); plan.devices as usize],
            patients,
            before: VecDeque::new(),
            number: 0,
            device: 0,
            step: step_through(plan.devices),
            share,
            begin: chance_to_begin(share),
            plan,
        })
    }

    fn make(&mut self, due: f64) -> Record {
        let what = self.random.uniform();
        if what < self.plan.duplicates && !self.before.is_empty() {
            let which = self.random.below(self.before.len() as u64) as usize;
            return Record {
                due,
                payload: self.before[which].clone(),
                label: None,
            };
        }
        let spoil = what >= self.plan.duplicates && what < self.plan.duplicates + self.plan.bad;
        let record = self.reading(due, spoil);
        if !spoil && self.plan.duplicates > 0.0 {
            if self.before.len() == REMEMBERED {
                self.before.pop_front();
            }
            self.before.push_back(record.payload.clone());
        }
        record
    }

    /// A reading of the device whose turn it is.
    fn reading(&mut self, due: f64, spoil: bool) -> Record {
        let device = self.device;
        self.device = ((u64::from(device) + u64::from(self.step)) % u64::from(self.plan.devices)) as u32;
        let patient = self.patient_of(device);
        let mut millis = self.plan.start.div_euclid(1000) + libm::floor(due * 1000.0) as i64;
        let bad = spoil.then(|| {
            let kinds = Bad::ALL.len() as u64 - u64::from(self.plan.over_long.is_none());
            Bad::ALL[self.random.below(kinds) as usize]
        });
        let (vitals, label) = match self.plan.kind {
            Kind::Vitals => self.vitals(due, millis, device, patient, spoil),
            Kind::BloodPressure => self.blood_pressure(due, spoil),
        };
        if self.random.uniform() < self.plan.disorder {
            millis -= (Plan::MOST_DISORDER * 1000.0 * self.random.uniform()) as i64;
        }
        let said = Said {
            millis,
            device,
            patient,
            vitals,
            from_measure: match self.plan.kind {
                Kind::Vitals => 0,
                Kind::BloodPressure => 3,
            },
            bad,
        };
        let payload = self.writer.write(&said, &mut self.random);
        let label = label.map(|(fault, measures)| Label {
            timestamp: millis * 1000,
            device_id: people::device_id(device),
            fault,
            measures,
        });
        Record { due, payload, label }
    }

    /// Device d looks after the patients d, d + devices, d + 2 devices … one after the other; if there are more devices than patients,
    /// several share one.
    fn patient_of(&self, device: u32) -> u32 {
        let (devices, patients) = (u64::from(self.plan.devices), u64::from(self.plan.patients));
        let own = u64::from(device) % patients;
        let rounds = (patients - own).div_ceil(devices);
        let turn = self.devices[device as usize].readings / STAY % rounds;
        (own + turn * devices) as u32 // below patients
    }

    /// What a monitor reads. Unusable lines leave a fault as it is: what they say is not a reading.
    fn vitals(&mut self, due: f64, millis: i64, device: u32, patient: u32, spoil: bool) -> (Vitals, Found) {
        let mut vitals = self.patients[patient as usize].read(due, millis * 1000, &mut self.random);
        if spoil {
            return (vitals, None);
        }
        let device = &mut self.devices[device as usize];
        if due >= self.plan.anomalies_from && self.share > 0.0 && device.course.is_none() {
            // At first as many are in a fault as will be later, so that the share holds from the first round of the devices on.
            device.course = if device.exposed {
                (self.random.uniform() < self.begin).then(|| Course::begin(&mut self.random))
            } else {
                (self.random.uniform() < self.share).then(|| Course::meet(&mut self.random))
            };
            device.exposed = true;
        }
        let Some(course) = &mut device.course else {
            device.readings += 1;
            return (vitals, None);
        };
        let over = course.read(&mut vitals, &mut self.random);
        let found = Some((course.fault, course.measures()));
        if over {
            device.course = None;
        }
        (vitals, found)
    }

    /// The documentation's example: every reading for itself.
    fn blood_pressure(&mut self, due: f64, spoil: bool) -> (Vitals, Found) {
        let strange = !spoil && due >= self.plan.anomalies_from && self.random.uniform() < self.share;
        let (fault, systolic, diastolic) = match (strange, self.random.below(2)) {
            (false, _) => (None, (90, 120), (60, 80)),
            (true, 0) => (Some(Fault::Hypotension), (50, 80), (30, 50)),
            (true, _) => (Some(Fault::Hypertension), (130, 200), (90, 150)),
        };
        let mut draw = |(least, most): (i32, i32)| least + self.random.below((most - least + 1) as u64) as i32;
        let vitals = Vitals([0, 0, 0, draw(systolic), draw(diastolic)]);
        (vitals, fault.map(|fault| (fault, &MEASURES[3..])))
    }
}

type Found = Option<(Fault, &'static [&'static str])>;

impl Iterator for Simulation {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let due = self.plan.due(self.number);
        self.number += 1;
        Some(self.make(due))
    }
}

/// About the golden section of `count`, and without a divisor in common with it.
fn step_through(count: u32) -> u32 {
    let divisor = |mut a: u32, mut b: u32| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (f64::from(count) * 0.618_033_988_749_895) as u32;
    (golden.max(1)..=count)
        .find(|step| divisor(*step, count) == 1)
        .unwrap_or(1)
}
