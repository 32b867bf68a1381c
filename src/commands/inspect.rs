//! `wardflow inspect`: what has been committed to an output, and what about it is odd. Only looks; a run may go on meanwhile.

mod findings;
mod survey;
mod text;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;

use super::dataflow_flags::state_beside;
use super::{Failure, print};
use findings::Findings;
use survey::Survey;

#[derive(Args)]
pub(super) struct Inspect {
    /// The output folder, as given to -o
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The folder of vault, keys and progress [default: <output>.state]
    #[arg(long, value_name = "DIR", env = "WARDFLOW_STATE")]
    state: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let named = name_of(&self.output);
        let state = self.state.unwrap_or_else(|| state_beside(&named));
        let survey = Survey::take(&self.output, &state)?;
        let findings = Findings::of(survey, SystemTime::now());
        print(&match self.json {
            true => format!("{}\n", serde_json::to_string_pretty(&findings)?),
            false => text::report(&findings),
        })?;
        Ok(0)
    }
}

/// A path whose last part is the folder's name, so that its state is found beside it: `.` has none.
fn name_of(output: &Path) -> PathBuf {
    match output.file_name() {
        Some(_) => output.to_owned(),
        None => output.canonicalize().unwrap_or_else(|_| output.to_owned()),
    }
}
