//! Watches over the processes of `--spawn`: when one fails, tells which and how, and ends the others; a live run's are started again.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::ClusterError;
use super::halt::{PEER_LOST_STATUS, say};
use super::signals::{INTERRUPTED_STATUS, Interrupted};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(20);
/// After the first failure: time for the one that caused it to be seen, if it was another.
const SETTLE: Duration = Duration::from_millis(250);
/// Time for a process to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Before a set is started again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A set that has run for so long was able to.
const RAN: Duration = Duration::from_secs(10);
/// Behind a set that has run for so long, pauses begin anew.
const STEADY: Duration = Duration::from_secs(60);

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const INTERRUPTED: u8 = 130;

/// The processes of one cluster. Those that still run are killed when this is dropped.
pub(super) struct Members(Vec<Member>);

struct Member {
    process: usize,
    child: Child,
    end: Option<ExitStatus>,
}

/// How a process ended, as far as the cluster is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Killed(i32),
    Failed(i32),
    LostPeer,
    Interrupted,
    Well,
}

/// How a set of processes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Well,
    Interrupted,
    Failed(Cause),
}

/// Why a set failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A process was killed, or lost.
    Outside,
    /// A process ended of its own accord, and told why.
    Itself,
}

/// Keeps a set of processes running: starts all anew when one has failed, after pauses that grow. A set that fails by itself before any has
/// run for some time is not started again: what stands in its way stays. Gives the exit status for the supervisor.
pub(super) fn keep_up(
    interrupted: &Interrupted,
    mut start: impl FnMut() -> Result<Members, ClusterError>,
) -> Result<u8, ClusterError> {
    let mut pauses = Pauses::default();
    loop {
        let began = Instant::now();
        let (pause, has_run) = (pauses.0, pauses.1);
        let comes_again = |cause, lasted: Duration| cause == Cause::Outside || has_run || lasted >= RAN;
        let then = |cause| {
            let again = comes_again(cause, began.elapsed()) && !interrupted.is_set();
            again.then(|| {
                format!(
                    "all processes are started again from the last commit in {:.1} s",
                    pause.as_secs_f64()
                )
            })
        };
        match start()?.watch(interrupted, then)? {
            Outcome::Well => return Ok(SUCCESS),
            Outcome::Interrupted => return Ok(tell_interruption()),
            Outcome::Failed(_) if interrupted.is_set() => return Ok(FAILURE),
            Outcome::Failed(cause) if !comes_again(cause, began.elapsed()) => return Ok(FAILURE),
            Outcome::Failed(_) => {}
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if interrupted.is_set() {
                say(
                    "interrupted while no process was running; what they had received is kept, the next start commits it",
                );
                return Ok(FAILURE);
            }
            thread::sleep(LOOK);
        }
        pauses.after(began.elapsed());
    }
}

/// The next pause, and whether a set has run for some time.
struct Pauses(Duration, bool);

impl Default for Pauses {
    fn default() -> Self {
        Pauses(FIRST_PAUSE, false)
    }
}

impl Pauses {
    /// A set has lasted so long.
    fn after(&mut self, lasted: Duration) {
        self.1 |= lasted >= RAN;
        self.0 = match lasted >= STEADY {
            true => FIRST_PAUSE,
            false => (self.0 * 2).min(LONGEST_PAUSE),
        };
    }
}

impl Members {
    /// Starts the processes `0..processes`. If one cannot be started, none stays.
    pub fn start(processes: usize, mut command: impl FnMut(usize) -> Command) -> Result<Self, ClusterError> {
        let mut members = Self(Vec::with_capacity(processes));
        for process in 0..processes {
            let child = command(process)
                .spawn()
                .map_err(|source| ClusterError::Spawn { process, source })?;
            members.0.push(Member {
                process,
                child,
                end: None,
            });
        }
        Ok(members)
    }

    /// Waits for all; gives the exit status for the supervisor.
    pub fn supervise(self, interrupted: &Interrupted) -> Result<u8, ClusterError> {
        Ok(match self.watch(interrupted, |_| None)? {
            Outcome::Well => SUCCESS,
            Outcome::Interrupted => tell_interruption(),
            Outcome::Failed(_) => FAILURE,
        })
    }

