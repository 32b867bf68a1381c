//! Who and what there is: devices with their makers, patients with invented identities. All of it follows from a number alone, so
//! that device 17 and patient 17 are the same in every run.

use super::json::push_padded;
use super::random::Random;

const MANUFACTURERS: [&str; 5] = ["Aesculon", "Borealis", "Cardea", "Drava", "Elara"];
const MODELS: [&str; 3] = ["M1", "M2 Pro", "M3"];
const WARDS: [&str; 4] = ["ICU", "CCU", "Surgery", "Neonatal"];
const GIVEN: [&str; 16] = [
    "Ana María",
    "Joseph",
    "Siân",
    "Łukasz",
    "Noor",
    "Wei",
    "Eugenia",
    "Tomás",
    "Ingrid",
    "Kofi",
    "Leila",
    "Marek",
    "Oona",
    "Priya",
    "Rafael",
    "Yuki",
];
const FAMILY: [&str; 16] = [
    "O'Brien",
    "Quintero",
    "Abendroth",
    "Nakamura",
    "Gottlieb",
    "Okafor",
    "Lindqvist",
    "Pereira",
    "Szabó",
    "Haddad",
    "Virtanen",
    "Castellane",
    "Dvořák",
    "Mbeki",
    "Rasmussen",
    "Thorburn",
];
/// Ages are counted to the year of the paper's sample.
const PRESENT: u64 = 2017;

/// Manufacturer, model and ward of a device.
pub(super) fn make_of(device: u32) -> [&'static str; 3] {
    let device = device as usize;
    [
        MANUFACTURERS[device % 5],
        MODELS[device / 5 % 3],
        WARDS[device / 15 % 4],
    ]
}

/// As the paper's: `device8401`.
pub(super) fn device_id(device: u32) -> String {
    let mut id = Vec::with_capacity(16);
    push_device_id(&mut id, device);
    String::from_utf8(id).expect("a word and digits")
}

pub(super) fn push_device_id(line: &mut Vec<u8>, device: u32) {
    line.extend_from_slice(b"device");
    push_padded(line, u64::from(device), 4);
}

pub(super) fn push_patient_id(line: &mut Vec<u8>, patient: u32) {
    line.extend_from_slice(b"patient");
    push_padded(line, u64::from(patient), 4);
}

/// A patient's invented identity. No `Debug`: code that prints these would print real ones as well.
pub(super) struct Person {
    pub given: &'static str,
    pub family: &'static str,
    pub year: u64,
    pub month: u64,
    pub day: u64,
}

impl Person {
    pub(super) fn of(patient: u32) -> Person {
        let mut random = Random::new(0x7061_7469_656e_7473, u64::from(patient));
        Person {
            given: GIVEN[random.below(16) as usize],
            family: FAMILY[random.below(16) as usize],
            year: PRESENT - 18 - random.below(78),
            month: 1 + random.below(12),
            day: 1 + random.below(28),
        }
    }

    pub(super) fn age(&self) -> f64 {
        (PRESENT - self.year) as f64
    }

    /// `"name":"…","dob":"08/27/1977",` as the paper writes them.
    pub(super) fn push(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"\"name\":\"");
        line.extend_from_slice(self.given.as_bytes());
        line.push(b' ');
        line.extend_from_slice(self.family.as_bytes());
        line.extend_from_slice(b"\",\"dob\":\"");
        push_padded(line, self.month, 2);
        line.push(b'/');
        push_padded(line, self.day, 2);
        line.push(b'/');
        push_padded(line, self.year, 4);
        line.extend_from_slice(b"\",");
    }
}
