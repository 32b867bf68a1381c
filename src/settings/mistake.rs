//! What is wrong with the settings: where it stands, which key, why, and what to do.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Where a setting comes from; a later variant, line or position wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The program itself.
    Default,
    /// A line of the dataflow file, counted from 1; 0 is the file as a whole.
    File { file: Arc<str>, line: usize },
    /// A variable of the environment, by name.
    Environment { variable: String },
    /// The `--set` at this place on the command line, counted from 0, and its key.
    Set { position: usize, key: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File { file, line: 0 } => write!(f, "{file}"),
            Origin::File { file, line } => write!(f, "{file}:{line}"),
            Origin::Environment { variable } => write!(f, "{variable}"),
            Origin::Set { key, .. } => write!(f, "--set {key}"),
        }
    }
}

/// One mistake. Its Display is one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub origin: Origin,
    /// The dotted key (`forest.trees`), a section, or empty when the mistake is no single key's.
    pub key: String,
    /// Why it is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{}: ", self.origin);
        // The other origins name the key themselves.
        if matches!(self.origin, Origin::File { .. } | Origin::Default) {
            match self.key.split_once('.') {
                Some((section, key)) => line += &format!("[{section}] {key}: "),
                None if self.key.is_empty() => {}
                None => line += &format!("{}: ", self.key),
            }
        }
        line += &self.reason;
        // Keys are the user's text: a line break or an escape code in one must not reach a screen.
        line.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// Every mistake of one reading of the settings, in the order file, environment, `--set`. Never empty. Its Display has one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The mistakes, at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Mistakes while they are being found.
#[derive(Default)]
pub(super) struct MistakeList(BTreeSet<Mistake>);

impl MistakeList {
    pub(super) fn add(&mut self, origin: Origin, key: impl Into<String>, reason: impl Into<String>) {
        self.0.insert(Mistake {
            origin,
            key: key.into(),
            reason: reason.into(),
        });
    }

    /// The dotted keys that something is wrong with.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        self.0.iter().map(|m| m.key.clone()).collect()
    }

    /// `value` if nothing is wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Mistakes> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Mistakes(self.0.into_iter().collect()))
        }
    }

    /// As the failure of a reading that cannot go on; `self` is not empty.
    pub(super) fn fail<T>(self) -> Result<T, Mistakes> {
        Err(Mistakes(self.0.into_iter().collect()))
    }
}

/// The candidate nearest to `word`, case ignored; none when all are further than a third of their length.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.chars().count();
            let furthest = other.max(3) / 3;
            // The distance is at least the difference in length; this spares its cost for words of any length.
            (other.abs_diff(length) <= furthest)
                .then(|| strsim::damerau_levenshtein(&word, &candidate.to_lowercase()))
                .filter(|distance| *distance <= furthest)
                .map(|distance| (distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
