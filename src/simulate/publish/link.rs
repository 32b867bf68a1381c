//! The connection to the broker, on a thread of its own: what state it is in, how much was acknowledged over it.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Connection, ConnectionError, Event, Incoming, Outgoing};

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet connected.
    #[default]
    New,
    Up,
    /// The first try to connect failed.
    Unreachable(String),
    Lost {
        since: Instant,
        reason: String,
    },
    /// All was sent and the connection closed in order.
    Left,
}

#[derive(Default)]
pub(super) struct Link {
    state: Mutex<State>,
    acknowledged: AtomicU64,
    leaving: AtomicBool,
}

impl Link {
    pub(super) fn state(&self) -> State {
        self.locked().clone()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.locked() == State::Up
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Nobody needs the connection any more: it is not to be made again.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Runs the connection until it is closed in order or not needed any more.
    pub(super) fn run(&self, mut connection: Connection) {
        // What was not acknowledged when a connection was lost. The client would drop it when the broker does not know the session.
        let mut unacknowledged = VecDeque::new();
        while let Ok(event) = connection.recv() {
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    connection.eventloop.pending = mem::take(&mut unacknowledged);
                    *self.locked() = State::Up;
                }
                Ok(Event::Incoming(Incoming::PubAck(_))) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    *self.locked() = State::Left;
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    unacknowledged.append(&mut connection.eventloop.pending);
                    self.down(&error);
                    if self.leaving.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn down(&self, error: &ConnectionError) {
        let reason = match error {
            ConnectionError::Io(error) => error.to_string(),
            ConnectionError::ConnectionRefused(code) => format!("it refuses: {code:?}"),
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => "no answer in time".to_owned(),
            other => other.to_string(),
        };
        let mut state = self.locked();
        *state = match mem::take(&mut *state) {
            State::New => State::Unreachable(reason),
            State::Lost { since, .. } => State::Lost { since, reason },
            State::Unreachable(first) => State::Unreachable(first),
            State::Up | State::Left => State::Lost {
                since: Instant::now(),
                reason,
            },
        };
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Whoever held the lock has only assigned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
