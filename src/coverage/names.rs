//! What a field's name says of it. Only ever a hint for the user: nothing is mapped by it.

use strsim::damerau_levenshtein;

/// What a field that the dataflow file does not name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Identity,
    Device,
    Patient,
    Time,
    /// Counts, codes and keys: numbers that measure nothing.
    NoMeasure,
    Nothing,
}

/// Words of an identity whatever stands beside them.
const IDENTITY: [&str; 36] = [
    "ssn",
    "mrn",
    "dob",
    "birth",
    "birthday",
    "birthdate",
    "dateofbirth",
    "firstname",
    "lastname",
    "surname",
    "forename",
    "givenname",
    "familyname",
    "fullname",
    "middlename",
    "maiden",
    "patientname",
    "phone",
    "telephone",
    "mobile",
    "fax",
    "email",
    "mail",
    "street",
    "zip",
    "zipcode",
    "postcode",
    "postal",
    "nhs",
    "passport",
    "insurance",
    "kin",
    "guardian",
    "fname",
    "lname",
    "socialsecurity",
];
/// With one of these, a name or an address is not a person's.
const OF_THINGS: [&str; 24] = [
    "device",
    "model",
    "file",
    "host",
    "topic",
    "sensor",
    "unit",
    "ward",
    "room",
    "station",
    "app",
    "service",
    "product",
    "vendor",
    "manufacturer",
    "firmware",
    "test",
    "measure",
    "parameter",
    "signal",
    "channel",
    "event",
    "ip",
    "mac",
];
const DEVICE: [&str; 9] = [
    "device",
    "deviceid",
    "monitor",
    "sensor",
    "serial",
    "machine",
    "node",
    "equipment",
    "asset",
];
const PATIENT: [&str; 7] = ["patient", "patientid", "subject", "subjectid", "pid", "case", "person"];
const TIME: [&str; 9] = [
    "time",
    "timestamp",
    "ts",
    "date",
    "datetime",
    "epoch",
    "charttime",
    "recorded",
    "measured",
];
const NO_MEASURE: [&str; 21] = [
    "id", "ids", "uuid", "seq", "sequence", "number", "no", "nr", "num", "index", "idx", "counter", "version", "port",
    "code", "year", "offset", "row", "line", "age", "key",
];
/// Short and other names of the default measures.
const SYNONYMS: [(&str, &[&str]); 5] = [
    (
        "temperature",
        &["temp", "tmp", "bodytemp", "bodytemperature", "coretemp", "tempf"],
    ),
    ("pulse", &["hr", "heartrate", "pulserate", "bpm", "pr"]),
    (
        "oxygen_percent",
        &[
            "spo2",
            "sao2",
            "o2sat",
            "o2",
            "oxygen",
            "oxygensaturation",
            "saturation",
            "sat",
        ],
    ),
    ("systolic", &["sbp", "sys", "sysbp", "bpsys", "systolicbp", "nbpsys"]),
    ("diastolic", &["dbp", "dia", "diabp", "bpdia", "diastolicbp", "nbpdia"]),
];

/// The last part of a path: `rate` of `vitals.rate`.
fn last_part(path: &str) -> &str {
    path.rsplit('.').find(|part| !part.is_empty()).unwrap_or(path)
}

/// The words of a name in lower case: `heartRate_2` gives `heart`, `rate`, `2`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_lowercase() || c.is_numeric();
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(super) fn hint(path: &str) -> Hint {
    // `file.name` is told from `patient.name` by what it is in.
    let within = path
        .rmatch_indices('.')
        .nth(1)
        .map_or(path, |(dot, _)| &path[dot + 1..]);
    let of_thing = words(within).iter().any(|word| OF_THINGS.contains(&word.as_str()));
    let words = words(last_part(path));
    let joined = words.concat();
    let any = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str())) || list.contains(&joined.as_str());
    let person = any(&["name", "address", "city"]) && !of_thing;
    // `patient_name` is an identity, not the patient's id.
    if any(&IDENTITY) || person {
        return Hint::Identity;
    }
    let time = any(&TIME);
    match () {
        () if time => Hint::Time,
        () if any(&PATIENT) => Hint::Patient,
        () if any(&DEVICE) => Hint::Device,
        () if any(&NO_MEASURE) => Hint::NoMeasure,
        () => Hint::Nothing,
    }
}

/// Whether `path` may be another name of `measure`.
pub(super) fn may_be(path: &str, measure: &str) -> bool {
    let (path, wanted) = (words(last_part(path)).concat(), words(last_part(measure)).concat());
    let synonyms = SYNONYMS.iter().find(|(name, _)| *name == measure);
    path == wanted
        || synonyms.is_some_and(|(_, others)| others.contains(&path.as_str()))
        || (wanted.len() >= 4
            && path.len().abs_diff(wanted.len()) <= wanted.len() / 4
            && damerau_levenshtein(&path, &wanted) <= wanted.len() / 4)
}

/// Whether a name can be shown: one that a programmer would give. A name may itself hold what must not be seen.
pub(super) fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 64
        && path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.:/@%$# ()".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_persons_are_told_from_names_of_things() {
        for name in [
            "name",
            "first_name",
            "lastName",
            "patient_name",
            "DOB",
            "birth_date",
            "SSN",
            "mrn",
            "home.address",
            "phoneNumber",
            "email",
        ] {
            assert_eq!(hint(name), Hint::Identity, "{name}");
        }
        for name in ["device_name", "ip_address", "file.name", "model_name", "ward_name"] {
            assert_ne!(hint(name), Hint::Identity, "{name}");
        }
    }

    #[test]
    fn roles_are_seen_in_usual_names() {
        assert_eq!(hint("deviceId"), Hint::Device);
        assert_eq!(hint("monitor.serial"), Hint::Device);
        assert_eq!(hint("subject_id"), Hint::Patient);
        assert_eq!(hint("recordedAt"), Hint::Time);
        assert_eq!(hint("ts"), Hint::Time);
        assert_eq!(hint("seq_no"), Hint::NoMeasure);
        assert_eq!(hint("respiration"), Hint::Nothing);
    }

    #[test]
    fn usual_names_of_the_vital_signs_are_known() {
        for (path, measure) in [
            ("Temp", "temperature"),
            ("vitals.HR", "pulse"),
            ("SpO2", "oxygen_percent"),
            ("sbp", "systolic"),
            ("diastolic_bp", "diastolic"),
            ("temprature", "temperature"),
            ("Respiration", "respiration"),
        ] {
            assert!(may_be(path, measure), "{path} {measure}");
        }
        assert!(!may_be("systolic", "diastolic"));
        assert!(!may_be("respiration", "temperature"));
    }
}
