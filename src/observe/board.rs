//! The board of a live run: what has passed, told by the workers, shown to the user.
//!
//! In: readings as they are scored, the commits' counts, the state of the connection. Out: a [`View`] of this moment. It
//! holds no patient. Nothing reads it but the display.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use compact_str::CompactString;

use super::clock::wall_clock;
use crate::commit::Tally;
use crate::record::{EventTime, Scored};

/// Rates are of so long a time.
const RATE_OVER: Duration = Duration::from_secs(3);
/// Anomalies that are remembered to be shown.
const REMEMBERED: usize = 64;
/// Seconds of the course of scores that is shown.
pub const COURSE: usize = 40;

/// How long a notice is shown.
const NOTICED: Duration = Duration::from_secs(60);

/// What all workers write to, and the display reads.
#[derive(Debug)]
pub struct Board {
    measures: Vec<String>,
    out_of_orderness: i64,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: u64,
    recent: VecDeque<(Instant, u64)>,
    readings: u64,
    anomalies: u64,
    newest: Option<EventTime>,
    groups: BTreeMap<CompactString, Group>,
    latest: VecDeque<Sight>,
    commits: u32,
    tally: Tally,
    /// Why there is no connection.
    lost: Option<String>,
    /// What the user should know, and since when.
    notice: Option<(Instant, String)>,
}

/// The readings of one manufacturer.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub readings: u64,
    pub anomalies: u64,
    /// The mean of its scores, the latest counting most; `None` while its forest learns.
    pub score: Option<f64>,
    /// The highest score of each of the last seconds, the newest last.
    pub course: VecDeque<f64>,
    second: u64,
}

/// An anomaly as it is shown.
#[derive(Clone, Debug)]
pub struct Sight {
    pub timestamp: EventTime,
    pub manufacturer: CompactString,
    pub device: CompactString,
    pub score: f64,
    /// What makes it strange, the most first: measure, its value, its share of the score (0 to 1).
    pub parts: Vec<(String, f64, f64)>,
}

/// How things stand.
#[derive(Clone, Debug)]
pub struct View {
    pub uptime: Duration,
    pub records: u64,
    pub records_per_second: f64,
    pub readings: u64,
    pub anomalies: u64,
    /// Windows before this are being written.
    pub watermark: Option<EventTime>,
    /// How far the watermark is behind the clock.
    pub lag: Option<Duration>,
    pub groups: BTreeMap<CompactString, Group>,
    /// The newest first.
    pub latest: Vec<Sight>,
    pub commits: u32,
    /// Of what is committed.
    pub tally: Tally,
    pub lost: Option<String>,
    /// What the user should know, for a while.
    pub notice: Option<String>,
}

