//! A live run: from the subscription to the last commit, with a view of it on the terminal.
//!
//! In: settings, and where output and state go. Out: how far the output has come. Used by `run` and the demo.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::preparation::{Input, Task, prepare};
use super::receiving::Receiving;
use super::workers::{Work, run_workers};
use super::{Failure, tell};
use crate::alerts::{Broker, Couriers, Outbox};
use crate::cluster::{Interrupted, Topology, halt};
use crate::observe::{Board, Screen, Summary, explained, grouped, of_day, span};
use crate::settings::{Settings, Source};
use crate::source::endpoint;

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(200);
/// How often a line is written where there is no screen: at first, and later.
const LINES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
const AT_FIRST: Duration = Duration::from_secs(60);
/// How long the last alerts may take to arrive, at the end.
const LAST_ALERTS: Duration = Duration::from_secs(3);

/// What is to be run.
pub(super) struct LiveRun {
    pub(super) settings: Settings,
    pub(super) output: PathBuf,
    pub(super) state: PathBuf,
    /// What stands above the screen.
    pub(super) title: String,
}

impl LiveRun {
    /// Runs until `interrupted`, and then commits what has come. `subscribed` is called once the broker has agreed. The summary is process
    /// 0's.
    pub(super) fn run(
        self,
        topology: &Topology,
        interrupted: &Interrupted,
        subscribed: impl FnOnce(),
    ) -> Result<Option<Summary>, Failure> {
        let started = Instant::now();
        let LiveRun {
            settings,
            output,
            state,
            title,
        } = self;
        let is_first = topology.process() == 0;
        let threshold = settings.alerts.threshold;
        let stays_behind = settings.windows.out_of_orderness.0;
        let board = Arc::new(Board::new(settings.record.measures.clone(), stays_behind));
        let task = Task {
            input: Input::Live(settings.source.topics.clone()),
            speed: None,
            settings,
            output,
            state,
            passing: false,
        };
        let mut preparation = prepare(&task, topology, interrupted)?;
        let before = preparation.owned.as_ref().map(|owned| owned.found.tally.clone());
        let screen = is_first && topology.processes() == 1 && io::stdout().is_terminal();
        let lines = std::mem::take(&mut preparation.lines);
        let sessions = preparation.continuation.as_ref().map_or(0, |found| found.first.len());
        let outbox = preparation.continuation.as_ref().and_then(|found| found.outbox.clone());
        let receiving = Receiving::begin(&task, topology, sessions, lines, &board, screen)?;
        let couriers = outbox
            .map(|outbox| deliver(&outbox, &task.settings, screen))
            .transpose()?;
        let display = is_first.then(|| {
            subscribed();
            Display::start(
                Arc::clone(&board),
                interrupted.clone(),
                screen.then_some((title, threshold)),
                topology.processes() > 1,
            )
        });
        let work = Work::Live(receiving, board);
        let finished = run_workers(&task, topology, preparation, work, interrupted);
        display.into_iter().for_each(Display::end);
        let finished = finished?;
        let alerts_waiting = couriers.map(|couriers| couriers.finish(LAST_ALERTS));
        let Some(manifest) = finished.manifest else {
            return Ok(None);
        };
        let tally = manifest.tally.since(&before.unwrap_or_default());
        let summary = Summary::new(
            task.settings.dataflow.name(),
            finished.records,
            manifest.commits,
            &tally,
            started.elapsed().as_secs_f64(),
            finished.usage,
            finished.stages,
        )
        .with_alerts(alerts_waiting.map(|waiting| (tally.alerts, waiting)));
        if tally.records() != finished.records {
            return Err(Failure::new(format!(
                "{} records came but {} are accounted for: this is a defect of the program, please report it",
                finished.records,
                tally.records()
            )));
        }
        Ok(Some(summary))
    }
}