    /// Waits for all, and ends all when one fails. The user is told who failed, and what comes `then` if that is not the end.
    fn watch(
        mut self,
        interrupted: &Interrupted,
        then: impl Fn(Cause) -> Option<String>,
    ) -> Result<Outcome, ClusterError> {
        let mut asked = false;
        while self.look()? {
            if self.culprit(asked).is_some() {
                break;
            }
            let one_interrupted = self.ends(asked).any(|(_, end)| end == End::Interrupted);
            if !asked && (interrupted.is_set() || one_interrupted) {
                asked = true;
                self.signal(Signal::TERM);
            }
            thread::sleep(LOOK);
        }
        if self.culprit(asked).is_some() {
            return self.fail(asked, then);
        }
        Ok(match self.ends(asked).all(|(_, end)| end == End::Well) {
            true => Outcome::Well,
            false => Outcome::Interrupted,
        })
    }

    fn fail(&mut self, asked: bool, then: impl Fn(Cause) -> Option<String>) -> Result<Outcome, ClusterError> {
        self.wait(SETTLE)?;
        let cause = self.culprit(asked).map(|(member, end)| {
            let (process, pid) = (member.process, member.child.id());
            let cause = match end {
                End::Failed(_) => Cause::Itself,
                _ => Cause::Outside,
            };
            match (end, then(cause)) {
                // With status 1 a process has told itself why it ends.
                (End::Failed(1), None) => {}
                (End::Failed(1), Some(then)) => say(&format!("process {process} (pid {pid}) has failed; {then}")),
                (_, None) => say(&format!("process {process} (pid {pid}) {end}; all processes end")),
                (_, Some(then)) => say(&format!("process {process} (pid {pid}) {end}; {then}")),
            }
            cause
        });
        self.signal(Signal::TERM);
        self.wait(GRACE)?;
        Ok(cause.map_or(Outcome::Interrupted, Outcome::Failed))
    }

    /// Looks until all have ended or the time is over.
    fn wait(&mut self, time: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + time;
        while self.look()? && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Notes who has ended; whether anybody still runs.
    fn look(&mut self) -> Result<bool, ClusterError> {
        let mut running = false;
        for member in &mut self.0 {
            if member.end.is_none() {
                member.end = member.child.try_wait().map_err(|source| ClusterError::System {
                    what: "wait for the processes of the cluster",
                    source,
                })?;
            }
            running |= member.end.is_none();
        }
        Ok(running)
    }

    fn ends(&self, asked: bool) -> impl Iterator<Item = (&Member, End)> {
        let end = move |member: &Member| member.end.map(|status| judge(status, asked));
        self.0.iter().filter_map(move |m| Some((m, end(m)?)))
    }

    /// Who failed, the likeliest cause first.
    fn culprit(&self, asked: bool) -> Option<(&Member, End)> {
        let interrupted = asked || self.ends(asked).any(|(_, end)| end == End::Interrupted);
        self.ends(asked)
            .filter(|(_, end)| match end {
                End::Interrupted | End::Well => false,
                End::LostPeer => !interrupted, // the other one was only quicker to end
                End::Killed(_) | End::Failed(_) => true,
            })
            .min_by_key(|(_, end)| match end {
                End::Killed(_) => 0,
                End::Failed(_) => 1,
                _ => 2,
            })
    }

    /// Signals all that run. One that has ended keeps its process id until it was waited for, so none else is hit.
    fn signal(&self, signal: Signal) {
        for member in self.0.iter().filter(|member| member.end.is_none()) {
            // It may have ended since.
            let _ = kill_process(Pid::from_child(&member.child), signal);
        }
    }
}

fn tell_interruption() -> u8 {
    say("interrupted; what is committed stays, the same command goes on from there");
    INTERRUPTED
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::Failed(status) => write!(f, "ended with status {status}, see its message"),
            Self::LostPeer => f.write_str("lost its connection to another process"),
            Self::Interrupted => f.write_str("was interrupted"),
            Self::Well => f.write_str("ended well"),
        }
    }
}

