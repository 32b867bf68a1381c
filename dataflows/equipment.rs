//! What the dataflows are equipped with: the settings, turned into what each operator takes.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use compact_str::CompactString;

use crate::alerts::{Composer, Outbox};
use crate::commit::Tally;
use crate::detection::{Detection, Ranges, Rule};
use crate::forest::{self, Parameters};
use crate::judge::Trial;
use crate::observe::Board;
use crate::operators::{
    Alerting, Committer, Committing, Delivery, Grouping, HandOver, Room, Rows, Selection, Tumbling, UnknownDevices,
    WatermarkRules, witness,
};
use crate::record::{DeviceFrom, Fields, Parser, Scored};
use crate::settings::{self, Adapt, Dataflow, FILE_STEM, Normalise, Scoring, Settings, WatermarkScope};
use crate::sink::TableColumns;
use crate::snapshot::Checkpoints;
use crate::vault::{Intake, PayloadSealer, Sealer, Vault};

/// What all workers of a process share.
#[derive(Clone)]
pub struct Shared {
    pub settings: Arc<Settings>,
    pub sealer: Arc<Sealer>,
    pub payloads: Arc<PayloadSealer>,
    pub output: PathBuf,
    pub state: PathBuf,
    /// The run's number among those that have taken up its folders.
    pub incarnation: u64,
    /// Of a live run.
    pub board: Option<Arc<Board>>,
    /// Whether readings are joined with a device collection.
    pub joined: bool,
    /// Whether the outcome of every reading is wanted.
    pub judged: bool,
    /// Of a run whose state outlives it.
    pub checkpoints: Option<Checkpoints>,
    /// Whether incidents become alerts.
    pub alerting: bool,
}

/// What only worker 0 of process 0 has.
pub struct KeptByOne {
    pub vault: Vault,
    pub committer: Rc<RefCell<Option<Committer>>>,
    /// Where alerts are kept until they are delivered.
    pub outbox: Option<Arc<Outbox>>,
    pub unknown_devices: UnknownDevices,
    /// Takes the outcomes of all readings, where they are wanted.
    pub trial: Rc<RefCell<Trial>>,
}

/// Reads the records that the settings describe.
pub fn parser(record: &settings::Record) -> Parser {
    let fields = Fields {
        timestamp: record.timestamp.clone(),
        device: match record.device.as_str() {
            FILE_STEM => DeviceFrom::File,
            name => DeviceFrom::Field(name.to_owned()),
        },
        patient: record.patient.clone(),
        name: record.name.clone(),
        dob: record.dob.clone(),
        manufacturer: record.manufacturer.clone(),
        model: record.model.clone(),
        measures: record.measures.clone(),
        aliases: record
            .aliases
            .iter()
            .map(|(alias, field)| (alias.clone(), field.clone()))
            .collect(),
    };
    Parser::new(fields, record.zone(), record.max_record_bytes)
}

pub fn watermark_rules(windows: &settings::Windows) -> WatermarkRules {
    WatermarkRules {
        size: windows.size.0,
        out_of_orderness: windows.out_of_orderness.0,
        allowed_lateness: windows.allowed_lateness.0,
        max_jump: windows.max_jump.0,
    }
}

/// The columns of the tables, as far as the settings decide them.
pub fn columns(settings: &Settings) -> TableColumns {
    TableColumns {
        measures: settings.record.measures.clone(),
        further: settings.devices.columns.clone(),
        scored: settings.dataflow == Dataflow::RealtimeAnalytics,
        ranges: !settings.alerts.ranges.is_empty(),
    }
}

/// One worker's equipment.
pub struct Equipment {
    pub shared: Shared,
    vault: Option<Vault>,
    committing: Committing,
    outbox: Option<Arc<Outbox>>,
    unknown_devices: Option<UnknownDevices>,
    trial: Option<Rc<RefCell<Trial>>>,
}

impl Equipment {
    /// `kept` is there on worker 0 of process 0 only.
    pub fn new(shared: Shared, kept: Option<KeptByOne>) -> Equipment {
        match kept {
            None => Equipment {
                shared,
                vault: None,
                committing: Committing::default(),
                outbox: None,
                unknown_devices: None,
                trial: None,
            },
            Some(KeptByOne {
                vault,
                committer,
                outbox,
                unknown_devices,
                trial,
            }) => Equipment {
                shared,
                vault: Some(vault),
                committing: Committing {
                    committer: Some(committer),
                    hand_over: None,
                },
                outbox,
                unknown_devices: Some(unknown_devices),
                trial: Some(trial),
            },
        }
    }

    pub(super) fn parser(&self) -> Parser {
        parser(&self.shared.settings.record)
    }

    pub(super) fn payload_sealer(&self) -> Arc<PayloadSealer> {
        Arc::clone(&self.shared.payloads)
    }

    pub(super) fn selection(&self) -> Selection {
        let settings = &self.shared.settings;
        let set = |ids: &[String]| ids.iter().map(CompactString::new).collect();
        Selection {
            patients: set(&settings.select.patients),
            devices: set(&settings.select.devices),
            from: settings.select.from(&settings.record),
            to: settings.select.to(&settings.record),
        }
    }

    pub(super) fn intake(&self) -> Intake {
        Intake::new(Arc::clone(&self.shared.sealer))
    }

    /// In microseconds.
    pub(super) fn deduplication_horizon(&self) -> Option<i64> {
        self.shared.settings.deduplicate.horizon.map(|horizon| horizon.0)
    }

