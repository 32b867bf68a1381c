//! What the tests of this room share.

use jiff::tz::TimeZone;

use crate::record::{DeviceFrom, Fields, Parser, Zone};

/// Records with a time in seconds under `t` and a measure `m`; the device is the file.
pub(super) fn parser() -> Parser {
    let fields = Fields {
        timestamp: "t".into(),
        device: DeviceFrom::File,
        patient: String::new(),
        name: String::new(),
        dob: String::new(),
        manufacturer: String::new(),
        model: String::new(),
        measures: vec!["m".into()],
        aliases: Vec::new(),
    };
    Parser::new(fields, Zone::new(TimeZone::UTC, 1), 1 << 20)
}
