//! A live source on several processes: what process 0, which cuts, and the others tell each other.
//!
//! Another process tells how far the journals of its sessions have come; process 0 tells every epoch, once it is durable in the epoch log, and every commit.
//! This goes over lines of its own and not through the dataflow: neither may wait for workers that are busy, and who
//! receives and who cuts are no workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use serde::{Deserialize, Serialize};

use super::arrivals::Arrivals;
use super::feed::{Epochs, SourceError};
use super::files::Epoch;
use super::live::{Announce, Live, LiveCut, Log, Owned, Receiving};
use super::mqtt::Subscription;
use super::release::Release;
use super::strand::Feeder;
use crate::cluster::{BEAT, Hearer, Lost, Speaker};
use crate::disk::Disk;
use crate::journal::{self, JournalError};
use crate::threads;

/// How often the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the processes of a live run tell each other.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Whoever says it is there, and has nothing else to say.
    Alive,
    /// To process 0: this process's sessions stand.
    Ready,
    /// To process 0: a session's journal has grown, or will not grow any more.
    Grown {
        session: usize,
        end: u64,
        bytes: u64,
        ended: bool,
        wants_anchor: bool,
        kept_from: u64,
    },
    /// To process 0: the run shall end. From it: nothing more is to be received.
    Stop,
    /// From process 0: an epoch, which is in the log.
    Epoch(journal::Epoch),
    /// From process 0: how far each journal is committed, and where in each the anchors are.
    Committed { ends: Vec<u64>, anchors: Vec<Vec<u64>> },
    /// From process 0: no epoch comes behind those told.
    End,
}

/// Both ends of a line.
pub type Ends = (Speaker, Hearer);

/// Tells process 0 that this process's sessions stand.
pub fn tell_ready(line: &Ends) {
    line.0.say(&Word::Ready);
}

/// Waits until another process's sessions stand.
///
/// # Errors
/// The process has ended.
pub fn wait_until_ready(line: &mut Ends) -> Result<(), Lost> {
    while !matches!(line.1.hear()?, Word::Ready) {}
    Ok(())
}

/// Process 0's ends of the lines.
#[derive(Clone)]
pub struct Others {
    speakers: Arc<Vec<Speaker>>,
    ended: Arc<AtomicBool>,
}

impl Others {
    fn say(&self, word: &Word) {
        self.speakers.iter().for_each(|speaker| speaker.say(word));
    }

    /// Tells of a commit: how far it goes in each journal, and where in each the anchors are, one after the other.
    pub fn committed(&self, ends: Vec<u64>, anchors: Vec<Vec<u64>>) {
        self.say(&Word::Committed { ends, anchors });
    }
}

impl Announce for Others {
    fn epoch(&self, epoch: &journal::Epoch) {
        self.say(&Word::Epoch(epoch.clone()));
    }

    fn stop(&self) {
        self.say(&Word::Stop);
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.say(&Word::End);
    }
}

/// What every process of a run has for its source.
pub struct Members<D: Disk> {
    /// This process's.
    pub sessions: Vec<(Subscription, Owned<D>)>,
    /// Of all sessions; at process 0 those of other processes' sessions follow what they tell.
    pub releases: Vec<Release>,
    pub cut: LiveCut,
}

/// Begins a live run at process 0, which has `lines` to all others. `fail` is called when a journal cannot go on, `lost` when another
/// process is lost, `tell` when the user should know something.
pub fn lead<D: Disk>(
    members: Members<D>,
    log: Log<D>,
    lines: Vec<Ends>,
    stop: impl Fn() -> bool + Send + 'static,
    fail: impl Fn(JournalError) + Clone + Send + 'static,
    lost: impl Fn(Lost) + Clone + Send + 'static,
    tell: impl Fn(&str) + Clone + Send + 'static,
) -> (impl Epochs, Others) {
    let Members {
        sessions,
        releases,
        cut,
    } = members;
    let arrivals = Arc::new(Arrivals::behind(&cut.sealed));
    let (speakers, hearers): (Vec<Speaker>, Vec<Hearer>) = lines.into_iter().unzip();
    let others = Others {
        speakers: Arc::new(speakers),
        ended: Arc::default(),
    };
    for hearer in hearers {
        let (arrivals, releases) = (Arc::clone(&arrivals), releases.clone());
        let (ended, lost) = (Arc::clone(&others.ended), lost.clone());
        threads::start("member", move || {
            let why = hear_member(hearer, &arrivals, &releases);
            if !ended.load(Ordering::SeqCst) {
                lost(why);
            }
        });
    }
    if !others.speakers.is_empty() {
        let others = others.clone();
        threads::start("alive", move || {
            loop {
                others.say(&Word::Alive);
                thread::sleep(BEAT);
            }
        });
    }
    let receiving = Receiving::start(sessions, &arrivals, &cut, &fail, &tell);
    let live = Live::new(receiving, arrivals, log, cut, others.clone(), stop, tell);
    (live, others)
}

