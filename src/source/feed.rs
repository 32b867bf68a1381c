//! The thread that reads the input and feeds the workers of this process.
//!
//! In: [`Epochs`], from a [`Reader`] of files or a live source. Out: one bounded queue of epochs for each local worker. A worker that falls behind
//! holds the reader back, so the input is never read far ahead of the dataflow. Where the reader is paced, an epoch waits here until
//! it is due; nobody waits for this thread when the process ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::files::{Epoch, Reader};
use super::records::ReadError;
use super::{Chunk, Time};
use crate::devices::DevicesError;
use crate::journal::JournalError;
use crate::threads;

/// Epochs that wait for a worker at most.
const AHEAD: usize = 2;

/// Why a source can no longer be read.
#[derive(Debug)]
pub enum SourceError {
    File(ReadError),
    Journal(JournalError),
    Devices(DevicesError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::File(error) => error.fmt(f),
            SourceError::Journal(error) => error.fmt(f),
            SourceError::Devices(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        SourceError::File(error)
    }
}

impl From<JournalError> for SourceError {
    fn from(error: JournalError) -> Self {
        SourceError::Journal(error)
    }
}

impl From<DevicesError> for SourceError {
    fn from(error: DevicesError) -> Self {
        SourceError::Devices(error)
    }
}

/// What cuts a source into epochs.
pub trait Epochs: Send + 'static {
    /// The next epoch, or `None` behind the last one.
    ///
    /// # Errors
    /// A source that can no longer be read.
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError>;

    /// Records so far, those of other processes' workers included.
    fn records(&self) -> u64;
}

impl Epochs for Reader {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        Ok(Reader::next_epoch(self)?)
    }

    fn records(&self) -> u64 {
        Reader::records(self)
    }
}

/// What a worker finds at its queue.
pub enum Feed {
    /// Its part of the epoch at this time.
    Epoch(Time, Chunk),
    /// Nothing yet.
    Wait,
    /// The input has ended.
    End,
}

/// One worker's end of the feed.
pub struct FeedHandle {
    epochs: Receiver<(Time, Chunk)>,
    wake: Sender<Thread>,
    records: Arc<AtomicU64>,
}

impl FeedHandle {
    /// Asks to be unparked whenever an epoch arrives; called once, from the worker's own thread.
    pub fn wake_this_thread(&self) {
        // The reader may have finished already: then there is nothing left to be woken for.
        let _ = self.wake.send(thread::current());
    }

    /// The next epoch, if it has been read.
    pub fn next(&self) -> Feed {
        match self.epochs.try_recv() {
            Ok((time, chunk)) => Feed::Epoch(time, chunk),
            Err(TryRecvError::Empty) => Feed::Wait,
            Err(TryRecvError::Disconnected) => Feed::End,
        }
    }

    /// Records of the whole input so far, those of other processes included; all of them once the feed has ended.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }
}

/// Starts reading; one handle for each of `workers` local workers. `fail` is called when the input cannot be read.
pub fn start(
    mut reader: impl Epochs,
    workers: usize,
    fail: impl FnOnce(SourceError) + Send + 'static,
) -> Vec<FeedHandle> {
    let records = Arc::new(AtomicU64::new(0));
    let (mut queues, mut handles) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (sender, epochs) = bounded(AHEAD);
        let (wake, wakes) = bounded(1);
        queues.push(Queue {
            epochs: sender,
            wakes,
            worker: None,
        });
        handles.push(FeedHandle {
            epochs,
            wake,
            records: Arc::clone(&records),
        });
    }
    threads::start("epochs", move || {
        let mut started: Option<Instant> = None;
        loop {
            match reader.next_epoch() {
                Ok(Some(Epoch { time, chunks, due })) => {
                    let now = Instant::now();
                    if let Some(due) = due {
                        thread::sleep(due.saturating_sub(now - *started.get_or_insert(now)));
                    }
                    records.store(reader.records(), Ordering::Release);
                    for (queue, chunk) in queues.iter_mut().zip(chunks) {
                        if !queue.give(time, chunk) {
                            return; // the worker has gone: the process is ending
                        }
                    }
                }
                Ok(None) => return queues.into_iter().for_each(Queue::end),
                Err(error) => return fail(error),
            }
        }
    });
    handles
}

