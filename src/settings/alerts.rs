//! `[alerts]`: when a reading is an anomaly, which anomalies are one incident, and where a live run tells of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Micros;
use super::reader::{Checked, Section, all, fault, text};
use super::source::url;
use super::tree::{Node, Value};

/// Its Debug shows no password.
#[derive(Clone, PartialEq, Serialize)]
pub struct Alerts {
    /// A reading is anomalous at this score or above; finite, more than zero.
    pub threshold: f64,
    pub adapt: Adapt,
    /// With [`Adapt::Rate`]: the share of a key's readings that are to be anomalies; above 0, at most 0.5.
    pub rate: f64,
    /// With [`Adapt::Grade`]: the grade of an anomaly, 0 up to but not 1.
    pub grade: f64,
    /// Measure → its lowest and highest ordinary value; a reading beyond is anomalous whatever its score.
    pub ranges: BTreeMap<String, (f64, f64)>,
    /// Anomalies of a device within this time of each other are one incident.
    pub cool_down: Micros,
    /// Each incident is published below this topic, on a level for its manufacturer; empty: none is.
    pub topic: String,
    /// The broker; empty: the one of `[source]`.
    #[serde(skip)]
    pub url: String,
    /// A file that gets a JSON line for each incident; empty: none does.
    pub file: String,
    /// Whether alerts say whose reading it was.
    pub patient: bool,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("threshold", &self.threshold)
            .field("adapt", &self.adapt)
            .field("cool_down", &self.cool_down)
            .field("topic", &self.topic)
            .field("file", &self.file)
            .field("patient", &self.patient)
            .finish_non_exhaustive()
    }
}

/// Whether each key of a forest learns a threshold of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapt {
    /// The threshold is fixed.
    None,
    /// A share of the readings reaches it.
    Rate,
    /// Scores that stand out among those of the key reach it.
    Grade,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            threshold: 2.0,
            adapt: Adapt::None,
            rate: 0.001,
            grade: 0.8,
            ranges: BTreeMap::new(),
            cool_down: Micros(5 * Micros::MINUTE.0),
            topic: "wardflow/alerts".into(),
            url: String::new(),
            file: String::new(),
            patient: false,
        }
    }
}

impl Alerts {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Alerts {
        let default = Alerts::default();
        let ways = [("none", Adapt::None), ("rate", Adapt::Rate), ("grade", Adapt::Grade)];
        Alerts {
            threshold: section.positive("threshold", default.threshold),
            adapt: section.choice("adapt", &ways, default.adapt),
            rate: section.read("rate", default.rate, |node| {
                share(node, |x| (1e-6..=0.5).contains(&x), "a number from 0.000001 to 0.5")
            }),
            grade: section.read("grade", default.grade, |node| {
                share(node, |x| (0.0..=0.999).contains(&x), "a number from 0 to 0.999")
            }),
            ranges: section.read("ranges", default.ranges, ranges),
            cool_down: section.duration("cool_down", Micros(0), default.cool_down),
            topic: section.read("topic", default.topic, topic),
            url: section.read("url", default.url, |node| match text(node)?.as_str() {
                "" => Ok(String::new()),
                _ => url(node),
            }),
            file: section.text("file", default.file),
            patient: section.boolean("patient", default.patient),
        }
    }
}

/// Room for a manufacturer's level is left.
const LONGEST_TOPIC: usize = 1000;

/// A topic that may be published to, with another level behind it.
fn topic(node: &Node) -> Checked<String> {
    let topic = text(node)?;
    let wrong = match () {
        () if topic.contains(['+', '#']) => "wants a topic without + and #: they are for subscriptions",
        () if topic.starts_with('$') => "wants a topic that does not begin with $: those are the broker's own",
        () if topic.ends_with('/') => "wants a topic without a / at its end: the manufacturer's level is put behind it",
        () if topic.len() > LONGEST_TOPIC => "wants at most 1000 bytes",
        () if topic.contains(char::is_control) => "wants no control characters",
        () => return Ok(topic),
    };
    fault(node, wrong)
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Float(x) => Some(x),
        Value::Integer(Some(i)) => Some(i as f64),
        _ => None,
    }
}

pub(super) fn share(node: &Node, allowed: impl Fn(f64) -> bool, wanted: &str) -> Checked<f64> {
    match number(node).filter(|number| allowed(*number)) {
        Some(number) => Ok(number),
        None => fault(node, format!("wants {wanted}; found {}", node.value.describe())),
    }
}

fn ranges(node: &Node) -> Checked<BTreeMap<String, (f64, f64)>> {
    let wanted = "{ pulse = [40, 150] }, the lowest and the highest ordinary value, -inf or inf where there is none";
    let Value::Table(entries) = &node.value else {
        return fault(
            node,
            format!("wants a table, as {wanted}; found {}", node.value.describe()),
        );
    };
    let range = |(measure, entry): (&String, &Node)| {
        let ends = match &entry.value {
            Value::List(ends) => ends
                .iter()
                .map(number)
                .collect::<Option<Vec<f64>>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        match ends[..] {
            [low, high] if low <= high && low < f64::INFINITY && high > f64::NEG_INFINITY => {
                Ok((measure.clone(), (low, high)))
            }
            _ => fault(entry, format!("the range of {measure:?} is none; write it as {wanted}")),
        }
    };
    Ok(all(entries.iter().map(range))?.into_iter().collect())
}