/// Until the line is lost.
fn hear_member(mut hearer: Hearer, arrivals: &Arrivals, releases: &[Release]) -> Lost {
    if hearer.expect_beats().is_err() {
        return Lost::Ended;
    }
    loop {
        match hearer.hear() {
            Ok(Word::Grown {
                session,
                end,
                bytes,
                ended,
                wants_anchor,
                kept_from,
            }) => {
                if let Some(release) = releases.get(session) {
                    release.follow(wants_anchor, kept_from);
                }
                arrivals.push(session, end, bytes);
                if ended {
                    arrivals.end(session);
                }
            }
            Ok(Word::Stop) => arrivals.want_stop(),
            Ok(_) => {}
            Err(lost) => return lost,
        }
    }
}

/// The source of a process that cuts nothing itself.
struct Following<D: Disk> {
    epochs: Receiver<journal::Epoch>,
    feeder: Feeder<D>,
}

impl<D: Disk> Epochs for Following<D> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        match self.epochs.recv() {
            Ok(epoch) => Ok(Some(self.feeder.feed(&epoch)?)),
            Err(_) => Ok(None),
        }
    }

    fn records(&self) -> u64 {
        self.feeder.records()
    }
}

/// Begins a live run at another process than 0, to which it has a line; the rest as in [`lead`].
pub fn follow<D: Disk>(
    members: Members<D>,
    (speaker, mut hearer): Ends,
    stop: impl Fn() -> bool + Send + 'static,
    fail: impl Fn(JournalError) + Clone + Send + 'static,
    lost: impl Fn(Lost) + Send + 'static,
    tell: impl Fn(&str) + Clone + Send + 'static,
) -> impl Epochs {
    let Members {
        sessions,
        releases,
        cut,
    } = members;
    let arrivals = Arc::new(Arrivals::behind(&cut.sealed));
    let (receiving, feeder) = Receiving::start(sessions, &arrivals, &cut, &fail, &tell);
    let reporting = releases.clone();
    threads::start("report", move || report(&speaker, &arrivals, &reporting, stop));
    let (sender, epochs) = unbounded();
    threads::start("epochs", move || {
        let mut sender = Some(sender);
        if hearer.expect_beats().is_err() {
            return lost(Lost::Ended);
        }
        loop {
            match hearer.hear() {
                Ok(Word::Epoch(epoch)) => {
                    let taken = sender.as_ref().map(|sender| sender.send(epoch));
                    drop(taken); // who takes them has gone only where this process ends
                }
                Ok(Word::Stop) => receiving.stop(),
                Ok(Word::Committed { ends, anchors }) => {
                    for (session, release) in releases.iter().enumerate() {
                        let of_session = |ends: &Vec<u64>| ends.get(session).copied().unwrap_or(0);
                        release.begin(of_session(&ends), anchors.iter().map(of_session).collect());
                    }
                }
                Ok(Word::End) => drop(sender.take()),
                Ok(_) => {}
                Err(_) if sender.is_none() => return,
                Err(why) => return lost(why),
            }
        }
    });
    Following { epochs, feeder }
}

/// Tells process 0 what has become durable here, and that the user wants to stop.
fn report(speaker: &Speaker, arrivals: &Arrivals, releases: &[Release], stop: impl Fn() -> bool) {
    let mut asked = false;
    let mut spoken = Instant::now();
    loop {
        let seen = arrivals.look();
        for (session, end, bytes, ended) in arrivals.drain() {
            let release = releases.get(session);
            speaker.say(&Word::Grown {
                session,
                end,
                bytes,
                ended,
                wants_anchor: release.is_some_and(Release::take_wish),
                kept_from: release.map_or(0, Release::kept_from),
            });
            spoken = Instant::now();
        }
        if !asked && stop() {
            asked = true;
            speaker.say(&Word::Stop);
        }
        if spoken.elapsed() >= BEAT {
            speaker.say(&Word::Alive);
            spoken = Instant::now();
        }
        arrivals.wait(&seen, Instant::now() + LOOK);
    }
}
