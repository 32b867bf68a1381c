//! The end of a process that cannot go on: one line on standard error, and the whole process ends, whatever its
//! other threads are doing. Its lost connections then end the other processes.

use std::fmt::Display;
use std::io;
use std::panic;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::signals::INTERRUPTED_STATUS;

/// Exit status of a process that failed.
const FAILED_STATUS: i32 = 1;
/// Exit status by which a process tells its supervisor that it ended only because another one did.
pub(super) const PEER_LOST_STATUS: i32 = 3;
/// How timely's panic begins when a connection breaks (`tcp_panic` in timely_communication 0.32, which promises
/// to keep it).
const PEER_LOST: &str = "timely communication error:";

/// Set by the first thread that ends the process.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether a supervisor of `--spawn` watches this process and tells the user who ended first.
static SUPERVISED: AtomicBool = AtomicBool::new(false);

/// What is done before anything is told.
static BEFORE_TELLING: OnceLock<fn()> = OnceLock::new();

/// Has `clear` called before a line is told from here, from whatever thread: what is drawn on the terminal is to be taken away first.
/// The first call counts.
pub fn before_telling(clear: fn()) {
    let _ = BEFORE_TELLING.set(clear);
}

/// Done before the process ends from here.
static BEFORE_THE_END: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Has `done` called before the process is ended from here. The first call counts.
pub fn before_the_end(done: impl Fn() + Send + Sync + 'static) {
    let _ = BEFORE_THE_END.set(Box::new(done));
}

fn make_way() {
    if let Some(clear) = BEFORE_TELLING.get() {
        clear();
    }
}

/// Ends the process with status 1 after the line `wardflow: ` and `error`. From any thread; when several call,
/// the first one's error is told and the others wait for the end.
pub fn halt(error: impl Display) -> ! {
    halt_with(FAILED_STATUS, error)
}

/// As [`halt`], with another exit status.
pub fn halt_with(status: i32, error: impl Display) -> ! {
    // Formatted first: a `Display` that panics must find the end still open to the panic hook.
    let error = error.to_string();
    end(status, Some(&error))
}

/// From now on every panic ends the whole process with status 1 and one line that quotes no data: a connection
/// timely lost is told as what it is, anything else as an internal error with its place in the code.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|panic| {
        let lost = |message: &str| message.starts_with(PEER_LOST);
        if panic.payload_as_str().is_some_and(lost) {
            lose_peer();
        }
        let place = panic.location().map_or_else(String::new, |location| {
            format!(" at {}:{}", location.file(), location.line())
        });
        halt(format_args!(
            "internal error{place}; what was committed so far is kept; please report this line"
        ))
    }));
}

pub(super) fn lose_peer() -> ! {
    if SUPERVISED.load(Ordering::Relaxed) {
        end(PEER_LOST_STATUS, None);
    }
    halt("another process of the cluster ended; see its message, then start all again")
}

/// Leaves it to the supervisor to tell of a lost connection.
pub(super) fn be_supervised() {
    SUPERVISED.store(true, Ordering::Relaxed);
}

/// Whether the supervisor of this process tells the user of an end with this status, once for all processes.
pub fn told_by_supervisor(status: i32) -> bool {
    SUPERVISED.load(Ordering::Relaxed) && [PEER_LOST_STATUS, INTERRUPTED_STATUS].contains(&status)
}

fn end(status: i32, error: Option<&str>) -> ! {
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            thread::park();
        }
    }
    make_way(); // also where the supervisor tells
    if let Some(error) = error.filter(|_| !told_by_supervisor(status)) {
        say(error);
    }
    if let Some(done) = BEFORE_THE_END.get() {
        done();
    }
    process::exit(status)
}

/// Writes one line to standard error, in one piece, past the lock of `io::stderr`: a thread that waits for the
/// end may hold it.
pub(super) fn say(message: &str) {
    make_way();
    let line = format!("wardflow: {}\n", message.replace(['\n', '\r'], " "));
    // Nobody is left to tell when standard error is closed.
    let _ = rustix::io::write(io::stderr(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fmt;
    use std::process::{Command, Output};
    use std::sync::Barrier;

    use super::*;

    const SCENE: &str = "WARDFLOW_TEST_HALT";

    /// Runs `act` in a process of its own: this test program with nothing but that test.
    fn play(scene: &str) -> Output {
        let path = module_path!();
        let path = path.split_once("::").map_or(path, |(_, rest)| rest);
        Command::new(env::current_exe().expect("the test program"))
            .args([&format!("{path}::act"), "--exact", "--ignored", "--nocapture"])
            .env(SCENE, scene)
            .output()
            .expect("the test program starts")
    }

    struct Explosive;

    impl fmt::Display for Explosive {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("Jane Doe, born 1970-01-01")
        }
    }

    #[test]
    #[ignore = "acts for the tests below, in a process of its own"]
    fn act() {
        let Ok(scene) = env::var(SCENE) else { return };
        install_panic_hook();
        match scene.as_str() {
            "many" => {
                let start = Barrier::new(16);
                thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            start.wait();
                            halt("the disk is full:\nfree some space")
                        });
                        scope.spawn(|| {
                            start.wait();
                            let _held = io::stderr().lock();
                            halt("the disk is full:\nfree some space")
                        });
                    }
                });
            }
            "panic" => panic!("Jane Doe, born {}", "1970-01-01"),
            "lost" => panic!("timely communication error: reading data: socket closed"),
            "supervised" => {
                be_supervised();
                panic!("timely communication error: reading data: socket closed")
            }
            "explosive" => halt(Explosive),
            _ => halt_with(130, "interrupted"),
        }
    }

    fn told(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn of_many_errors_one_is_told_once_on_one_line() {
        let output = play("many");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(told(&output), "wardflow: the disk is full: free some space\n");
    }

    #[test]
    fn a_panic_ends_the_process_with_its_place_and_without_its_message() {
        for scene in ["panic", "explosive"] {
            let output = play(scene);
            assert_eq!(output.status.code(), Some(1));
            let told = told(&output);
            assert!(told.starts_with("wardflow: internal error at "), "{told}");
            assert!(told.contains("halt.rs:"), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(!told.contains("Jane"), "{told}");
        }
    }

    #[test]
    fn a_lost_peer_is_told_by_this_process_or_by_its_supervisor() {
        let output = play("lost");
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).starts_with("wardflow: another process of the cluster ended"));
        let output = play("supervised");
        assert_eq!(output.status.code(), Some(PEER_LOST_STATUS));
        assert_eq!(told(&output), "");
    }

    #[test]
    fn another_exit_status_can_be_chosen() {
        let output = play("interrupted");
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(told(&output), "wardflow: interrupted\n");
    }
}
