//! A subscription at an MQTT broker.
//!
//! In: the `[source]` settings. Out: messages in the order of their arrival, with the time they were received. A lost connection is
//! taken up again, with pauses that grow to some seconds, and every connection subscribes anew: a broker may have forgotten.
//!
//! A message is acknowledged when [`Subscription::acknowledge`] says so; what a connection did not acknowledge the broker sends again over
//! the next one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Filter, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{Client, Connection, ConnectionError, Event, MqttOptions};

use crate::observe::wall_clock;
use crate::record::EventTime;
use crate::settings::{self, BrokerAddress};

/// Messages that wait for the dataflow at most; behind them the broker is held back.
const AHEAD: usize = 65_536;
/// Room for a topic and properties beside the largest record.
const ENVELOPE: u32 = 128 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a broker shall keep the session of a client that is away, in seconds.
const SESSION_EXPIRY: u32 = 24 * 60 * 60;
/// Acknowledgements that wait to be sent at most.
const REQUESTS: usize = 65_536;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A message as it came.
pub struct Message {
    /// Counts the messages of this subscription.
    pub number: u64,
    /// Never before the message before it.
    pub received: EventTime,
    pub topic: String,
    pub payload: bytes::Bytes,
}

/// How the connection fares, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connectivity {
    Connected,
    /// Why, in one line.
    Lost(String),
}

/// Why there is no subscription, and what to do.
#[derive(Debug)]
pub struct MqttError(String);

impl fmt::Display for MqttError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MqttError {}

/// A running subscription.
pub struct Subscription {
    messages: Receiver<Message>,
    client: Client,
    stopping: Arc<AtomicBool>,
    unacknowledged: Unacknowledged,
}

/// What the present connection has brought and nobody has acknowledged, in order.
type Unacknowledged = Arc<Mutex<VecDeque<(u64, Publish)>>>;

impl Subscription {
    /// Acknowledges all messages up to this one. What came over an earlier connection is left out: it comes again.
    pub fn acknowledge(&self, through: u64) {
        let mut waiting = self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.front().is_some_and(|(number, _)| *number <= through) {
            // Full while the connection is busy: the next call goes on here.
            if waiting
                .front()
                .is_some_and(|(_, publish)| self.client.try_ack(publish).is_err())
            {
                break;
            }
            waiting.pop_front();
        }
    }

    /// What has arrived; ends once the subscription has been stopped and everything is taken.
    pub fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }

    /// Leaves the broker. What has been acknowledged still comes.
    pub fn stop(&self) {
        if !self.stopping.swap(true, Ordering::SeqCst) {
            // Without a connection there is nobody to say good-bye to.
            let _ = self.client.try_disconnect();
        }
    }
}

/// Subscribes, and waits until the broker has agreed. `tell` hears of every connection and loss from then on.
///
/// # Errors
/// A broker that cannot be reached, or that refuses the client or a topic.
pub fn subscribe(
    source: &settings::Source,
    max_record_bytes: usize,
    tell: impl Fn(Connectivity) + Send + 'static,
) -> Result<Subscription, MqttError> {
    let address = address(&source.url)?;
    let shown = address.to_string();
    let mut options = MqttOptions::new(&source.client_id, &address.host, address.port);
    let largest = u32::try_from(max_record_bytes)
        .unwrap_or(u32::MAX)
        .saturating_add(ENVELOPE);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(false)
        .set_manual_acks(true)
        .set_session_expiry_interval(Some(SESSION_EXPIRY))
        .set_max_packet_size(Some(largest));
    if let Some((user, password)) = address.login {
        options.set_credentials(user, password);
    }
    let qos = if source.qos == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    };
    let topics = source.topics.iter().map(|topic| Filter::new(topic, qos)).collect();
    let (client, connection) = Client::new(options, REQUESTS);
    let (sender, messages) = bounded(AHEAD);
    let (agreed, answer) = bounded(1);
    let stopping = Arc::new(AtomicBool::new(false));
    let unacknowledged = Unacknowledged::default();
    let listener = Listener {
        unacknowledged: Arc::clone(&unacknowledged),
        next: 0,
        shown,
        topics,
        client: client.clone(),
        sender,
        agreed: Some(agreed),
        stopping: Arc::clone(&stopping),
        last: EventTime::MIN,
    };
    thread::spawn(move || listener.listen(connection, tell));
    match answer.recv() {
        Ok(Ok(())) => Ok(Subscription {
            messages,
            client,
            stopping,
            unacknowledged,
        }),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(MqttError("the subscription ended before it began".into())),
    }
}

