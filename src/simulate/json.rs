//! A reading as one JSON object, in the paper's order of fields, with one thing wrong with it if so wished.

use super::bad::Bad;
use super::people::{self, Person};
use super::plan::MEASURES;
use super::random::Random;
use super::vitals::Vitals;
use crate::record::format_event_time;

/// Random text is cut from a stock of this length.
const STOCK: usize = 16 * 1024;
const WORDS: [&str; 24] = [
    "bed", "calm", "chart", "check", "cuff", "drip", "evening", "finger", "lead", "left", "line", "monitor", "morning",
    "night", "note", "nurse", "probe", "quiet", "rest", "right", "round", "sleep", "turn", "ward",
];

/// What a record says.
pub(super) struct Said {
    /// Milliseconds since 1970 UTC.
    pub(super) millis: i64,
    pub(super) device: u32,
    pub(super) patient: u32,
    pub(super) vitals: Vitals,
    /// The first of the measures that is said.
    pub(super) from_measure: usize,
    pub(super) bad: Option<Bad>,
}

/// Makes the records' JSON.
pub(super) struct Writer {
    record_bytes: usize,
    over_long: usize,
    /// Words; STOCK and a record's length of them.
    stock: Vec<u8>,
}

impl Writer {
    pub(super) fn new(record_bytes: usize, over_long: usize, random: &mut Random) -> Writer {
        let mut stock = Vec::with_capacity(STOCK + record_bytes + 16);
        while stock.len() < STOCK + record_bytes {
            stock.extend_from_slice(WORDS[random.below(WORDS.len() as u64) as usize].as_bytes());
            stock.push(b' ');
        }
        Writer {
            record_bytes,
            over_long,
            stock,
        }
    }

    pub(super) fn write(&self, said: &Said, random: &mut Random) -> Vec<u8> {
        let bad = said.bad;
        let length = match bad {
            Some(Bad::OverLong) => self.over_long,
            _ => self.record_bytes,
        };
        let mut line = Vec::with_capacity(length.max(256) + 128);
        line.extend_from_slice(if bad == Some(Bad::Array) { b"[{" } else { b"{" });
        push_timestamp(&mut line, said.millis, random.below(3), bad);
        match bad {
            Some(Bad::NoDevice) => {}
            Some(Bad::EmptyDevice) => line.extend_from_slice(b"\"device_id\":\"\","),
            _ => {
                line.extend_from_slice(b"\"device_id\":\"");
                people::push_device_id(&mut line, said.device);
                line.extend_from_slice(b"\",");
            }
        }
        push_patient(&mut line, said.patient, bad);
        push_measures(&mut line, said, random);
        match bad {
            Some(Bad::TooDeep) => {
                line.extend_from_slice(b",\"extra\":");
                line.extend(std::iter::repeat_n(b'[', 80));
                line.extend(std::iter::repeat_n(b']', 80));
            }
            Some(Bad::BrokenUtf8) => line.extend_from_slice(b",\"extra\":\"\xff\xfe\""),
            _ => {}
        }
        self.push_text(&mut line, length, random);
        match bad {
            Some(Bad::Truncated) => {}
            Some(Bad::Array) => line.extend_from_slice(b"}]"),
            _ => line.push(b'}'),
        }
        line
    }

    /// Fills the record up to `length`; nothing if it is as long already.
    fn push_text(&self, line: &mut Vec<u8>, length: usize, random: &mut Random) {
        let mut missing = length.saturating_sub(line.len() + br#","text":""}"#.len());
        if missing == 0 {
            return;
        }
        line.extend_from_slice(b",\"text\":\"");
        while missing > 0 {
            let from = random.below(STOCK as u64) as usize;
            let part = missing.min(self.stock.len() - from);
            line.extend_from_slice(&self.stock[from..from + part]);
            missing -= part;
        }
        line.push(b'"');
    }
}

/// In one of its three forms, which the contract has from the paper.
fn push_timestamp(line: &mut Vec<u8>, millis: i64, form: u64, bad: Option<Bad>) {
    match (bad, form) {
        (Some(Bad::NoTimestamp), _) => return,
        (Some(Bad::NullTimestamp), _) => line.extend_from_slice(b"\"timestamp\":null"),
        (Some(Bad::UnreadableTimestamp), _) => line.extend_from_slice(b"\"timestamp\":\"yesterday at noon\""),
        (_, 0) => {
            line.extend_from_slice(b"\"timestamp\":");
            push_number(line, millis);
        }
        (_, 1) => {
            line.extend_from_slice(b"\"timestamp\":\"");
            push_number(line, millis);
            line.push(b'"');
        }
        _ => {
            line.extend_from_slice(b"\"timestamp\":\"");
            line.extend_from_slice(format_event_time(millis * 1000).as_bytes());
            line.push(b'"');
        }
    }
    line.push(b',');
}

fn push_patient(line: &mut Vec<u8>, patient: u32, bad: Option<Bad>) {
    line.extend_from_slice(b"\"patient_id\":");
    if bad == Some(Bad::NumberAsPatient) {
        push_number(line, i64::from(patient));
        line.push(b',');
        return;
    }
    line.push(b'"');
    people::push_patient_id(line, patient);
    line.extend_from_slice(b"\",");
    Person::of(patient).push(line);
}

fn push_measures(line: &mut Vec<u8>, said: &Said, random: &mut Random) {
    let wrong = said.bad.and_then(Bad::measure).map(|text| {
        let measure = said.from_measure + random.below((MEASURES.len() - said.from_measure) as u64) as usize;
        (measure, text)
    });
    for (i, name) in MEASURES.iter().enumerate().skip(said.from_measure) {
        if i > said.from_measure {
            line.push(b',');
        }
        line.push(b'"');
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":");
        let value = i64::from(said.vitals.0[i]);
        match wrong {
            Some((measure, text)) if measure == i => line.extend_from_slice(text),
            _ if i == 0 => {
                push_number(line, value / 10); // temperatures here are above zero
                line.push(b'.');
                push_number(line, value % 10);
            }
            _ => push_number(line, value),
        }
    }
}

fn push_number(line: &mut Vec<u8>, number: i64) {
    if number < 0 {
        line.push(b'-');
    }
    push_padded(line, number.unsigned_abs(), 1);
}

/// The number with zeros before it where it has fewer digits than `width`.
pub(super) fn push_padded(line: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}
