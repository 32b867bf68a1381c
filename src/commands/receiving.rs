//! The receiving end of a live run. In: what its state folder holds. Out: sessions that stand at the broker, lines between the processes that
//! have them, and the source that feeds this process's workers.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::devices::look_after;
use super::durable::{Continuation, keeping, owner};
use super::preparation::Task;
use super::{Failure, tell};
use crate::cluster::{Interrupted, Line, Topology, halt, halt_without};
use crate::commit::{Keeping, Manifest};
use crate::disk::{Fence, FenceError, LocalDisk};
use crate::journal::JournalError;
use crate::observe::Board;
use crate::source::{
    Asked, Connectivity, Ends, EndsSoon, FeedHandle, LiveCut, Members, SourceError, Subscription, follow, lead, start,
    subscribe, tell_ready, wait_until_ready,
};
use crate::threads;

/// How often a process looks whether the state folder is still its run's.
const WATCH: Duration = Duration::from_secs(1);

/// Sessions that stand, at all processes.
pub(super) struct Receiving {
    /// Of this process, in the order of their numbers.
    subscriptions: Vec<Subscription>,
    lines: Vec<Ends>,
    /// Where the user reads what happens, instead of on standard error.
    screen: Option<Arc<Board>>,
}

impl Receiving {
    /// Takes up this process's sessions of `sessions`, and waits until the other processes have theirs. `board` hears how the connections
    /// fare, and so does the user where there is no `screen`.
    pub(super) fn begin(
        task: &Task,
        topology: &Topology,
        sessions: usize,
        lines: Vec<Line>,
        board: &Arc<Board>,
        screen: bool,
    ) -> Result<Receiving, Failure> {
        let mine = (0..sessions).filter(|session| owner(*session, topology) == topology.process());
        let mut subscriptions = Vec::new();
        for session in mine {
            let (told, is_alone) = (Arc::clone(board), sessions == 1);
            let (source, most) = (&task.settings.source, task.settings.record.max_record_bytes);
            let mut asked = Asked::find(LocalDisk, &task.state, source, session);
            let not_kept = |e| Failure::new(format!("{}: {e}", task.state.display()));
            asked.asking().map_err(not_kept)?;
            let subscription = subscribe(source, session, most, asked.gone(), move |connectivity| {
                let say = |what: &str| match is_alone {
                    true => tell(what),
                    false => tell(format_args!("session {session}: {what}")),
                };
                let lost = match connectivity {
                    Connectivity::Connected => None,
                    Connectivity::Lost(why) => Some(why),
                    Connectivity::Notice(what) => {
                        if !screen {
                            say(&what);
                        }
                        return;
                    }
                };
                if !screen {
                    say(lost.as_deref().unwrap_or("connected again"));
                }
                told.connection(lost);
            })?;
            asked.agreed().map_err(not_kept)?;
            subscriptions.push(subscription);
        }
        let mut ends = Vec::with_capacity(lines.len());
        for line in lines {
            ends.push(line.split()?);
        }
        for line in &mut ends {
            match topology.process() {
                0 => wait_until_ready(line).unwrap_or_else(|lost| halt_without(lost)),
                _ => tell_ready(line),
            }
        }
        Ok(Receiving {
            subscriptions,
            lines: ends,
            screen: screen.then(|| Arc::clone(board)),
        })
    }

    /// Starts the source; what feeds the workers, and what process 0 keeps with each commit.
    pub(super) fn start(
        self,
        task: &Task,
        topology: &Topology,
        continuation: Continuation,
        fence: &Fence,
        interrupted: &Interrupted,
    ) -> Result<(Vec<FeedHandle>, Option<Keeping>), Failure> {
        let settings = &task.settings;
        let Continuation {
            sessions,
            snapshots,
            first_commit,
            first,
            sealed,
            releases,
            log,
            outbox,
            watch: looker,
            checkpoints,
            ..
        } = continuation;
        let workers = topology.workers();
        let members = Members {
            sessions: self.subscriptions.into_iter().zip(sessions).collect(),
            releases: releases.clone(),
            cut: LiveCut {
                epoch_records: settings.replay.epoch_records,
                gather: settings.source.gather.into(),
                commit_records: settings.output.commit_rows,
                commit_bytes: settings.output.commit_bytes,
                commit_interval: settings.output.commit_interval.into(),
                idle_after: settings.windows.idle_after.into(),
                max_record_bytes: settings.record.max_record_bytes,
                workers,
                first_commit,
                first,
                sealed,
            },
        };
        watch(fence.clone());
        let stop = interrupted.clone();
        let stop = move || stop.is_set();
        let (interval, collected) = (settings.output.commit_interval.into(), checkpoints.collected);
        let ends_soon = move |soon| collected.ends_soon(soon);
        let screen = self.screen;
        let told = move |what: &str| match &screen {
            Some(board) => board.notice(what),
            None => tell(format_args!("wardflow: {what}")),
        };
        let failed = |error: JournalError| halt(error);
        let unfed = |error: SourceError| halt(error);
        let lost = |lost| halt_without(lost);
        let Some(log) = log else {
            let line = self.lines.into_iter().next();
            let line = line.ok_or_else(|| Failure::new("there is no line to process 0"))?;
            let following = follow(members, line, stop, failed, lost, told);
            let following = EndsSoon::new(following, interval, ends_soon);
            return Ok((start(following, workers, unfed), None));
        };
        let (ends, devices) = (log.ends.clone(), log.devices.history.clone());
        if let (Some(looker), Some(every)) = (looker, settings.devices.watch) {
            look_after(looker, log.devices.offer.clone(), every.into(), told.clone());
        }
        let (leading, others) = lead(members, log, self.lines, stop, failed, lost, told);
        let tell_others = move |manifest: &Manifest| {
            let anchors = manifest.anchors.iter().map(|anchor| anchor.ends());
            others.committed(manifest.ends(), anchors.collect());
        };
        let keeping = keeping(&task.state, snapshots, releases, ends, outbox, devices, tell_others);
        let leading = EndsSoon::new(leading, interval, ends_soon);
        Ok((start(leading, workers, unfed), Some(keeping)))
    }
}

/// Ends this process soon after another run has taken over its state folder, also where nothing comes that it would have to write: it would
/// take the other's sessions at the broker away, again and again.
fn watch(fence: Fence) {
    threads::start_behind("fence", move || {
        loop {
            thread::sleep(WATCH);
            if let Err(taken_over @ FenceError::TakenOver { .. }) = fence.check() {
                // A run that has just ended in order gives its folder away, and is gone by then.
                thread::sleep(WATCH);
                halt(taken_over);
            }
        }
    });
}
