//! How far a run has come, on standard error: a bar on a terminal, elsewhere a line now and then.
//!
//! In: the counts of the reader. Nothing is shown of a run of under a second. Whatever else is told on standard error has to
//! [`clear_progress`] first.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figures::grouped;

/// Runs shorter than this show nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at the counts.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// The rate is that of so many looks.
const WINDOW: usize = 25;

/// The bar on the terminal, if there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Counts of what has been read; they only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of the files as they lie there, packed or not.
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Progress {
    /// So many more bytes of the input's files have been read.
    pub fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many records have been read in all.
    pub fn come_to(&self, records: u64) {
        self.records.store(records, Ordering::Relaxed);
    }
}

/// Takes the bar off the terminal for good, before something else is told there.
pub fn clear_progress() {
    // Whoever draws holds the lock for a moment only; should that never end, telling comes first.
    for _ in 0..50 {
        match BAR.try_lock() {
            Ok(mut bar) => return drop(bar.take().inspect(ProgressBar::finish_and_clear)),
            Err(TryLockError::Poisoned(_)) => return,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Progress that is shown until this is dropped.
pub struct Shown {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Shows the progress through `total` bytes; `None`: nobody knows how many there are.
pub fn show_progress(progress: Arc<Progress>, total: Option<u64>) -> Shown {
    let (end, ended) = bounded(0);
    let mut meter = Meter::new(progress, total);
    let thread = thread::spawn(move || match io::stderr().is_terminal() {
        true => meter.draw(&ended),
        false => meter.tell(&ended),
    });
    Shown {
        end: Some(end),
        thread: Some(thread),
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there would be nothing left to show.
            let _ = thread.join();
        }
        clear_progress();
    }
}

/// The counts over time.
struct Meter {
    progress: Arc<Progress>,
    total: Option<u64>,
    started: Instant,
    /// (seconds since the start, bytes, records) of the last looks.
    looks: std::collections::VecDeque<(f64, u64, u64)>,
}

impl Meter {
    fn new(progress: Arc<Progress>, total: Option<u64>) -> Meter {
        Meter {
            progress,
            total,
            started: Instant::now(),
            looks: [(0.0, 0, 0)].into(),
        }
    }

    /// Looks at the counts after a while; false: it has ended.
    fn goes_on(&mut self, ended: &Receiver<()>) -> bool {
        if ended.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
        let at = self.started.elapsed().as_secs_f64();
        self.look(at);
        true
    }

    fn look(&mut self, at: f64) {
        if self.looks.len() == WINDOW {
            self.looks.pop_front();
        }
        let records = self.progress.records.load(Ordering::Relaxed);
        self.looks.push_back((at, self.progress.bytes_read(), records));
    }

    /// What there is to say: records, rate, and time left where it can be told.
    fn says(&self) -> String {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return String::new();
        };
        let seconds = (last.0 - first.0).max(1e-3);
        let rate = (last.2 - first.2) as f64 / seconds;
        let says = format!("{} records, {}/s", grouped(last.2), grouped(rate as u64));
        let speed = (last.1 - first.1) as f64 / seconds;
        match self.total.map(|total| total.saturating_sub(last.1)) {
            Some(0) => format!("{says}, finishing"),
            Some(rest) if speed > 0.0 => format!("{says}, about {} left", duration(rest as f64 / speed)),
            _ => says,
        }
    }

    fn draw(&mut self, ended: &Receiver<()>) {
        while self.started.elapsed() < QUIET {
            if !self.goes_on(ended) {
                return;
            }
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(self.total, target);
        let template = match self.total {
            Some(_) => "{bar:18} {percent:>3} %  {msg}",
            None => "{spinner} {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if let Ok(mut shown) = BAR.lock() {
            *shown = Some(bar);
        }
        loop {
            // Whoever has taken the bar away wants none any more.
            match BAR.lock().as_deref() {
                Ok(Some(bar)) => {
                    bar.set_message(self.says());
                    bar.set_position(self.looks.back().map_or(0, |look| look.1));
                }
                _ => return,
            }
            if !self.goes_on(ended) {
                return;
            }
        }
    }

    fn tell(&mut self, ended: &Receiver<()>) {
        let mut next = LINE;
        while self.goes_on(ended) {
            if self.started.elapsed() < next {
                continue;
            }
            next += LINE;
            let share = self.total.filter(|total| *total > 0).map_or(String::new(), |total| {
                let read = self.looks.back().map_or(0, |look| look.1);
                format!("{} %, ", u128::from(read.min(total)) * 100 / u128::from(total))
            });
            let line = format!("wardflow: {share}{}\n", self.says());
            // Nobody is left to tell when standard error is closed.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// `3 s`, `2 min`, `5 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_the_counts() {
        let progress = Arc::new(Progress::default());
        let mut meter = Meter::new(Arc::clone(&progress), Some(4000));
        progress.read(1000);
        progress.come_to(5000);
        meter.look(2.0);
        assert_eq!(meter.says(), "5,000 records, 2,500/s, about 6 s left");
        progress.read(3000);
        meter.look(3.0);
        assert_eq!(meter.says(), "5,000 records, 1,666/s, finishing");
        let stdin = Meter::new(progress, None);
        assert_eq!(stdin.says(), "0 records, 0/s");
    }

    #[test]
    fn the_rate_is_that_of_the_last_looks() {
        let progress = Arc::new(Progress::default());
        let mut meter = Meter::new(Arc::clone(&progress), None);
        for second in 1..=100 {
            progress.come_to(if second < 50 {
                10 * second
            } else {
                490 + 20 * (second - 49)
            });
            meter.look(second as f64);
        }
        assert_eq!(meter.says(), "1,510 records, 20/s");
    }

    #[test]
    fn durations_are_readable() {
        assert_eq!([3.2, 150.0, 7300.0].map(duration), ["3 s", "2 min", "2 h"]);
    }
}
