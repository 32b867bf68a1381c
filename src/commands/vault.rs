//! `wardflow vault`: look into the vault.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use crate::record::format_event_time;
use crate::settings::{KeySource, Settings};
use crate::vault::{KeyEncryptionKey, PatientRecord, VaultReader};

#[derive(Args)]
pub(super) struct VaultCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Decrypt one patient's name and date of birth; the look-up goes into the vault's audit
    Show(Show),
}

#[derive(Args)]
struct Show {
    /// The patient's id, as in the column patient_id
    patient: String,
    /// The output folder whose vault is meant
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// The state folder with the vault [default: <output>.state]
    #[arg(long, value_name = "DIR", env = "WARDFLOW_STATE")]
    state: Option<PathBuf>,
    /// The key-encryption key: file:PATH, env:NAME or command:LINE [default: the file kek in the state folder]
    #[arg(long, value_name = "SOURCE")]
    kek: Option<String>,
}

impl VaultCommand {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Show(show) => show.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<u8, Failure> {
        let state = self
            .state
            .unwrap_or_else(|| super::dataflow_flags::state_beside(&self.output));
        let path = state.join(super::replay::VAULT);
        if !path.exists() {
            return Err(Failure::new(format!(
                "{}: no vault there; name the output folder with -o, or its state folder with --state",
                path.display()
            )));
        }
        let loaded = KeyEncryptionKey::load(&key_source(self.kek)?, &state)?;
        let Some(record) = VaultReader::open(&path, &loaded.key)?.show(&self.patient)? else {
            return Err(Failure::new(format!(
                "the vault {} knows no patient of that id",
                path.display()
            )));
        };
        write(&record, &mut io::stdout().lock())
            .map_err(|e| Failure::new(format!("standard output cannot be written ({e})")))?;
        Ok(0)
    }
}

/// For a person to read.
fn write(record: &PatientRecord, out: &mut impl Write) -> io::Result<()> {
    let span = |first, last| format!("{} to {} UTC", format_event_time(first), format_event_time(last));
    writeln!(out, "patient     {}", record.patient)?;
    writeln!(out, "seen        {}", span(record.first_seen, record.last_seen))?;
    if record.versions.is_empty() {
        writeln!(
            out,
            "identity    none: the records of this patient carried no name and no date of birth"
        )?;
    }
    for version in &record.versions {
        let seen = span(version.first_seen, version.last_seen);
        writeln!(out, "version {}   {seen}", version.version)?;
        for (what, value) in [("name", &version.name), ("dob ", &version.dob)] {
            let text = match value {
                _ if !version.readable => "(no longer readable: its key is gone)",
                Some(text) => text,
                None => "(not given)",
            };
            writeln!(out, "  {what}      {text}")?;
        }
    }
    Ok(())
}

/// The flag goes through the settings, so that both are read and refused alike.
fn key_source(flag: Option<String>) -> Result<KeySource, Failure> {
    let value = toml::Value::String(flag.unwrap_or_default());
    let environment = std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    let own = environment.filter(|(name, _)| name == "WARDFLOW_KEYS_KEK");
    let overrides: Vec<String> = if value.as_str() == Some("") {
        Vec::new()
    } else {
        vec![format!("keys.kek={value}")]
    };
    Ok(Settings::load("sensor_collection", &overrides, own)?.keys.kek)
}
