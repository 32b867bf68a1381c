//! Pauses between tries to connect. In: how long the last connection stood. Out: a pause, longer each time and never the same for two clients.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A connection that has lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Begins with a short one.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(FIRST)
    }
}

impl Pause {
    /// The next pause, after a connection that has lasted so long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= GOOD {
            self.0 = FIRST;
        }
        let most = self.0;
        self.0 = (most * 2).min(LONGEST);
        // Half of it, and a random part of the other half.
        most / 2 + (most / 2).mul_f64(chance())
    }
}

/// 0 to 1; without a source of chance, always the same.
fn chance() -> f64 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_begin_anew_after_a_good_connection() {
        let mut pause = Pause::default();
        for most in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let most = Duration::from_millis(most);
            let found = pause.after(Duration::ZERO);
            assert!(found >= most / 2 && found <= most, "{found:?} of {most:?}");
        }
        assert!(pause.after(GOOD) <= FIRST);
    }
}
