//! The flags that every run of a dataflow has: which dataflow, with what settings, from which devices, to where.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, load_settings};
use crate::settings::Settings;

#[derive(Args)]
pub(super) struct DataflowFlags {
    /// The dataflow file, or the bare name of a built-in one: sensor_collection, ingest_transform_load, realtime_analytics
    dataflow: String,
    /// The folder of the tables [default: out; backtest: a temporary one]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The folder of vault, keys and progress [default: <output>.state]
    #[arg(long, value_name = "DIR", env = "WARDFLOW_STATE")]
    state: Option<PathBuf>,
    /// The device collection: CSV, JSON lines or Parquet with device_id, manufacturer, model; a live run follows its changes
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Override a setting of the dataflow file, as forest.shingle=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write a JSON summary at the end to a file, or to standard output (-)
    #[arg(long, value_name = "FILE")]
    pub(super) summary: Option<PathBuf>,
}

impl DataflowFlags {
    /// The settings; `more` are further flags that stand for one, with their texts.
    pub(super) fn settings(&self, more: &[(&str, Option<&str>)]) -> Result<Settings, Failure> {
        let mut overrides = self.set.clone();
        for (key, text) in more {
            overrides.extend(text.map(|text| format!("{key}={}", toml::Value::String(text.to_owned()))));
        }
        Ok(load_settings(
            &self.dataflow,
            overrides,
            self.output.as_deref(),
            self.devices.as_deref(),
        )?)
    }

    /// Whether an output was asked for here.
    pub(super) fn keeps_output(&self) -> bool {
        self.output.is_some()
    }

    /// The folders of output and state.
    pub(super) fn folders(&self, settings: &Settings) -> (PathBuf, PathBuf) {
        let output = PathBuf::from(&settings.output.path);
        let state = self.state.clone().unwrap_or_else(|| state_beside(&output));
        (output, state)
    }
}

/// Where state goes unless told otherwise: beside the output.
pub(super) fn state_beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".state");
    output.with_file_name(name)
}
