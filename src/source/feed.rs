//! The thread that reads the input and feeds the workers of this process.
//!
//! In: a [`Reader`]. Out: one bounded queue of epochs for each local worker. A worker that falls behind
//! holds the reader back, so the input is never read far ahead of the dataflow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::files::{Epoch, ReadError, Reader};
use super::{Chunk, Time};

/// Epochs that wait for a worker at most.
const AHEAD: usize = 2;

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
pub fn start(mut reader: Reader, workers: usize, fail: impl FnOnce(ReadError) + Send + 'static) -> Vec<FeedHandle> {
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
    thread::spawn(move || {
        loop {
            match reader.next_epoch() {
                Ok(Some(Epoch { time, chunks })) => {
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