struct Queue {
    epochs: Sender<(Time, Chunk)>,
    wakes: Receiver<Thread>,
    worker: Option<Thread>,
}

impl Queue {
    fn give(&mut self, time: Time, chunk: Chunk) -> bool {
        let given = self.epochs.send((time, chunk)).is_ok();
        self.wake();
        given
    }

    fn wake(&mut self) {
        self.worker = self.worker.take().or_else(|| self.wakes.try_recv().ok());
        if let Some(worker) = &self.worker {
            worker.unpark();
        }
    }

    fn end(self) {
        let Queue { epochs, wakes, worker } = self;
        drop(epochs);
        if let Some(worker) = worker.or_else(|| wakes.try_recv().ok()) {
            worker.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::testing::parser;
    use crate::source::{Cut, Inputs};

    fn cut(workers: usize) -> Cut {
        Cut {
            epoch_records: 5,
            commit_records: 12,
            commit_bytes: u64::MAX,
            max_record_bytes: 100,
            workers,
            mine: 0..workers,
        }
    }

    /// Everything that one worker is given: times, and positions of the records.
    fn drain(handle: &FeedHandle) -> Vec<(Time, Vec<u64>, bool)> {
        handle.wake_this_thread();
        let mut got = Vec::new();
        loop {
            match handle.next() {
                Feed::Epoch(time, chunk) => {
                    got.push((time, chunk.records().map(|r| r.position).collect(), chunk.ends_input));
                }
                Feed::Wait => thread::park(),
                Feed::End => return got,
            }
        }
    }

    #[test]
    fn every_worker_is_given_its_part_of_every_epoch_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("input.jsonl");
        fs::write(&path, "{}\n".repeat(103)).expect("a file");
        let inputs = Inputs::find(&[path.display().to_string()]).expect("a file");
        let handles = start(Reader::new(&inputs, cut(3), parser(), None), 3, |error| {
            panic!("{error:?}")
        });
        let workers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = handles.iter().map(|handle| scope.spawn(|| drain(handle))).collect();
            threads.into_iter().map(|t| t.join().expect("a worker")).collect()
        });
        let times = |worker: &[(Time, Vec<u64>, bool)]| worker.iter().map(|(time, ..)| *time).collect::<Vec<_>>();
        assert!(times(&workers[0]).is_sorted_by(|a, b| a < b));
        assert!(workers.iter().all(|worker| times(worker) == times(&workers[0])));
        let epochs = 0..workers[0].len();
        let positions: Vec<u64> = epochs
            .flat_map(|epoch| workers.iter().flat_map(move |worker| worker[epoch].1.clone()))
            .collect();
        assert_eq!(positions, (0..103).collect::<Vec<_>>());
        assert!(
            workers
                .iter()
                .all(|worker| worker.last().is_some_and(|(.., ends)| *ends))
        );
        assert!(handles.iter().all(|handle| handle.records() == 103));
    }

    #[test]
    fn a_failed_read_is_told_with_the_file_and_behind_it_nothing_comes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths = ["a", "b"].map(|name| folder.path().join(format!("{name}.jsonl")));
        paths
            .iter()
            .for_each(|path| fs::write(path, "{}\n{}\n").expect("a file"));
        let inputs = Inputs::find(&paths.clone().map(|p| p.display().to_string())).expect("files");
        fs::remove_file(&paths[1]).expect("removed");
        let (tell, told) = bounded(1);
        let fail = move |error: SourceError| match error {
            SourceError::File(error) => tell.send(error.file).expect("the test waits"),
            other => panic!("{other}"),
        };
        let handles = start(
            Reader::new(
                &inputs,
                Cut {
                    epoch_records: 1,
                    ..cut(1)
                },
                parser(),
                None,
            ),
            1,
            fail,
        );
        assert_eq!(told.recv().expect("told"), paths[1].display().to_string());
        for position in 0..2 {
            let Feed::Epoch(_, chunk) = handles[0].next() else {
                panic!("the first file has two records")
            };
            assert!(chunk.records().map(|r| r.position).eq([position]));
            assert!(!chunk.ends_input, "an end that nobody has seen is not told");
        }
        assert!(!matches!(handles[0].next(), Feed::Epoch(..)));
    }
}