/// Those who bring alerts where the settings have them go.
fn deliver(outbox: &Arc<Outbox>, settings: &Settings, screen: bool) -> Result<Couriers, Failure> {
    let Settings { alerts, source, .. } = settings;
    let source = match alerts.url.as_str() {
        "" => source.clone(),
        // Its login is in its address, if it wants one.
        url => Source {
            url: url.to_owned(),
            user: String::new(),
            password: String::new(),
            password_file: String::new(),
            ..source.clone()
        },
    };
    let broker = Broker {
        endpoint: endpoint(&source)?,
        client_id: format!("{}-alerts", source.client_id),
        keep_alive: source.keep_alive.into(),
        topic: alerts.topic.clone(),
    };
    let broker = (!alerts.topic.is_empty()).then_some(broker);
    let file = (!alerts.file.is_empty()).then(|| PathBuf::from(&alerts.file));
    let told = move |what: &str| {
        if !screen {
            tell(what);
        }
    };
    Couriers::start(outbox, broker, file, told, |error| halt(error))
        .map_err(|e| Failure::new(format!("no thread for the alerts could be started ({e})")))
}

/// The thread that shows a board to the user.
struct Display {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Display {
    /// On a screen with title and threshold, else as lines. What has not been committed yet is known of this process only, and so left out
    /// where there are `several`.
    fn start(board: Arc<Board>, interrupted: Interrupted, screen: Option<(String, f64)>, several: bool) -> Display {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let done = || until.load(Ordering::Acquire);
            // A terminal that cannot be taken over still takes lines.
            let drawn = screen.map(|(title, threshold)| draw(&board, &interrupted, title, threshold, &done));
            if !matches!(drawn, Some(Ok(()))) {
                write_lines(&board, several, &done);
            }
        });
        Display { done, thread }
    }

    fn end(self) {
        self.done.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // One that panicked has ended the process.
        let _ = self.thread.join();
    }
}

fn draw(
    board: &Board,
    interrupted: &Interrupted,
    title: String,
    threshold: f64,
    done: &impl Fn() -> bool,
) -> io::Result<()> {
    let mut screen = Screen::open(title, threshold)?;
    while !done() {
        screen.draw(&board.view())?;
        if screen.asks_to_end(FRAME)? {
            interrupted.set();
        }
    }
    Ok(())
}

fn write_lines(board: &Board, several: bool, done: &impl Fn() -> bool) {
    let mut written = Instant::now();
    let mut anomalies = 0;
    while !done() {
        let view = board.view();
        let pause = LINES[usize::from(view.uptime > AT_FIRST)];
        if written.elapsed() >= pause {
            written = Instant::now();
            let behind = view
                .lag
                .map_or_else(String::new, |lag| format!(", watermark {} behind", span(lag)));
            let newest = match view.latest.first().filter(|_| view.anomalies > anomalies) {
                Some(sight) => format!(
                    "; anomaly at {} on {}: score {:.2}, {}",
                    of_day(sight.timestamp),
                    sight.device,
                    sight.score,
                    explained(sight)
                ),
                None => String::new(),
            };
            anomalies = view.anomalies;
            let counted = match several {
                true => (view.tally.readings, view.tally.anomalies),
                false => (view.readings, view.anomalies),
            };
            tell(format_args!(
                "{} records/s; {} readings, {} anomalies{behind}; {} commits with {} windows{newest}",
                grouped(view.records_per_second as u64),
                grouped(counted.0),
                grouped(counted.1),
                view.commits,
                grouped(view.tally.windows)
            ));
        }
        thread::park_timeout(FRAME);
    }
}

/// Where what is, and how to open it.
pub(super) fn tell_where(output: &Path, state: &Path) {
    let shown = output.display();
    tell(format_args!(
        "  tables in {shown}, the vault with the identities in {}",
        state.display()
    ));
    tell(format_args!(
        "  DuckDB:  SELECT * FROM read_parquet('{shown}/anomalies/**/*.parquet', hive_partitioning = true) ORDER BY anomaly_score DESC;"
    ));
    tell(format_args!("  pandas:  pandas.read_parquet('{shown}/readings')"));
}
