//! The flags that say which historical records are read.

use std::path::PathBuf;

use clap::Args;

use super::durable::journal_at;
use super::{Failure, refuse_topics};
use crate::dataflows::parser;
use crate::settings::{FILE_STEM, Settings};
use crate::source::Inputs;

#[derive(Args)]
pub(super) struct InputFlags {
    /// Files, folders, quoted globs, or - for JSON lines on standard input. Read are JSON lines (.jsonl, .ndjson, .json) and
    /// CSV (.csv), also packed (.gz, .zst), and Parquet (.parquet); for replay also the journal of a live run (its state folder)
    #[arg(short, long, value_name = "PATH", required = true, num_args = 1..)]
    input: Vec<String>,
    /// Take the records of several files in the order of event time, not file after file; ties go by the order of the files
    #[arg(long)]
    merge: bool,
    /// Only records with this event time or a later one, as 2017-10-15 or 2017-10-15T03:55:51 (select.from)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only records with an earlier event time than this (select.to)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl InputFlags {
    /// The settings that these flags stand for.
    pub(super) fn select(&self) -> [(&str, Option<&str>); 2] {
        [("select.from", self.from.as_deref()), ("select.to", self.to.as_deref())]
    }

    /// The journal of a live run, where that is the input; `paced`: at a pace of the user's own.
    pub(super) fn journal(&self, paced: bool) -> Result<Option<PathBuf>, Failure> {
        let Some(journal) = self.input.iter().find_map(|path| journal_at(path)) else {
            return Ok(None);
        };
        if self.input.len() > 1 || self.merge || paced {
            return Err(Failure::new(format!(
                "{}: a journal is replayed by itself, in the order and at the epochs of its run: without other inputs, --merge and --speed",
                journal.display()
            )));
        }
        Ok(Some(journal))
    }

    /// The input, and what the user should know of it.
    pub(super) fn inputs(&self, settings: &Settings) -> Result<(Inputs, Vec<String>), Failure> {
        refuse_topics(&settings.record)?;
        let inputs = Inputs::find(&self.input)?;
        let mut warnings = Vec::from_iter(inputs.examine(parser(&settings.record))?);
        if let Some((one, other)) = inputs.namesakes().filter(|_| settings.record.device == FILE_STEM) {
            warnings.push(format!(
                "{} and {} count as one device, {}: with record.device = \"@file\" that is a file's name without its endings; rename one if they are two",
                one.shown(),
                other.shown(),
                one.stem
            ));
        }
        let inputs = match self.merge {
            true => inputs.merged(),
            false => inputs,
        };
        Ok((inputs, warnings))
    }
}