impl Board {
    /// `measures` are their names in order, `out_of_orderness` what the watermark stays behind, in microseconds.
    pub fn new(measures: Vec<String>, out_of_orderness: i64) -> Board {
        Board {
            measures,
            out_of_orderness,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// A worker that panics ends the process: what it left is whole enough to be shown until then.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes readings as they pass.
    pub fn readings(&self, batch: &[Scored]) {
        let second = self.started.elapsed().as_secs();
        let mut state = self.state();
        for scored in batch {
            let reading = &scored.reading;
            let manufacturer = reading.facts.as_ref().and_then(|facts| facts.manufacturer.clone());
            let manufacturer = manufacturer.unwrap_or_else(|| "unknown".into());
            state.readings += 1;
            state.newest = state.newest.max(Some(reading.timestamp.min(reading.received)));
            let group = state.groups.entry(manufacturer.clone()).or_default();
            group.take(scored, second);
            if scored.attribution.is_some() {
                state.anomalies += 1;
                if state.latest.len() == REMEMBERED {
                    state.latest.pop_back();
                }
                let sight = self.sight(scored, manufacturer);
                state.latest.push_front(sight);
            }
        }
    }

    fn sight(&self, scored: &Scored, manufacturer: CompactString) -> Sight {
        let score = scored.score.unwrap_or_default();
        let parts = scored.attribution.iter().flatten().zip(&self.measures);
        let mut parts: Vec<_> = parts
            .zip(&scored.reading.measures)
            .map(|(((high, low), measure), value)| (measure.clone(), *value, (high + low) / score))
            .collect();
        parts.sort_by(|a, b| b.2.total_cmp(&a.2));
        parts.truncate(2);
        Sight {
            timestamp: scored.reading.timestamp,
            manufacturer,
            device: scored.reading.device.text().clone(),
            score,
            parts,
        }
    }

    /// Takes how far the source and the commits have come.
    pub fn progress(&self, records: u64, commits: u32, tally: &Tally) {
        let mut state = self.state();
        state.records = records;
        if state.commits != commits {
            state.commits = commits;
            state.tally = tally.clone();
        }
    }

    /// Takes the state of the connection: `None` while it stands.
    pub fn connection(&self, lost: Option<String>) {
        self.state().lost = lost;
    }

    /// Takes what the user should know.
    pub fn notice(&self, notice: &str) {
        self.state().notice = Some((Instant::now(), notice.to_owned()));
    }

    /// How things stand now.
    pub fn view(&self) -> View {
        let mut state = self.state();
        let (now, records) = (Instant::now(), state.records);
        state.recent.push_back((now, records));
        while state.recent.len() > 2 && now - state.recent[1].0 >= RATE_OVER {
            state.recent.pop_front();
        }
        let (since, before) = state.recent[0];
        let seconds = (now - since).as_secs_f64();
        let watermark = state.newest.map(|newest| newest - self.out_of_orderness);
        View {
            uptime: self.started.elapsed(),
            records,
            records_per_second: if seconds > 0.0 {
                (records - before) as f64 / seconds
            } else {
                0.0
            },
            readings: state.readings,
            anomalies: state.anomalies,
            watermark,
            lag: watermark.map(|watermark| Duration::from_micros(wall_clock().saturating_sub(watermark).max(0) as u64)),
            groups: state.groups.clone(),
            latest: state.latest.iter().cloned().collect(),
            commits: state.commits,
            tally: state.tally.clone(),
            lost: state.lost.clone(),
            notice: match &state.notice {
                Some((since, notice)) if since.elapsed() < NOTICED => Some(notice.clone()),
                _ => None,
            },
        }
    }
}

impl Group {
    fn take(&mut self, scored: &Scored, second: u64) {
        self.readings += 1;
        self.anomalies += u64::from(scored.attribution.is_some());
        if self.course.is_empty() {
            self.second = second;
            self.course.push_back(0.0);
        }
        while self.second < second {
            self.second += 1;
            self.course.push_back(0.0);
            if self.course.len() > COURSE {
                self.course.pop_front();
            }
        }
        if let Some(score) = scored.score {
            self.score = Some(self.score.map_or(score, |mean| mean + (score - mean) / 128.0));
            if let Some(highest) = self.course.back_mut() {
                *highest = highest.max(score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DeviceId, Reading};

    fn scored(timestamp: i64, score: Option<f64>, attribution: Option<Box<[(f64, f64)]>>) -> Scored {
        let reading = Reading {
            position: 0,
            timestamp,
            received: 50,
            device: DeviceId::new("monitor"),
            patient: Some("someone".into()),
            measures: [98.6, 180.0].as_slice().into(),
            fingerprint: 0,
            facts: None,
            late: false,
        };
        Scored {
            reading,
            score,
            attribution,
            threshold: None,
        }
    }

    #[test]
    fn the_board_counts_and_explains_what_has_passed_and_names_no_patient() {
        let board = Board::new(vec!["temperature".into(), "pulse".into()], 10);
        let strange = Some(Box::from([(0.1, 0.2), (2.0, 0.1)]));
        board.readings(&[scored(40, None, None), scored(90, Some(2.4), strange)]);
        board.progress(7, 0, &Tally::default());
        let view = board.view();
        assert_eq!((view.records, view.readings, view.anomalies), (7, 2, 1));
        assert_eq!(
            view.watermark,
            Some(40),
            "a time of the future counts as the time it was received"
        );
        let (measure, value, _) = &view.latest[0].parts[0];
        assert_eq!((measure.as_str(), *value), ("pulse", 180.0));
        assert_eq!(view.groups["unknown"].score, Some(2.4));
        assert!(!format!("{view:?}").contains("someone"));
    }
}
