//! Foresees the ends of commits. In: a source's epochs, and how long its commits last at most. Out: the same epochs, and word of
//! whether the commit at hand ends soon, for whoever can do some of its work ahead.
//!
//! It is a guess by the clock of this process: a commit that is full ends without it. Nothing but time depends on it.

use std::time::{Duration, Instant};

use super::feed::{Epochs, SourceError};
use super::files::Epoch;
use super::{Time, commit_of};

/// How long before its end a commit is said to end soon: a second hands over what ten thousand devices of a worker have changed, a
/// little with each epoch. In much more time most of it would change again and go twice.
fn ahead_of(interval: Duration) -> Duration {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(10));
    (interval / 20).clamp(least, most).min(interval / 4)
}

/// Epochs whose commits' ends are foreseen.
pub struct EndsSoon<E, T> {
    epochs: E,
    interval: Duration,
    tell: T,
    /// The commit at hand, and when the first of its epochs came.
    commit: Option<(u32, Instant)>,
}

impl<E, T: FnMut(bool)> EndsSoon<E, T> {
    /// `interval` is what a commit lasts; `tell` hears with each epoch whether its commit ends soon.
    pub fn new(epochs: E, interval: Duration, tell: T) -> EndsSoon<E, T> {
        EndsSoon {
            epochs,
            interval,
            tell,
            commit: None,
        }
    }

    fn meet(&mut self, time: Time, now: Instant) {
        let began = match self.commit {
            Some((commit, began)) if commit == commit_of(time) => began,
            _ => now,
        };
        self.commit = Some((commit_of(time), began));
        (self.tell)(now - began >= self.interval - ahead_of(self.interval));
    }
}

impl<E: Epochs, T: FnMut(bool) + Send + 'static> Epochs for EndsSoon<E, T> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        let epoch = self.epochs.next_epoch()?;
        if let Some(epoch) = &epoch {
            self.meet(epoch.time, Instant::now());
        }
        Ok(epoch)
    }

    fn records(&self) -> u64 {
        self.epochs.records()
    }
}

#[cfg(test)]
mod tests {
    use super::super::time_of;
    use super::*;

    #[test]
    fn the_last_part_of_each_commit_is_foreseen() {
        let begin = Instant::now();
        for (interval, ahead) in [
            (300_000, 10_000),
            (60_000, 3_000),
            (20_000, 1_000),
            (10_000, 1_000),
            (1_000, 250),
            (0, 0),
        ] {
            let mut told = Vec::new();
            let mut epochs = EndsSoon::new((), Duration::from_millis(interval), |soon| told.push(soon));
            for commit in 0..3 {
                let start = u64::from(commit) * interval;
                for (epoch, at) in [0, interval - ahead, interval].into_iter().enumerate() {
                    let now = begin + Duration::from_millis(start + at);
                    epochs.meet(time_of(commit, epoch as u32), now);
                }
            }
            assert_eq!(told, [interval == 0, true, true].repeat(3));
        }
    }
}
