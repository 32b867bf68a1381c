//! The rules for a record once more, slow and plain: walk all keys, keep the last value of each field, judge them in order.

use super::random::Json;
use crate::record::Reason;

#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) timestamp: i64,
    pub(super) device: String,
    pub(super) patient: Option<String>,
    pub(super) measures: [f64; 3],
    pub(super) name: Option<String>,
    pub(super) dob: Option<String>,
}

pub(super) fn read(record: &Json) -> Result<Want, (Reason, Option<i64>)> {
    if beyond_floats(record, "") {
        return Err((Reason::NotJson, None));
    }
    let Json::Object(entries) = record else {
        return Err((Reason::NotObject, None));
    };
    let field = |paths: &[&str]| {
        let mut last = Json::Null;
        find(entries, "", paths, &mut last);
        last
    };
    let timestamp = match field(&["timestamp"]) {
        Json::Null => return Err((Reason::NoTimestamp, None)),
        value => time_of(&value).ok_or((Reason::UnreadableTimestamp, None))?,
    };
    let refuse = |reason| (reason, Some(timestamp));
    let device = match field(&["device_id"]) {
        Json::Text(id) if !id.is_empty() => id,
        _ => return Err(refuse(Reason::NoDevice)),
    };
    let patient = match field(&["patient_id", "PatientID"]) {
        Json::Null => None,
        Json::Text(id) => Some(id).filter(|id| !id.is_empty()),
        _ => return Err(refuse(Reason::UnreadablePatient)),
    };
    let measure = |paths: &[&str]| measure_of(&field(paths)).ok_or(refuse(Reason::UnreadableMeasure));
    Ok(Want {
        measures: [
            measure(&["temperature", "Temp", "body.temp"])?,
            measure(&["pulse"])?,
            measure(&["vitals.systolic"])?,
        ],
        timestamp,
        device,
        patient,
        name: identity_of(field(&["name"])),
        dob: identity_of(field(&["dob"])),
    })
}

const WANTED: [&str; 10] = [
    "timestamp",
    "device_id",
    "patient_id",
    "PatientID",
    "name",
    "dob",
    "temperature",
    "Temp",
    "pulse",
    "body.temp",
];

/// Whether a number that a field wants, or that is the whole record, is beyond every float.
fn beyond_floats(value: &Json, path: &str) -> bool {
    match value {
        Json::Number(digits) => {
            (path.is_empty()
                || WANTED.contains(&path)
                || path == "vitals.systolic"
                || path == "vitals"
                || path == "body")
                && float(digits).is_infinite()
        }
        Json::Object(entries) if ["", "vitals", "body"].contains(&path) => entries
            .iter()
            .any(|(key, value)| beyond_floats(value, &join(path, key))),
        _ => false,
    }
}

fn find(entries: &[(String, Json)], above: &str, paths: &[&str], last: &mut Json) {
    for (key, value) in entries {
        let path = join(above, key);
        // A key with a dot is itself only at the top: below, its dot is not the path's.
        let whole = above.is_empty() || !key.contains('.');
        if whole && paths.contains(&path.as_str()) {
            *last = value.clone();
        } else if let Json::Object(inner) = value
            && whole
            && !key.contains('.')
        {
            find(inner, &path, paths, last);
        }
    }
}

fn join(above: &str, key: &str) -> String {
    match above {
        "" if key.is_empty() => "(empty)".into(),
        "" => key.into(),
        _ => format!("{above}.{key}"),
    }
}

fn float(digits: &str) -> f64 {
    digits.parse().expect("the digits of a JSON number")
}

fn measure_of(value: &Json) -> Option<f64> {
    let number = match value {
        Json::Null => return Some(f64::NAN),
        Json::Number(digits) => float(digits),
        Json::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number.abs() <= 3.402823567797336e38).then_some(number) // the last that rounds to a finite 32-bit float
}

fn identity_of(value: Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text).filter(|text| !text.is_empty()),
        Json::Number(digits) => digits
            .parse::<i64>()
            .ok()
            .map(|n| n.to_string())
            .filter(|_| digits != "-0"),
        _ => None,
    }
}

fn time_of(value: &Json) -> Option<i64> {
    match value {
        Json::Number(digits) => of_number(digits),
        Json::Text(text) => of_iso(text.trim()).or_else(|| of_number(text.trim())),
        _ => None,
    }
}

/// Milliseconds, at most to the year 9999.
fn of_number(digits: &str) -> Option<i64> {
    let micros = match digits.parse::<i64>() {
        Ok(n) => i128::from(n) * 1000,
        Err(_) if digits.bytes().all(|b| b.is_ascii_digit()) => return None,
        Err(_) => {
            let f = digits.parse::<f64>().ok().filter(|f| f.is_finite())?;
            (f * 1000.0).round() as i128
        }
    };
    let (first, last) = (-377_705_023_201_000_000, 253_402_207_200_999_999);
    (first..=last).contains(&micros).then_some(micros as i64)
}

/// `YYYY-MM-DDThh:mm:ss[.fraction][Z|±hh:mm]`, UTC where no zone stands.
fn of_iso(text: &str) -> Option<i64> {
    let separators = [(4, "-"), (7, "-"), (10, "T "), (13, ":"), (16, ":")];
    let is = |(at, of): (usize, &str)| text.get(at..at + 1).is_some_and(|found| of.contains(found));
    separators.into_iter().all(is).then_some(())?;
    let digits = |part: &&str| part.bytes().all(|b| b.is_ascii_digit());
    let number = |range: std::ops::Range<usize>| text.get(range).filter(digits)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let offset = match zone {
        "" | "Z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            sign * (zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?)
        }
    };
    let days =
        (1..year).map(days_in).sum::<i64>() - 719_162 + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day
            - 1;
    Some((((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000_000 + micros)
}

fn days_in(year: i64) -> i64 {
    (1..=12).map(|month| days_of(year, month)).sum()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
