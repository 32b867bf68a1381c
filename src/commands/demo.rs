//! `wardflow` without a command: a ward comes alive.
//!
//! An embedded broker, a simulated ward that publishes to it, and the real-time analytics on what arrives; all on this machine.
//! Rates and windows are such that forests have learned, windows close and faults are flagged within seconds.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;

use super::dataflow_flags::state_beside;
use super::live::{LiveRun, tell_where};
use super::{Failure, load_settings, tell, write_summary};
use crate::broker;
use crate::cluster::{Flags, Interrupted, Topology};
use crate::observe::{grouped, wall_clock};
use crate::settings::Micros;
use crate::simulate::{Broker, Plan, Simulation, publish};

const DATAFLOW: &str = "realtime_analytics";
/// In place of the defaults, which are for months: windows of seconds that close soon, and commits that can be looked at.
const SETTINGS: [&str; 5] = [
    "windows.size=5s",
    "windows.out_of_orderness=1s",
    "windows.allowed_lateness=1m",
    "windows.idle_after=5s",
    "output.commit_interval=5s",
];

#[derive(Args)]
pub(super) struct Demo {
    /// End by itself after this time, as 30s or 5m [default: runs until Ctrl-C]
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Micros>,
    /// Records a second
    #[arg(long, value_name = "N", default_value_t = 400.0)]
    rate: f64,
    /// Worker threads
    #[arg(short, long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// The folder of the tables
    #[arg(short, long, value_name = "DIR", default_value = "wardflow-demo")]
    output: PathBuf,
    /// Write a JSON summary at the end to a file, or to standard output (-)
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let plan = Plan {
            devices: 120,
            patients: 120,
            rate: self.rate,
            record_bytes: 400,
            duplicates: 0.002,
            bad: 0.002,
            anomalies: 0.004,
            anomalies_from: 6.0,
            ..Plan::default()
        };
        let output = self.output.clone();
        let state = state_beside(&output);
        let devices = output.join("devices.csv");
        write_devices(&plan, &output, &devices)?;
        let interrupted = Interrupted::install()?;
        let listening = broker::start().map_err(|e| {
            Failure::new(format!(
                "the demo's broker cannot start ({e}); is loopback networking allowed here?"
            ))
        })?;
        let url = format!("mqtt://{listening}");
        let mut overrides: Vec<String> = SETTINGS.map(str::to_owned).into();
        overrides.push(format!("source.url=\"{url}\""));
        let settings = load_settings(DATAFLOW, overrides, Some(&output), Some(&devices))?;
        let ward = Broker::parse(&url)?;
        let live = LiveRun {
            title: format!("wardflow  {url} → {DATAFLOW} → {}", output.display()),
            settings,
            output: output.clone(),
            state: state.clone(),
        };
        tell(format_args!(
            "a simulated ward of {} monitors publishes {} records a second to {url}; Ctrl-C ends",
            plan.devices,
            grouped(plan.rate as u64)
        ));
        let stop = interrupted.clone();
        let summary = live.run(&one_process(self.workers)?, &interrupted, || {
            if let Some(time) = self.time {
                let end = interrupted.clone();
                thread::spawn(move || {
                    thread::sleep(time.into());
                    end.set();
                });
            }
            thread::spawn(move || publish_until(plan, &ward, &stop));
        })?;
        let Some(summary) = summary else { return Ok(0) };
        tell(format_args!("{DATAFLOW}: {summary}"));
        tell_where(&output, &state);
        write_summary(&summary, self.summary.as_deref())?;
        Ok(0)
    }
}

/// What needs no other process.
fn one_process(workers: usize) -> Result<Topology, Failure> {
    Ok(Topology::from_flags(&Flags {
        workers,
        processes: 1,
        process: 0,
        hostfile: None,
        allow_remote: false,
    })?)
}

/// The device collection of the simulated ward; the same one every time, as the output is bound to it.
fn write_devices(plan: &Plan, output: &Path, devices: &Path) -> Result<(), Failure> {
    let write = || {
        fs::create_dir_all(output)?;
        let mut file = BufWriter::new(File::create(devices)?);
        plan.write_devices(&mut file)?;
        file.flush()
    };
    write().map_err(|e| {
        let shown = devices.display();
        Failure::new(format!(
            "{shown}: cannot be written ({e}); run the demo where you may write, or give -o"
        ))
    })
}

/// The ward, from now on.
fn publish_until(plan: Plan, broker: &Broker, stop: &Interrupted) {
    let plan = Plan {
        start: wall_clock(),
        ..plan
    };
    let published = Simulation::new(plan)
        .map_err(|e| e.to_string())
        .and_then(|ward| publish(ward, broker, || stop.is_set(), |_| ()).map_err(|e| e.to_string()));
    if let Err(why) = published
        && !stop.is_set()
    {
        crate::cluster::halt(why);
    }
}