/// The thread that talks with the broker.
struct Listener {
    shown: String,
    topics: Vec<Filter>,
    client: Client,
    sender: Sender<Message>,
    /// Until the broker has agreed once: whom to tell.
    agreed: Option<Sender<Result<(), MqttError>>>,
    stopping: Arc<AtomicBool>,
    unacknowledged: Unacknowledged,
    /// Number of the next message.
    next: u64,
    last: EventTime,
}

impl Listener {
    fn listen(mut self, mut connection: Connection, tell: impl Fn(Connectivity)) {
        let mut pause = FIRST_PAUSE;
        loop {
            let event = match connection.recv() {
                Ok(event) => event,
                Err(_) => return, // nobody can ask for anything any more
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    pause = FIRST_PAUSE;
                    self.unacknowledged
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                    // Full only while earlier subscriptions wait to be sent.
                    let _ = self.client.try_subscribe_many(self.topics.clone());
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    let refused = answer
                        .return_codes
                        .iter()
                        .zip(&self.topics)
                        .find(|(code, _)| !matches!(code, SubscribeReasonCode::Success(_)));
                    match refused {
                        Some((code, topic)) => {
                            let why = format!(
                                "{}: the broker refuses the topic {} ({code:?}); check its access rules or source.topics",
                                self.shown, topic.path
                            );
                            if self.refuse(why.clone()) {
                                return;
                            }
                            tell(Connectivity::Lost(why));
                        }
                        None => match self.agreed.take() {
                            Some(agreed) => drop(agreed.send(Ok(()))),
                            None => tell(Connectivity::Connected),
                        },
                    }
                }
                Ok(Event::Incoming(Packet::Publish(mut publish))) => {
                    let number = self.next;
                    self.next += 1;
                    let payload = std::mem::take(&mut publish.payload);
                    let message = Message {
                        number,
                        received: self.now(),
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload,
                    };
                    self.unacknowledged
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_back((number, publish));
                    if self.sender.send(message).is_err() {
                        return;
                    }
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(_) if self.stopping.load(Ordering::SeqCst) => return,
                Err(error) => {
                    let why = reason(&self.shown, &error);
                    if self.refuse(why.clone()) {
                        return;
                    }
                    tell(Connectivity::Lost(why));
                    self.wait(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Tells the one who waits for the first agreement; false if nobody does.
    fn refuse(&mut self, why: String) -> bool {
        self.agreed
            .take()
            .is_some_and(|agreed| agreed.send(Err(MqttError(why))).is_ok())
    }

    /// The time now, never behind an earlier one: the system's clock may be set back.
    fn now(&mut self) -> EventTime {
        self.last = self.last.max(wall_clock());
        self.last
    }

    /// Sleeps, but not beyond a stop.
    fn wait(&self, pause: Duration) {
        let step = Duration::from_millis(50);
        let mut left = pause;
        while !left.is_zero() && !self.stopping.load(Ordering::SeqCst) {
            thread::sleep(step.min(left));
            left = left.saturating_sub(step);
        }
    }
}

/// The address in a URL; the settings let pass what cannot be done yet.
fn address(url: &str) -> Result<BrokerAddress, MqttError> {
    let address: BrokerAddress = url.parse().map_err(|why| MqttError(format!("source.url: {why}")))?;
    match address.encrypted {
        true => Err(MqttError(
            "source.url: encrypted connections (mqtts://) are not supported yet; use mqtt:// over a trusted network or a TLS tunnel".into(),
        )),
        false => Ok(address),
    }
}

/// A failed connection in one line, with advice.
fn reason(shown: &str, error: &ConnectionError) -> String {
    let why = match error {
        ConnectionError::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            "no broker listens there; start one, or set source.url".to_owned()
        }
        ConnectionError::Io(e) => format!("the connection failed ({e}); check source.url and the network"),
        ConnectionError::Timeout(_) => "the broker does not answer; check source.url and the network".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses user and password; give them as mqtt://USER:PASSWORD@HOST in source.url".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection ({code:?})"),
        other => format!("the connection failed ({other})"),
    };
    format!("{shown}: {why}")
}
