//! The dataflow file: which of the three dataflows runs, and with what settings.
//!
//! In: a path to a `.toml` or the bare name of a dataflow that is built in, `WARDFLOW_<SECTION>_<KEY>` variables of the environment and
//! `--set section.key=value` from the command line; each wins over the one before it, and the defaults lose against all.
//! Out: [`Settings`], complete and free of contradictions, or [`Mistakes`]: every mistake there is, each with where it stands and what to do.

mod alerts;
mod broker_address;
mod builtin;
mod canonical;
mod contradictions;
mod devices;
mod forest;
mod journal;
mod layers;
mod mistake;
mod output;
mod protection;
mod quantity;
mod reader;
mod record;
mod selection;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod windows;

use serde::Serialize;

pub use alerts::{Adapt, Alerts};
pub use broker_address::BrokerAddress;
pub use canonical::{first_difference, first_difference_of_state};
pub use devices::{DeviceHistory, Devices};
pub use forest::{Forest, Normalise, Scoring};
pub use journal::Journal;
pub use mistake::{Mistake, Mistakes, Origin};
pub use output::{Compression, Output};
pub use protection::{Deidentify, KeySource, Keys, Profile};
pub use quantity::Micros;
pub use record::{FILE_STEM, Record, TimestampUnit, Timezone};
pub use selection::{Deduplicate, Select};
pub use source::{Protocol, Replay, Source};
pub use windows::{WatermarkScope, Windows};

use builtin::Document;
use layers::Override;
use mistake::{MistakeList, nearest};
use reader::{Known, Reader};
use tree::{Tree, Value};

/// One of the three dataflows; each is the one before it and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataflow {
    /// Parse, select, de-identify, vault.
    SensorCollection,
    /// The same, and the device collection joined in.
    IngestTransformLoad,
    /// The same, and scores, anomalies and windows.
    RealtimeAnalytics,
}

impl Dataflow {
    /// All three, the shortest first.
    pub const ALL: [Dataflow; 3] = [
        Dataflow::SensorCollection,
        Dataflow::IngestTransformLoad,
        Dataflow::RealtimeAnalytics,
    ];

    /// The name that the `dataflow` key and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Dataflow::SensorCollection => "sensor_collection",
            Dataflow::IngestTransformLoad => "ingest_transform_load",
            Dataflow::RealtimeAnalytics => "realtime_analytics",
        }
    }

    /// The dataflow of this name.
    fn named(name: &str) -> Option<Dataflow> {
        Dataflow::ALL.into_iter().find(|d| d.name() == name)
    }

    /// The shortest dataflow that a section is part of.
    fn first_with(section: &str) -> Dataflow {
        match section {
            "forest" | "windows" | "alerts" => Dataflow::RealtimeAnalytics,
            "devices" => Dataflow::IngestTransformLoad,
            _ => Dataflow::SensorCollection,
        }
    }

    /// Whether a section has a meaning in this dataflow.
    pub fn uses(self, section: &str) -> bool {
        self as u8 >= Dataflow::first_with(section) as u8
    }
}

/// Everything that the dataflow file says. Sections that the dataflow does not use hold their defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The file's stem, or the name of the built-in dataflow.
    pub name: String,
    pub dataflow: Dataflow,
    pub record: Record,
    pub select: Select,
    pub deduplicate: Deduplicate,
    pub deidentify: Deidentify,
    pub keys: Keys,
    pub devices: Devices,
    pub forest: Forest,
    pub windows: Windows,
    pub alerts: Alerts,
    pub output: Output,
    pub source: Source,
    pub journal: Journal,
    pub replay: Replay,
}

