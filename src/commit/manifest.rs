//! The manifest: how far an output has come, and what it belongs to.
//!
//! One small JSON file in the state folder, replaced atomically. A commit is made by the rename that puts its manifest
//! in place; until then nothing of it is visible.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Tally;
use crate::sink::{SinkError, StagedFile, sync_folder};

const NAME: &str = "manifest.json";
/// Of the manifest's form; another one is refused, never guessed at.
const VERSION: u32 = 1;

/// What an output belongs to: it takes no rows of anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongings {
    /// The program that wrote it, since the bytes may differ between versions.
    pub program: String,
    pub dataflow: String,
    /// All settings that decide rows, as canonical JSON.
    pub settings: String,
    /// The input's fingerprint; `None` for standard input.
    pub input: Option<String>,
    /// The device collection's fingerprint; `None` without one.
    pub devices: Option<String>,
}

/// The state of an output after a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    pub belongs_to: Belongings,
    /// Commits made so far.
    pub commits: u32,
    /// Files of the last commit: a crash may have come before all of them were published.
    pub last: Vec<StagedFile>,
    /// Over all commits.
    pub tally: Tally,
    /// Whether the input has been taken to its end.
    pub complete: bool,
}

impl Manifest {
    pub fn new(belongs_to: Belongings) -> Manifest {
        Manifest {
            version: VERSION,
            belongs_to,
            commits: 0,
            last: Vec::new(),
            tally: Tally::default(),
            complete: false,
        }
    }

    /// The manifest of a state folder, `None` where there is none yet.
    ///
    /// # Errors
    /// One that cannot be read, or of another form.
    pub fn read(state: &Path) -> io::Result<Option<Manifest>> {
        let bytes = match fs::read(state.join(NAME)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        if manifest.version != VERSION {
            let what = format!("it has form {}, this program reads {VERSION}", manifest.version);
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Ok(Some(manifest))
    }

    /// Puts it in place, durably.
    ///
    /// # Errors
    /// A state folder that cannot be written.
    pub fn write(&self, state: &Path) -> Result<(), SinkError> {
        let (path, fresh) = (state.join(NAME), state.join("manifest.new"));
        let json = serde_json::to_vec_pretty(self).expect("a manifest has only text keys and numbers");
        let mut file = File::create(&fresh).map_err(SinkError::io(&fresh))?;
        file.write_all(&json)
            .and_then(|()| file.sync_all())
            .map_err(SinkError::io(&fresh))?;
        fs::rename(&fresh, &path).map_err(SinkError::io(&path))?;
        sync_folder(state)
    }
}
