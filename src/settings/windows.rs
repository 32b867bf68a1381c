//! `[windows]`: tumbling windows on event time.

use serde::Serialize;

use super::Micros;
use super::reader::{Checked, Section, all, fault, filled_text, texts};
use super::tree::{Node, Value};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Windows {
    /// Length of a window, more than zero.
    pub size: Micros,
    /// One entry per grouping: the columns, at least one, whose values share a window.
    pub groupings: Vec<Vec<String>>,
    /// How far the watermark stays behind the highest event time.
    pub out_of_orderness: Micros,
    /// How long after its end a window takes late readings as a revision.
    pub allowed_lateness: Micros,
    pub watermark: WatermarkScope,
    /// A jump of event time beyond this counts only once a second device confirms it; more than zero.
    pub max_jump: Micros,
    /// Silence of a live source after which idle ticks advance the watermark; more than zero.
    pub idle_after: Micros,
    /// Whether windows get a `window_score`.
    pub score: bool,
}

impl Default for Windows {
    fn default() -> Self {
        Windows {
            size: Micros::MINUTE,
            groupings: vec![vec!["manufacturer".into()], vec!["device_id".into()]],
            out_of_orderness: Micros(30 * Micros::SECOND.0),
            allowed_lateness: Micros::HOUR,
            watermark: WatermarkScope::Global,
            max_jump: Micros::DAY,
            idle_after: Micros::MINUTE,
            score: true,
        }
    }
}

/// What has a watermark of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WatermarkScope {
    /// The whole input.
    Global,
    /// Each device; every grouping then contains `device_id`.
    Device,
}

impl Windows {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Windows {
        let default = Windows::default();
        let (zero, more) = (Micros(0), Micros(1));
        let scopes = [("global", WatermarkScope::Global), ("device", WatermarkScope::Device)];
        Windows {
            size: section.duration("size", more, default.size),
            groupings: section.read("groupings", default.groupings, groupings),
            out_of_orderness: section.duration("out_of_orderness", zero, default.out_of_orderness),
            allowed_lateness: section.duration("allowed_lateness", zero, default.allowed_lateness),
            watermark: section.choice("watermark", &scopes, default.watermark),
            max_jump: section.duration("max_jump", more, default.max_jump),
            idle_after: section.duration("idle_after", more, default.idle_after),
            score: section.boolean("score", default.score),
        }
    }
}

/// A list of columns, or of lists of columns.
fn groupings(node: &Node) -> Checked<Vec<Vec<String>>> {
    let Value::List(entries) = &node.value else {
        return fault(
            node,
            format!(
                "wants a list of columns or of lists of columns, as [\"device_id\", [\"manufacturer\", \"model\"]]; found {}",
                node.value.describe()
            ),
        );
    };
    if entries.is_empty() {
        return fault(node, "wants at least one grouping");
    }
    all(entries.iter().map(|entry| match &entry.value {
        Value::List(columns) if columns.is_empty() => fault(entry, "a grouping wants at least one column"),
        Value::List(_) => texts(entry),
        _ => filled_text(entry).map(|column| vec![column]),
    }))
}
