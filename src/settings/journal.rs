//! `[journal]`: how much of what a live run has received is kept.

use serde::Serialize;

use super::Micros;
use super::reader::Section;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journal {
    /// Bytes that it may take on disk before the broker is held back.
    pub budget: u64,
    /// Bytes of committed records that are kept at most.
    pub retain: u64,
    /// How long committed records are kept at most, more than zero.
    pub retain_for: Micros,
    /// Bytes after which a file of it is ended.
    pub segment_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            budget: 20_000_000_000,
            retain: 10_000_000_000,
            retain_for: Micros(30 * Micros::DAY.0),
            segment_bytes: 64_000_000,
        }
    }
}

impl Journal {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Journal {
        let default = Journal::default();
        let most = i64::MAX as u64;
        Journal {
            budget: section.size("budget", 1_000_000..=most, default.budget),
            retain: section.size("retain", 0..=most, default.retain),
            retain_for: section.duration("retain_for", Micros(1), default.retain_for),
            segment_bytes: section.size("segment_bytes", 1_000..=1_000_000_000, default.segment_bytes),
        }
    }
}
