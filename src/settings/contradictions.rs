//! Settings that are each fine and cannot all be: reported at the one that was given last.

use std::collections::BTreeSet;

use super::mistake::{MistakeList, Origin, nearest};
use super::record::alias_entries;
use super::tree::{Tree, quoted};
use super::{BrokerAddress, Settings, WatermarkScope};

/// Columns that readings and anomalies have of themselves, the folder's `date`, and what alerts have besides.
const COLUMNS: [&str; 10] = [
    "timestamp",
    "device_id",
    "patient_id",
    "manufacturer",
    "model",
    "anomaly_score",
    "late",
    "threshold",
    "date",
    "alert_id",
];

/// What stands before a measure's name in the columns of anomalies.
const MEASURE_PREFIXES: [&str; 2] = ["attribution_", "direction_"];

/// Columns that a forest or a window may be keyed by, besides those of `devices.columns`.
const KEY_COLUMNS: [&str; 4] = ["manufacturer", "model", "device_id", "patient_id"];

/// Adds every contradiction between settings that are themselves right.
pub(super) fn check(settings: &Settings, tree: &Tree, mistakes: &mut MistakeList) {
    let broken = mistakes.keys();
    let mut check = Check {
        settings,
        tree,
        broken,
        mistakes,
    };
    check.fields();
    check.measures();
    check.aliases();
    check.times();
    check.source();
    check.topic_levels();
    if settings.dataflow.uses("devices") {
        check.device_columns();
    }
    if settings.dataflow.uses("forest") {
        check.forest();
        check.ranges();
        check.groupings();
    }
}

/// A setting, or an element of its list.
#[derive(Clone, Copy)]
struct Place<'a> {
    section: &'a str,
    key: &'a str,
    element: Option<usize>,
}

const fn key<'a>(section: &'a str, key: &'a str) -> Place<'a> {
    Place {
        section,
        key,
        element: None,
    }
}

const fn element<'a>(section: &'a str, key: &'a str, i: usize) -> Place<'a> {
    Place {
        section,
        key,
        element: Some(i),
    }
}

impl Place<'_> {
    fn dotted(self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

struct Check<'a> {
    settings: &'a Settings,
    tree: &'a Tree,
    /// Keys that hold a default in place of a mistake: nothing follows from them.
    broken: BTreeSet<String>,
    mistakes: &'a mut MistakeList,
}

