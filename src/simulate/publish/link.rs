//! The connection to the broker, on a thread of its own: what state it is in, how much was acknowledged over it.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck, PubAckReason};
use rumqttc::v5::{Connection, ConnectionError, Event, Request};

use super::IN_FLIGHT;

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
    /// Nothing was sent since then, whether or not there were connections in between.
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
    refused: AtomicU64,
    leaving: AtomicBool,
}

/// What a lost connection has left unsent.
#[derive(Default)]
struct Unsent {
    /// On the wire and not acknowledged: they keep their packet ids and go first. The client would drop them when the broker does not
    /// know the session.
    unacknowledged: VecDeque<Request>,
    /// The client's queue. The client would send it all at once, which brokers that limit what is in flight punish.
    queued: VecDeque<Request>,
    lost: Option<Instant>,
}

impl Link {
    pub(super) fn state(&self) -> State {
        self.locked().clone()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nobody needs the connection any more: it is not to be made again.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Runs the connection until it is closed in order or not needed any more.
    pub(super) fn run(&self, mut connection: Connection) {
        let mut unsent = Unsent::default();
        let mut most_in_flight = IN_FLIGHT;
        let mut connected = false;
        loop {
            let client = &mut connection.eventloop;
            // One that waits for its packet id would be forgotten over the next that does.
            let has_room = client.state.inflight() < most_in_flight && client.state.collision.is_none();
            // What is given to the client while there is no connection is dropped with the next welcome.
            if connected && client.pending.is_empty() && has_room {
                client.pending.extend(unsent.queued.pop_front());
            }
            let Ok(event) = connection.recv() else { return };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(welcome))) => {
                    connected = true;
                    most_in_flight = limit(&welcome);
                    connection.eventloop.pending = mem::take(&mut unsent.unacknowledged);
                    *self.locked() = State::Up;
                }
                Ok(Event::Incoming(Packet::PubAck(answer))) => {
                    unsent.lost = None;
                    self.count(&answer);
                }
                Ok(Event::Outgoing(Outgoing::Publish(0))) => unsent.lost = None, // QoS 0: the last that is heard of it
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    *self.locked() = State::Left;
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    connected = false;
                    unsent.take(&mut connection.eventloop.pending);
                    self.down(&mut unsent, &error);
                    if self.leaving.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn count(&self, answer: &PubAck) {
        let counter = match answer.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => &self.acknowledged,
            _ => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn down(&self, unsent: &mut Unsent, error: &ConnectionError) {
        let reason = reason(error);
        let mut state = self.locked();
        *state = match *state {
            State::New | State::Unreachable(_) => State::Unreachable(reason),
            _ => State::Lost {
                since: *unsent.lost.get_or_insert_with(Instant::now),
                reason,
            },
        };
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Whoever held the lock has only assigned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsent {
    /// In the order in which they were published.
    fn take(&mut self, pending: &mut VecDeque<Request>) {
        let (unacknowledged, queued): (Vec<_>, Vec<_>) = pending
            .drain(..)
            .partition(|request| matches!(request, Request::Publish(publish) if publish.pkid != 0));
        self.unacknowledged.extend(unacknowledged);
        for request in queued.into_iter().rev() {
            self.queued.push_front(request);
        }
    }
}

fn limit(welcome: &ConnAck) -> u16 {
    let asked = welcome
        .properties
        .as_ref()
        .and_then(|properties| properties.receive_max);
    asked.map_or(IN_FLIGHT, |asked| asked.min(IN_FLIGHT))
}

/// Why there is no connection.
fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::Timeout(_) => "no answer in time".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "it refuses user and password: give them as mqtt://USER:PASSWORD@HOST".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion,
        ) => "it does not speak MQTT 5".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("it refuses: {code:?}"),
        other => other.to_string(),
    }
}
