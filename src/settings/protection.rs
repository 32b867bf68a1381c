//! `[deidentify]` and `[keys]`: what leaves the records, and what the vault is locked with.

use std::path::PathBuf;

use serde::Serialize;

use super::reader::{Checked, Section, fault};
use super::tree::{Node, Value};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Deidentify {
    pub profile: Profile,
}

/// What is removed from the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Name and date of birth go to the vault, patient, device and exact times stay (pseudonymised: still PHI).
    #[default]
    Whitepaper,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Keys {
    pub kek: KeySource,
}

/// Where the key-encryption key comes from: `""`, `file:PATH`, `env:NAME` or `command:LINE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// A file in the state folder, created on first use.
    #[default]
    StateFolder,
    /// A file that holds the key.
    File(PathBuf),
    /// A variable of the environment that holds the key.
    Environment(String),
    /// A command that prints the key.
    Command(String),
}

impl Deidentify {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Deidentify {
        let profiles = [("whitepaper", Profile::Whitepaper)];
        Deidentify {
            profile: section.choice("profile", &profiles, Profile::default()),
        }
    }
}

impl Keys {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Keys {
        Keys {
            kek: section.read("kek", KeySource::default(), key_source),
        }
    }
}

/// Its errors never show the value: someone may have put the key itself there.
fn key_source(node: &Node) -> Checked<KeySource> {
    let wanted = "wants \"\", \"file:PATH\", \"env:NAME\" or \"command:LINE\"; a key itself does not belong here (what was found is not shown)";
    let Value::Text(text) = &node.value else {
        return fault(node, wanted);
    };
    match text.split_once(':') {
        None if text.is_empty() => Ok(KeySource::StateFolder),
        Some((_, "")) => fault(node, format!("nothing follows the colon; {wanted}")),
        Some(("file", path)) => Ok(KeySource::File(path.into())),
        Some(("env", name)) => Ok(KeySource::Environment(name.into())),
        Some(("command", line)) => Ok(KeySource::Command(line.into())),
        _ => fault(node, wanted),
    }
}