impl Check<'_> {
    /// Reports at the place that was given last, unless one of them has a mistake of its own.
    fn report(&mut self, places: &[Place<'_>], reason: String) {
        if places.iter().any(|p| self.broken.contains(&p.dotted())) {
            return;
        }
        let last = places
            .iter()
            .map(|place| (self.origin(*place), place))
            .max_by(|(a, _), (b, _)| a.cmp(b));
        if let Some((origin, place)) = last {
            self.mistakes.add(origin, place.dotted(), reason);
        }
    }

    fn origin(&self, place: Place<'_>) -> Origin {
        match (self.tree.node(place.section, place.key), place.element) {
            (Some(node), Some(i)) => node.element(i),
            (Some(node), None) => node.origin.clone(),
            (None, _) => Origin::Default,
        }
    }

    /// No field of the record has two roles: a name or a date of birth must not come out as something else.
    fn fields(&mut self) {
        let fields: Vec<_> = self.settings.record.fields().collect();
        for (i, (later, name)) in fields.iter().enumerate() {
            for (earlier, _) in fields[..i].iter().filter(|(_, other)| other == name) {
                self.report(
                    &[key("record", earlier), key("record", later)],
                    format!(
                        "{} is read as {earlier} and as {later}; a field has one role",
                        quoted(name)
                    ),
                );
            }
        }
    }

    fn measures(&mut self) {
        let record = &self.settings.record;
        for (i, measure) in record.measures.iter().enumerate() {
            let here = element("record", "measures", i);
            for j in (0..i).filter(|j| record.measures[*j].eq_ignore_ascii_case(measure)) {
                let reason = format!("{} is there twice (many readers ignore case)", quoted(measure));
                self.report(&[element("record", "measures", j), here], reason);
            }
            if is_column(measure) {
                let reason = format!(
                    "the output has a column {} of its own; give the measure another name, and map it in record.aliases",
                    quoted(measure)
                );
                self.report(&[here], reason);
                continue;
            }
            for (field, _) in record.fields().filter(|(_, name)| *name == measure) {
                let reason = format!(
                    "{} is read as {field} and as a measure; a field has one role",
                    quoted(measure)
                );
                self.report(&[key("record", field), here], reason);
            }
            if let Some(j) = self.explained_measure(measure) {
                let reason = format!(
                    "anomalies have a column {} for the measure {}; choose another name",
                    quoted(measure),
                    quoted(&record.measures[j])
                );
                self.report(&[element("record", "measures", j), here], reason);
            }
        }
    }

    /// The measure whose attribution or direction has this name.
    fn explained_measure(&self, column: &str) -> Option<usize> {
        let lower = column.to_ascii_lowercase();
        let measure = MEASURE_PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix))?;
        let mut measures = self.settings.record.measures.iter();
        measures.position(|m| m.eq_ignore_ascii_case(measure))
    }

    /// An alias leads to a field that is read, and is not one itself.
    fn aliases(&mut self) {
        let Some(table) = self.tree.node("record", "aliases") else {
            return;
        };
        let unsound = ["record.aliases", "record.measures"];
        if unsound.iter().any(|key| self.broken.contains(*key)) {
            return;
        }
        let record = &self.settings.record;
        let fields = record.fields().map(|(_, name)| name);
        let read: Vec<&str> = fields.chain(record.measures.iter().map(String::as_str)).collect();
        for (input, entry) in alias_entries(table) {
            let Some(field) = record.aliases.get(&input) else {
                continue;
            };
            let reason = if read.contains(&input.as_str()) {
                format!(
                    "{} is a field that is read, so it cannot be an alias too; remove one of them",
                    quoted(&input)
                )
            } else if !read.contains(&field.as_str()) {
                let advice = match nearest(field, read.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("these are: {}", read.join(", ")),
                };
                format!(
                    "{} leads to {}, which is no field that is read; {advice}",
                    quoted(&input),
                    quoted(field)
                )
            } else {
                continue;
            };
            self.mistakes.add(entry.origin.clone(), "record.aliases", reason);
        }
    }

    /// Times that are none in the records' unit, or leave nothing between them.
    fn times(&mut self) {
        let (select, record) = (&self.settings.select, &self.settings.record);
        let times = [
            ("from", &select.from, select.from(record)),
            ("to", &select.to, select.to(record)),
        ];
        for (name, text, _) in times
            .iter()
            .filter(|(_, text, time)| !text.is_empty() && time.is_none())
        {
            let reason = format!("{} is beyond all years in record.timestamp_unit", quoted(text));
            self.report(&[key("select", name), key("record", "timestamp_unit")], reason);
        }
        if let [(.., Some(from)), (.., Some(to))] = times
            && from >= to
        {
            let reason = format!(
                "select.from = {} must be before select.to = {}",
                quoted(&select.from),
                quoted(&select.to)
            );
            self.report(&[key("select", "from"), key("select", "to")], reason);
        }
    }

    /// A login given twice or by half, and encryption of a connection that has none.
    fn source(&mut self) {
        let source = &self.settings.source;
        let Ok(address) = source.url.parse::<BrokerAddress>() else {
            return;
        };
        for (name, file) in [
            ("ca", &source.ca),
            ("certificate", &source.certificate),
            ("key", &source.key),
        ] {
            let to_alerts = self.settings.alerts.url.parse::<BrokerAddress>();
            if !file.is_empty() && !address.encrypted && !to_alerts.is_ok_and(|alerts| alerts.encrypted) {
                let reason =
                    format!("source.{name} is for encrypted connections, and source.url is none: write mqtts://");
                self.report(&[key("source", "url"), key("source", name)], reason);
            }
        }
        match (source.certificate.is_empty(), source.key.is_empty()) {
            (false, true) => self.report(
                &[key("source", "certificate"), key("source", "key")],
                "source.certificate needs its private key: set source.key".into(),
            ),
            (true, false) => self.report(
                &[key("source", "certificate"), key("source", "key")],
                "source.key needs its certificate: set source.certificate".into(),
            ),
            _ => {}
        }
        let (in_url, url_password) = address.login.unwrap_or_default();
        if !in_url.is_empty() && !source.user.is_empty() {
            let reason = "there is a user in source.url and in source.user: remove one of them";
            self.report(&[key("source", "url"), key("source", "user")], reason.into());
        }
        if !url_password.is_empty() && !source.password_file.is_empty() {
            let reason = "there is a password in source.url and in source.password_file: remove one of them";
            self.report(&[key("source", "url"), key("source", "password_file")], reason.into());
        }
        for (name, given) in [("password", &source.password), ("password_file", &source.password_file)] {
            if !given.is_empty() && source.user.is_empty() && in_url.is_empty() {
                let reason = format!("source.{name} needs a user: set source.user");
                self.report(&[key("source", "user"), key("source", name)], reason);
            }
        }
    }

    /// A level that no message of a subscription has.
    fn topic_levels(&mut self) {
        let settings = self.settings;
        for (field, name, level) in settings.record.of_topic() {
            for (i, filter) in settings.source.topics.iter().enumerate() {
                let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
                let topic = shared.map_or(filter.as_str(), |(_, topic)| topic);
                let levels = topic.split('/').count();
                if levels < level && !topic.ends_with('#') {
                    let reason = format!(
                        "record.{field} = {}, and the topics of {} have {levels} levels",
                        quoted(name),
                        quoted(filter)
                    );
                    self.report(&[key("record", field), element("source", "topics", i)], reason);
                }
            }
        }
    }

    fn device_columns(&mut self) {
        let settings = self.settings;
        let columns = &settings.devices.columns;
        for (i, column) in columns.iter().enumerate() {
            let here = element("devices", "columns", i);
            let name = quoted(column);
            if let Some(j) = (0..i).find(|j| columns[*j].eq_ignore_ascii_case(column)) {
                let reason = format!("{name} is there twice (many readers ignore case)");
                self.report(&[element("devices", "columns", j), here], reason);
            }
            if is_column(column) {
                let reason = format!(
                    "the output has a column {name} of its own; remove it here, or rename the device collection's"
                );
                self.report(&[here], reason);
            }
            let measures = &settings.record.measures;
            if let Some(j) = measures.iter().position(|m| m.eq_ignore_ascii_case(column)) {
                let reason = format!("{name} is a measure and a device column; the output can have only one of them");
                self.report(&[element("record", "measures", j), here], reason);
            }
            if let Some(j) = self.explained_measure(column) {
                let reason = format!(
                    "anomalies have a column {name} for the measure {}",
                    quoted(&measures[j])
                );
                self.report(&[element("record", "measures", j), here], reason);
            }
        }
    }

    fn forest(&mut self) {
        let forest = &self.settings.forest;
        if u64::from(forest.sample_size) >= forest.time_decay {
            let reason = format!(
                "forest.sample_size = {} must be below forest.time_decay = {}",
                forest.sample_size, forest.time_decay
            );
            self.report(&[key("forest", "sample_size"), key("forest", "time_decay")], reason);
        }
        for (i, column) in forest.key.iter().enumerate() {
            let here = element("forest", "key", i);
            self.key_column(column, here);
            if forest.key[..i].contains(column) {
                self.report(&[here], format!("{} is there twice", quoted(column)));
            }
        }
    }

    fn ranges(&mut self) {
        let measures = &self.settings.record.measures;
        for measure in self
            .settings
            .alerts
            .ranges
            .keys()
            .filter(|name| !measures.contains(name))
        {
            let advice = match nearest(measure, measures.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("there are {}", measures.join(", ")),
            };
            let reason = format!("{} is no measure; {advice}", quoted(measure));
            self.report_unless(&["record.measures"], key("alerts", "ranges"), reason);
        }
        if !self.settings.forest.enabled && !self.settings.alerts.ranges.is_empty() {
            let reason = "ranges are looked at where readings are scored; set forest.enabled = true, or remove them";
            self.report(&[key("alerts", "ranges"), key("forest", "enabled")], reason.into());
        }
    }

    fn groupings(&mut self) {
        let windows = &self.settings.windows;
        let mut seen: Vec<BTreeSet<&String>> = Vec::new();
        for (i, grouping) in windows.groupings.iter().enumerate() {
            let here = element("windows", "groupings", i);
            for column in grouping {
                self.key_column(column, here);
            }
            let columns: BTreeSet<&String> = grouping.iter().collect();
            if columns.len() < grouping.len() {
                self.report(&[here], "a column is there twice in one grouping".into());
            }
            if seen.contains(&columns) {
                self.report(
                    &[here],
                    format!("the grouping by {} is there twice", grouping.join(", ")),
                );
            }
            seen.push(columns);
            let by_device = grouping.iter().any(|c| c == "device_id");
            if windows.watermark == WatermarkScope::Device && !by_device {
                let reason = format!(
                    "windows.watermark = \"device\" needs device_id in every grouping, and the one by {} is without; use \"global\", or change windows.groupings",
                    grouping.join(", ")
                );
                self.report(&[here, key("windows", "watermark")], reason);
            }
        }
    }

    /// A column that forests and windows may be keyed by.
    fn key_column(&mut self, column: &str, here: Place<'_>) {
        let settings = self.settings;
        let further = settings.devices.columns.iter().map(String::as_str);
        let columns: Vec<&str> = KEY_COLUMNS.into_iter().chain(further).collect();
        if !columns.contains(&column) {
            let advice = match nearest(column, columns.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!(
                    "there are {}; further columns of the device collection are named in devices.columns first",
                    columns.join(", ")
                ),
            };
            let reason = format!("{} is no column to group by; {advice}", quoted(column));
            self.report_unless(&["devices.columns"], here, reason);
        }
        if column == "patient_id" && settings.record.patient.is_empty() {
            let reason = "patient_id is always null with record.patient = \"\"; name the patient's field, or another column here";
            self.report(&[here, key("record", "patient")], reason.into());
        }
    }

    /// Reports at `place`, unless it or one of the keys that it depends on has a mistake of its own.
    fn report_unless(&mut self, depends_on: &[&str], place: Place<'_>, reason: String) {
        if !depends_on.iter().any(|key| self.broken.contains(*key)) {
            self.report(&[place], reason);
        }
    }
}

fn is_column(name: &str) -> bool {
    COLUMNS.iter().any(|column| column.eq_ignore_ascii_case(name))
}