fn judge(status: ExitStatus, asked: bool) -> End {
    let stops = [Signal::INT.as_raw(), Signal::TERM.as_raw()];
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Well,
        (Some(INTERRUPTED_STATUS), _) => End::Interrupted,
        (Some(PEER_LOST_STATUS), _) => End::LostPeer,
        (Some(status), _) => End::Failed(status),
        // Before it watches for signals, a process that is asked to end is ended by the signal.
        (None, Some(signal)) if asked && stops.contains(&signal) => End::Interrupted,
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in self.0.iter_mut().filter(|member| member.end.is_none()) {
            // It may have ended since; there is nothing left to do about one that cannot be killed.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// Processes that run these shell scripts.
    fn members(scripts: &[&str]) -> Members {
        Members::start(scripts.len(), |process| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", scripts[process]]);
            command
        })
        .expect("a shell")
    }

    fn status(scripts: &[&str]) -> u8 {
        members(scripts).supervise(&Interrupted::default()).expect("supervised")
    }

    #[test]
    fn all_well_is_success_and_an_interruption_is_130() {
        assert_eq!(status(&["exit 0", "exit 0"]), 0);
        assert_eq!(status(&["exit 130", "exit 0"]), 130);
        assert_eq!(status(&["exit 130", "exec sleep 1000"]), 130);
    }

    #[test]
    fn one_failure_ends_all_others() {
        assert_eq!(status(&["exec sleep 1000", "exit 1", "exec sleep 1000"]), 1);
        assert_eq!(status(&["exec sleep 1000", "kill -9 $$"]), 1);
        assert_eq!(status(&["exit 0", "exit 3"]), 1);
    }

    #[test]
    fn a_set_that_was_killed_is_started_again_and_one_that_cannot_run_is_not() {
        let runs = |scripts: &'static [[&'static str; 2]]| {
            let mut starts = scripts.iter();
            let status = keep_up(&Interrupted::default(), || {
                Ok(members(starts.next().expect("no more starts")))
            });
            (status.expect("supervised"), starts.len())
        };
        assert_eq!(
            runs(&[
                ["kill -9 $$", "exec sleep 1000"],
                ["exit 3", "kill -9 $$"],
                ["exit 0", "exit 0"]
            ]),
            (0, 0)
        );
        assert_eq!(
            runs(&[["exit 3", "exit 3"], ["exit 0", "exit 0"]]),
            (0, 0),
            "they lost each other"
        );
        assert_eq!(runs(&[["exit 1", "exec sleep 1000"], ["exit 0", "exit 0"]]), (1, 1));
        assert_eq!(runs(&[["exit 0", "exit 130"], ["exit 0", "exit 0"]]), (130, 1));
        let interrupted = Interrupted::default();
        interrupted.set();
        let status = keep_up(&interrupted, || Ok(members(&["kill -9 $$", "exec sleep 1000"])));
        assert!(
            status.expect("supervised") != 0,
            "who wants to end is not started again"
        );
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_behind_a_steady_run() {
        let mut pauses = Pauses::default();
        let short = Duration::from_secs(1);
        let grown: Vec<f64> = (0..10)
            .map(|_| {
                pauses.after(short);
                pauses.0.as_secs_f64()
            })
            .collect();
        assert_eq!(grown, [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]);
        assert!(!pauses.1);
        pauses.after(STEADY);
        assert!(pauses.1 && pauses.0 == FIRST_PAUSE);
    }

    #[test]
    fn the_cause_is_found_behind_its_consequences() {
        let mut members = members(&["exit 3", "exit 1", "kill -9 $$", "exit 0"]);
        members.wait(GRACE).expect("waited");
        let (member, end) = members.culprit(false).expect("a culprit");
        assert!(member.process == 2 && end == End::Killed(9));
        members.0.remove(2);
        let (member, end) = members.culprit(false).expect("a culprit");
        assert!(member.process == 1 && end == End::Failed(1));
    }

    #[test]
    fn an_interruption_is_passed_on() {
        let interrupted = Interrupted::default();
        interrupted.flag.store(true, Ordering::Relaxed);
        let asked = members(&["exec sleep 1000", "exec sleep 1000"]);
        assert_eq!(asked.supervise(&interrupted).expect("supervised"), 130);
    }

    #[test]
    fn a_process_that_cannot_be_started_leaves_none_behind() {
        let started = Members::start(2, |process| match process {
            0 => {
                let mut command = Command::new("/bin/sleep");
                command.arg("1000");
                command
            }
            _ => Command::new("/nowhere/wardflow"),
        });
        let fault = started.err().expect("refused").to_string();
        assert!(fault.starts_with("process 1 cannot be started"), "{fault}");
    }
}
