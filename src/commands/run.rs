//! `wardflow run`: live records from a broker through a dataflow.

use std::path::PathBuf;

use clap::Args;

use super::live::{LiveRun, tell_where};
use super::replay::state_beside;
use super::{Failure, load_settings, tell, write_summary};
use crate::cluster::{Flags, Interrupted, Topology};

/// Runs until Ctrl-C or SIGTERM, then commits what has come and ends. Started again, it goes on.
///
/// Records are acknowledged to the broker as they arrive: until there is a journal, a crash loses those since the last
/// commit (output.commit_interval), and windows that were open at the end of a run are not written.
#[derive(Args)]
pub(super) struct Run {
    /// The dataflow file, or the bare name of a built-in one: sensor_collection, ingest_transform_load, realtime_analytics
    dataflow: String,
    /// Worker threads
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// The broker [default: source.url, mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The folder of the tables [default: out]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The folder of vault, keys and progress [default: <output>.state]
    #[arg(long, value_name = "DIR", env = "WARDFLOW_STATE")]
    state: Option<PathBuf>,
    /// The device collection: CSV, JSON lines or Parquet with device_id, manufacturer, model
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Override a setting of the dataflow file, as forest.shingle=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write a JSON summary at the end to a file, or to standard output (-)
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let mut overrides = self.set.clone();
        overrides.extend(
            self.source
                .as_ref()
                .map(|url| format!("source.url={}", toml::Value::String(url.clone()))),
        );
        let settings = load_settings(
            &self.dataflow,
            overrides,
            self.output.as_deref(),
            self.devices.as_deref(),
        )?;
        let interrupted = Interrupted::install()?;
        let topology = one_process(self.workers)?;
        let output = PathBuf::from(&settings.output.path);
        let state = self.state.clone().unwrap_or_else(|| state_beside(&output));
        let name = settings.dataflow.name();
        let live = LiveRun {
            title: format!("wardflow  {name}  →  {}", output.display()),
            settings,
            output: output.clone(),
            state: state.clone(),
        };
        let summary = live.run(&topology, &interrupted, || tell(format_args!("{name}: subscribed")))?;
        tell(format_args!("{name}: {summary}"));
        tell_where(&output, &state);
        write_summary(&summary, self.summary.as_deref())?;
        Ok(0)
    }
}

/// Live runs have one process so far.
pub(super) fn one_process(workers: usize) -> Result<Topology, Failure> {
    Ok(Topology::from_flags(&Flags {
        workers,
        processes: 1,
        process: 0,
        hostfile: None,
        allow_remote: false,
    })?)
}
