//! The command line: one file per command.
//!
//! In: arguments and environment. Out: an exit status: 0 done, 1 failed with one line of why and what to do, 2 usage,
//! 130 an interrupted replay.

mod backtest;
mod bench;
mod check;
mod cluster_flags;
mod dataflow_flags;
#[cfg(feature = "broker")]
mod demo;
mod devices;
mod durable;
mod grid;
mod input_flags;
mod inspect;
mod live;
mod preparation;
mod receiving;
mod replay;
mod run;
mod simulate;
mod tools;
mod vault;
mod workers;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::{fmt, fs};

use clap::{Parser, Subcommand};

use crate::cluster::{ClusterError, before_telling, told_by_supervisor};
use crate::observe::{Screen, Summary, clear_progress};
use crate::settings::{self, Mistakes, Settings};

const TOOLS: &str = "\
Tools:
  completions SHELL  Print a completion script for bash, zsh, fish, elvish or powershell
  man [DIR]          Print the manual page, or write one for each command to a folder";

/// Streaming engine for medical-device telemetry: readings in, patients' identities into an encrypted vault,
/// anomaly scores and windows out, as Parquet. The same input gives the same output, to the last bit.
///
/// Without a command it shows itself: a simulated ward publishes to an embedded broker, the real-time analytics runs live on
/// it, tables appear in ./wardflow-demo. Ctrl-C ends it.
#[derive(Parser)]
#[command(name = "wardflow", version, args_conflicts_with_subcommands = true, after_help = TOOLS)]
#[cfg_attr(not(feature = "broker"), command(arg_required_else_help = true))]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[cfg(feature = "broker")]
    #[command(flatten)]
    demo: demo::Demo,
}

#[derive(Subcommand)]
enum Command {
    /// Run live records from an MQTT broker through a dataflow
    ///
    /// Runs until Ctrl-C or SIGTERM, then commits what has come and ends. Started again, it goes on.
    ///
    /// A record is acknowledged to the broker once it is on disk, in the journal of the state folder: a crash or a power cut loses
    /// nothing and doubles nothing. Windows that are open at the end of a run are written when it goes on.
    Run(run::Run),
    /// Run historical data through a dataflow, as fast as it goes
    Replay(replay::Replay),
    /// Replay labelled data, then judge the scores: areas under the curves, thresholds, false alarms, detection delay
    ///
    /// The tables go to a temporary folder and are removed, unless -o names one to keep them in. Readings without a score are counted and
    /// left out of the judgement, unless --unscored says otherwise.
    Backtest(Box<backtest::Backtest>),
    /// Simulate devices: records to a file or an MQTT broker, seeded, with labelled anomalies
    Simulate(simulate::Simulate),
    /// Measure the paper's scenarios on this machine: rates, latencies, CPU, memory
    ///
    /// For each a fresh engine, as a process of its own, gets records from a simulated ward by an MQTT broker. Latencies count from the
    /// moment at which a record was due. Beside the CPU time stands what the paper pays for the same load.
    Bench(bench::Bench),
    /// Tell what a dataflow file would do, every mistake in it, and how well it fits a sample of records
    Check(check::Check),
    /// Show what has been committed to an output, and what about it is odd
    Inspect(inspect::Inspect),
    /// Look into the vault: who a patient is
    Vault(vault::VaultCommand),
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions(tools::Completions),
    /// Print the manual page, or write one for each command
    #[command(hide = true)]
    Man(tools::Manual),
}

/// A failed command: one line of why and what to do.
#[derive(Debug)]
pub struct Failure {
    message: String,
    status: i32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            status: 1,
        }
    }
}

/// Files have no topic: what the settings take from one would be missing in every record.
fn refuse_topics(record: &settings::Record) -> Result<(), Failure> {
    match record.of_topic().next() {
        None => Ok(()),
        Some((field, name, _)) => Err(Failure::new(format!(
            "record.{field} = {name:?} is a level of an MQTT topic, and files have none; name a field of the records with --set record.{field}=FIELD"
        ))),
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let cluster = (&error as &dyn std::error::Error).downcast_ref::<ClusterError>();
        Failure {
            message: error.to_string(),
            status: cluster.map_or(1, ClusterError::status),
        }
    }
}

/// Takes what is drawn there off the terminal, before something is told.
fn clear_terminal() {
    clear_progress();
    Screen::give_back();
}

/// Says something to the user on standard error. Nobody is left to tell when that is closed.
fn tell(message: impl fmt::Display) {
    clear_progress();
    let _ = writeln!(io::stderr(), "{message}");
}

/// The settings of a dataflow, with what flags and environment say.
fn load_settings(
    dataflow: &str,
    mut overrides: Vec<String>,
    output: Option<&Path>,
    devices: Option<&Path>,
) -> Result<Settings, Mistakes> {
    let path = |key: &str, path: &Path| format!("{key}={}", toml::Value::String(path.display().to_string()));
    overrides.extend(output.map(|dir| path("output.path", dir)));
    overrides.extend(devices.map(|file| path("devices.path", file)));
    let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    Settings::load(dataflow, &overrides, environment)
}

/// Writes a summary as JSON to a file, or to standard output (`-`); nowhere without a path.
fn write_summary(summary: &Summary, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let mut json = serde_json::to_string_pretty(summary)?;
    json.push('\n');
    if path == Path::new("-") {
        return print(&json);
    }
    fs::write(path, json).map_err(|e| {
        let shown = path.display();
        Failure::new(format!(
            "{shown}: the summary cannot be written ({e}); the output is complete"
        ))
    })
}

/// Writes what was asked for to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(format!("standard output cannot be written ({e})")))
}

impl CommandLine {
    /// Runs the command; tells a failure on standard error.
    pub fn run(self) -> ExitCode {
        before_telling(clear_terminal);
        let done = match self.command {
            Some(Command::Run(run)) => run.run(),
            Some(Command::Replay(replay)) => replay.run(),
            Some(Command::Backtest(backtest)) => backtest.run(),
            Some(Command::Simulate(simulate)) => simulate.run(),
            Some(Command::Bench(bench)) => bench.run(),
            Some(Command::Check(check)) => check.run(),
            Some(Command::Inspect(inspect)) => inspect.run(),
            Some(Command::Vault(vault)) => vault.run(),
            Some(Command::Completions(completions)) => completions.run(),
            Some(Command::Man(manual)) => manual.run(),
            #[cfg(feature = "broker")]
            None => self.demo.run(),
            #[cfg(not(feature = "broker"))]
            None => Err(Failure::new("no command was given: see wardflow --help")),
        };
        match done {
            Ok(status) => ExitCode::from(status),
            Err(failure) => {
                if !told_by_supervisor(failure.status) {
                    tell(format_args!("wardflow: {failure}"));
                }
                ExitCode::from(u8::try_from(failure.status).unwrap_or(1))
            }
        }
    }
}
