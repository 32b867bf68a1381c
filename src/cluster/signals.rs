//! Ctrl-C and SIGTERM as a flag that workers look at between steps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::ClusterError;

/// Exit status of a program that was interrupted.
pub(super) const INTERRUPTED_STATUS: i32 = 130;

/// Whether the user asked this process to end. Clones share the flag; the default one is never set by a signal.
#[derive(Clone, Debug, Default)]
pub struct Interrupted {
    pub(super) flag: Arc<AtomicBool>,
}

impl Interrupted {
    /// From now on the first SIGINT or SIGTERM sets the flag instead of ending the process; a second SIGINT ends
    /// it at once with status 130, for the user whose orderly end takes too long. Call once.
    pub fn install() -> Result<Self, ClusterError> {
        let interrupted = Self::default();
        interrupted.register().map_err(|source| ClusterError::System {
            what: "watch for SIGINT and SIGTERM",
            source,
        })?;
        Ok(interrupted)
    }

    fn register(&self) -> io::Result<()> {
        // The order matters: the first SIGINT must find `armed` unset. SIGTERM does not arm, so that the SIGTERM
        // a supervisor passes on and the SIGINT a terminal sends to everybody together count as one.
        let armed = Arc::new(AtomicBool::new(false));
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED_STATUS, Arc::clone(&armed))?;
        flag::register(SIGINT, armed)?;
        flag::register(SIGINT, Arc::clone(&self.flag))?;
        flag::register(SIGTERM, Arc::clone(&self.flag))?;
        Ok(())
    }

    /// Asks this process to end as a signal would.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether a signal came. Cheap enough for every step of a worker.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}
