//! Places where a test makes the process die, as a power cut would, and a disk that is slow: in debug builds only.
//!
//! `WARDFLOW_CRASH=journal.synced:3` aborts the process when it comes by that place for the third time; `WARDFLOW_SLOW_DISK=20` makes
//! every sync take 20 ms longer. The recovery tests run through all of these places.

#[cfg(debug_assertions)]
mod told {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use std::{env, process, thread};

    static WHERE: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static DELAY: OnceLock<Option<Duration>> = OnceLock::new();

    pub fn crash_point(place: &str) {
        let told = WHERE.get_or_init(|| {
            let told = env::var("WARDFLOW_CRASH").ok()?;
            let (place, times) = told.split_once(':').unwrap_or((&told, "1"));
            Some((place.to_owned(), times.parse().unwrap_or(1)))
        });
        if let Some((at, times)) = told
            && at == place
            && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times
        {
            process::abort();
        }
    }

    pub fn slow_disk() {
        let delay = DELAY.get_or_init(|| {
            let told = env::var("WARDFLOW_SLOW_DISK").ok()?;
            Some(Duration::from_millis(told.parse().ok()?))
        });
        if let Some(delay) = delay {
            thread::sleep(*delay);
        }
    }
}

#[cfg(not(debug_assertions))]
mod told {
    #[inline(always)]
    pub fn crash_point(_place: &str) {}
    #[inline(always)]
    pub fn slow_disk() {}
}

pub use told::crash_point;
pub(super) use told::slow_disk;
