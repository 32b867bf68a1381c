//! Latencies. In: how long each took. Out: their percentiles.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) count: usize,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latency {
    /// Of times in microseconds, from all of which `offset` is taken away; `None` of none.
    pub(super) fn of(mut times: Vec<i64>, offset: i64) -> Option<Latency> {
        times.sort_unstable();
        let seconds = |time: &i64| (time - offset) as f64 / 1e6;
        let at = |share: f64| {
            let rank = (times.len() as f64 * share).ceil() as usize; // nearest rank
            times.get(rank.clamp(1, times.len().max(1)) - 1).map(seconds)
        };
        Some(Latency {
            count: times.len(),
            p50: at(0.50)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            max: at(1.0)?,
        })
    }
}

/// Writes of 20 KB, each made durable: what the disk of a folder takes for what a journal does.
pub(super) fn fsync_of(folder: &Path) -> io::Result<Latency> {
    const WRITES: usize = 300;
    let path = folder.join("fsync");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let start = Instant::now();
        file.write_all(&[b'x'; 20_000])?;
        file.sync_data()?;
        times.push(i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    std::fs::remove_file(path)?;
    Latency::of(times, 0).ok_or_else(|| io::Error::other("no write was timed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latency = Latency::of((1..=200).rev().map(|n| n * 1000 + 7).collect(), 7).expect("some");
        assert_eq!(
            (latency.count, latency.p50, latency.p95, latency.p99, latency.max),
            (200, 0.1, 0.19, 0.198, 0.2)
        );
        assert_eq!(Latency::of(vec![5], 5).map(|one| (one.p50, one.max)), Some((0.0, 0.0)));
        assert_eq!(Latency::of(Vec::new(), 0), None);
    }
}