    pub(super) fn vault(&mut self) -> Option<Vault> {
        self.vault.take()
    }

    /// The same with what the first worker of another process than 0 has.
    pub fn handing_over(mut self, hand_over: Option<HandOver>) -> Equipment {
        self.committing.hand_over = hand_over;
        self
    }

    pub(super) fn committer(&mut self) -> Committing {
        std::mem::take(&mut self.committing)
    }

    pub(super) fn has_device_collection(&self) -> bool {
        self.shared.joined
    }

    pub(super) fn unknown_devices(&mut self) -> Option<UnknownDevices> {
        self.unknown_devices.take()
    }

    pub(super) fn watermark_rules(&self) -> WatermarkRules {
        watermark_rules(&self.shared.settings.windows)
    }

    pub(super) fn checkpoints(&self) -> Option<&Checkpoints> {
        self.shared.checkpoints.as_ref()
    }

    pub(super) fn board(&self) -> Option<Arc<Board>> {
        self.shared.board.clone()
    }

    /// The readings unchanged; their outcomes go to the trial where they are wanted.
    pub(super) fn witnessed<'scope>(&mut self, scored: Rows<'scope, Scored>) -> Rows<'scope, Scored> {
        match self.shared.judged {
            true => witness(scored, self.trial.take()),
            false => scored,
        }
    }

    pub(super) fn forest_key(&self) -> Grouping {
        self.grouping(&self.shared.settings.forest.key)
    }

    fn grouping(&self, names: &[String]) -> Grouping {
        Grouping::new(names, &self.shared.settings.devices.columns)
            .expect("the settings have been checked for unknown columns")
    }

    pub(super) fn forest_parameters(&self) -> Parameters {
        let forest = &self.shared.settings.forest;
        Parameters {
            trees: forest.trees as usize,
            sample_size: forest.sample_size as usize,
            time_decay: forest.time_decay,
            shingle: forest.shingle as usize,
            measures: self.shared.settings.record.measures.len(),
            scoring: match forest.scoring {
                Scoring::Kinesis => forest::Scoring::Kinesis,
                Scoring::Aws => forest::Scoring::Aws,
            },
            seed: forest.seed,
            normalise: match forest.normalise {
                Normalise::None => forest::Normalise::None,
                Normalise::Standardise => forest::Normalise::Standardise,
            },
        }
    }

    /// What scoring may keep in memory.
    pub(super) fn room(&self) -> Room {
        let count = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
        let forest = &self.shared.settings.forest;
        Room {
            keys: count(forest.max_keys),
            devices: count(forest.max_devices),
            folder: self.shared.state.clone(),
        }
    }

    pub(super) fn detection(&self) -> Detection {
        let Settings { alerts, record, .. } = &*self.shared.settings;
        let until = alerts.threshold;
        let range = |measure| alerts.ranges.get(measure).copied();
        let unbounded = (f64::NEG_INFINITY, f64::INFINITY);
        Detection {
            rule: match alerts.adapt {
                Adapt::None => Rule::Fixed(until),
                Adapt::Rate => Rule::Rate {
                    share: alerts.rate,
                    until,
                },
                Adapt::Grade => Rule::Grade {
                    least: alerts.grade,
                    until,
                },
            },
            ranges: Ranges(
                record
                    .measures
                    .iter()
                    .map(|measure| range(measure).unwrap_or(unbounded))
                    .collect(),
            ),
        }
    }

    /// Which incidents become alerts; `None` where nobody is to be told.
    pub(super) fn alerting(&self) -> Option<Alerting> {
        let Settings { alerts, record, .. } = &*self.shared.settings;
        self.shared.alerting.then(|| Alerting {
            cool_down: alerts.cool_down.0,
            composer: Composer {
                measures: record.measures.clone(),
                patient: alerts.patient,
            },
        })
    }

    pub(super) fn outbox(&mut self) -> Option<Arc<Outbox>> {
        self.outbox.take()
    }

    /// Windows follow each other by grouping, not by device: they make no shingles.
    pub(super) fn window_forest_parameters(&self) -> Parameters {
        Parameters {
            shingle: 1,
            ..self.forest_parameters()
        }
    }

    pub(super) fn tumbling(&self) -> Tumbling {
        let settings = &self.shared.settings;
        Tumbling {
            groupings: settings
                .windows
                .groupings
                .iter()
                .map(|names| self.grouping(names))
                .collect(),
            measures: settings.record.measures.len(),
            rules: self.watermark_rules(),
            per_device: settings.windows.watermark == WatermarkScope::Device,
        }
    }

    pub(super) fn grouping_names(&self) -> Vec<String> {
        self.tumbling()
            .groupings
            .into_iter()
            .map(|grouping| grouping.name)
            .collect()
    }

    pub(super) fn columns(&self) -> TableColumns {
        columns(&self.shared.settings)
    }

    pub(super) fn delivery(&self) -> Delivery {
        let output = &self.shared.settings.output;
        Delivery {
            output: self.shared.output.clone(),
            incarnation: self.shared.incarnation,
            shards: output.shards,
            compression: output.compression,
            in_background: self.checkpoints().is_some(),
        }
    }

    /// What a reading adds to the tally. Without a device collection no device is unknown.
    pub(super) fn reading_counts(&self) -> impl Fn(&Scored, &mut Tally) + 'static {
        let collection = self.has_device_collection();
        move |row, tally| {
            tally.readings += 1;
            tally.late += u64::from(row.reading.late);
            tally.unknown_devices += u64::from(collection && row.reading.facts.is_none());
        }
    }
}