impl Settings {
    /// Reads the settings: `dataflow` is a path to a `.toml` or a built-in name, `overrides` are the arguments of `--set`, and `environment`
    /// is the process's, of which only `WARDFLOW_…` is looked at.
    ///
    /// # Errors
    /// Every mistake there is, not only the first; of a file that is no TOML, where it is none.
    pub fn load(
        dataflow: &str,
        overrides: &[String],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, Mistakes> {
        let document = builtin::open(dataflow)?;
        let mut mistakes = MistakeList::default();
        let Some(mut tree) = layers::parse(&document, &mut mistakes) else {
            return mistakes.fail();
        };
        let known = all_keys();
        layers::check_file(&mut tree, &known, &mut mistakes);
        let mut upper = layers::environment(environment, &known, &mut mistakes);
        upper.extend(layers::command_line(overrides, &known, &mut mistakes));
        let (top, keys): (Vec<_>, Vec<_>) = upper.into_iter().partition(|o| o.section().is_none());
        top.into_iter().for_each(|o| o.apply(&mut tree));
        let kind = which(&tree, &document, &mut mistakes);
        refuse_unused(kind, &tree, &keys, &mut mistakes);
        keys.into_iter().for_each(|o| o.apply(&mut tree));

        let mut settings = Settings::read(kind, &mut Reader::new(&tree, &mut mistakes));
        settings.name = document.name;
        contradictions::check(&settings, &tree, &mut mistakes);
        mistakes.or(settings)
    }

    fn read(dataflow: Dataflow, reader: &mut Reader<'_>) -> Settings {
        let mut settings = Settings {
            name: dataflow.name().into(),
            dataflow,
            record: Record::read(&mut reader.section("record")),
            select: Select::read(&mut reader.section("select")),
            deduplicate: Deduplicate::read(&mut reader.section("deduplicate")),
            deidentify: Deidentify::read(&mut reader.section("deidentify")),
            keys: Keys::read(&mut reader.section("keys")),
            devices: Devices::read(&mut reader.section("devices")),
            forest: Forest::read(&mut reader.section("forest")),
            windows: Windows::read(&mut reader.section("windows")),
            alerts: Alerts::read(&mut reader.section("alerts")),
            output: Output::read(&mut reader.section("output")),
            source: Source::read(&mut reader.section("source")),
            journal: Journal::read(&mut reader.section("journal")),
            replay: Replay::read(&mut reader.section("replay")),
        };
        settings.source.alerts = settings.alerts_of_source();
        settings
    }
}

impl Settings {
    /// The topic below which alerts go to the source's own broker.
    fn alerts_of_source(&self) -> String {
        let place = |url: &str| url.parse::<BrokerAddress>().map(|address| (address.host, address.port));
        let is_same = self.alerts.url.is_empty() || place(&self.alerts.url) == place(&self.source.url);
        match self.dataflow {
            Dataflow::RealtimeAnalytics if is_same => self.alerts.topic.clone(),
            _ => String::new(),
        }
    }
}

/// The keys that reading asks for.
fn all_keys() -> Known {
    let (nothing, mut none) = (Tree::default(), MistakeList::default());
    let mut reader = Reader::new(&nothing, &mut none);
    Settings::read(Dataflow::RealtimeAnalytics, &mut reader);
    reader.into_known()
}

/// Which dataflow is configured; the longest when that cannot be told, so that no section is refused for it.
fn which(tree: &Tree, document: &Document, mistakes: &mut MistakeList) -> Dataflow {
    let names = Dataflow::ALL.map(|d| format!("{:?}", d.name()));
    let choices = names.join(", ");
    let (origin, reason) = match tree.top.get("dataflow") {
        None => {
            let file = document.file.clone();
            let reason = format!("is missing; write dataflow = one of {choices} at the top of the file");
            (Origin::File { file, line: 0 }, reason)
        }
        Some(node) => match &node.value {
            Value::Text(name) => match Dataflow::named(name) {
                Some(dataflow) => return dataflow,
                None => {
                    let near = nearest(name, Dataflow::ALL.map(Dataflow::name));
                    let near = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
                    let found = tree::quoted(name);
                    (
                        node.origin.clone(),
                        format!("wants one of {choices}; found {found}{near}"),
                    )
                }
            },
            other => {
                let found = other.describe();
                (node.origin.clone(), format!("wants one of {choices}; found {found}"))
            }
        },
    };
    mistakes.add(origin, "dataflow", reason);
    Dataflow::RealtimeAnalytics
}

/// Settings that would do nothing are refused: whoever wrote them expects something else.
fn refuse_unused(dataflow: Dataflow, file: &Tree, upper: &[Override], mistakes: &mut MistakeList) {
    let reason = |section: &str| {
        format!(
            "[{section}] is not part of {}; remove it, or set dataflow = {:?}",
            dataflow.name(),
            Dataflow::first_with(section).name()
        )
    };
    for (section, node) in &file.top {
        if !dataflow.uses(section) {
            mistakes.add(node.origin.clone(), "", reason(section));
        }
    }
    for setting in upper {
        if let Some(section) = setting.section().filter(|s| !dataflow.uses(s)) {
            mistakes.add(setting.origin(), setting.key(), reason(section));
        }
    }
}
