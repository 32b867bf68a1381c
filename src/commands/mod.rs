//! The command line: one file per command.
//!
//! In: arguments and environment. Out: an exit status: 0 done, 1 failed with one line of why and what to do, 2 usage,
//! 130 an interrupted replay.

mod check;
mod cluster_flags;
mod grid;
mod inspect;
mod preparation;
mod replay;
mod tools;
mod vault;
mod workers;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster::{ClusterError, told_by_supervisor};

const TOOLS: &str = "\
Tools:
  completions SHELL  Print a completion script for bash, zsh, fish, elvish or powershell
  man [DIR]          Print the manual page, or write one for each command to a folder";

/// Streaming engine for medical-device telemetry: readings in, patients' identities into an encrypted vault,
/// anomaly scores and windows out, as Parquet. The same input gives the same output, to the last bit.
#[derive(Parser)]
#[command(name = "wardflow", version, arg_required_else_help = true, after_help = TOOLS)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run historical data through a dataflow, as fast as it goes
    Replay(replay::Replay),
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

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let cluster = (&error as &dyn std::error::Error).downcast_ref::<ClusterError>();
        Failure {
            message: error.to_string(),
            status: cluster.map_or(1, ClusterError::status),
        }
    }
}

/// Says something to the user on standard error. Nobody is left to tell when that is closed.
fn tell(message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
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
        let done = match self.command {
            Command::Replay(replay) => replay.run(),
            Command::Check(check) => check.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Vault(vault) => vault.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(manual) => manual.run(),
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
