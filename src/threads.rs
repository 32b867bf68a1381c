//! Threads of this program. In: what is to be done, under a name. Out: a thread that does it, as `top -H` shows it.

use std::thread::{self, JoinHandle};

/// How much less the system cares for a background thread: about a tenth of a usual thread's share while both want to run.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

/// A thread by which records pass. The name has 15 bytes at most.
///
/// # Panics
/// When the system has no room for one more thread.
pub fn start<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.expect("a program that cannot start its few threads cannot do its work")
}

/// A thread for which no record waits: the others go before it.
///
/// # Panics
/// As [`start`].
pub fn start_behind<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    start(name, || {
        // Elsewhere this would be the whole process. A system that does not agree has lost nothing.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(BEHIND);
        work()
    })
}
