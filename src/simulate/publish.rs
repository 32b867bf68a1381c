//! Records to an MQTT broker (MQTT 5), on schedule.
//!
//! In: records with the moment at which each is due, and a [`Broker`]. Out: [`Counts`]. The pace is open-loop: a record is sent when it
//! is due (at most a millisecond later), whether or not earlier ones were acknowledged, as devices do; a client that cannot keep up says
//! how far it fell behind. A thread of its own runs the connection; when that is lost it is made again and what was not acknowledged is sent anew.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{Client, MqttOptions};

use super::simulation::Record;
use crate::settings::BrokerAddress;
use link::{Link, State};

mod link;

/// Records that wait in the client for their turn on the wire: few, so that lateness shows.
const WAITING: usize = 128;
/// Publications on the wire that are not yet acknowledged.
const IN_FLIGHT: u16 = 1000;
/// Records that are due within so short a time are sent together: to wake up for each takes the machine more than to send it.
const TICK: Duration = Duration::from_millis(1);
/// How long to look before looking again whether to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a full client is given to send something.
const FULL: Duration = Duration::from_micros(200);
/// How long a lost broker is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// After being stopped: how long the last acknowledgements are waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Where to publish.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    /// User and password.
    pub login: Option<(String, String)>,
    pub topic: String,
    /// 0: nothing is acknowledged; 1: every record is.
    pub qos: u8,
    /// Two clients of a broker need two.
    pub client_id: String,
}

impl Broker {
    /// The paper's topic.
    pub const TOPIC: &'static str = "LifeSupportDevice/Sensor";

    /// `mqtt://[user:password@]host[:port]`, with the paper's topic, QoS 1 and a client id of this process.
    ///
    /// # Errors
    /// What is no such address.
    pub fn parse(url: &str) -> Result<Broker, BrokerError> {
        let BrokerAddress {
            host,
            port,
            login,
            encrypted,
            path,
        } = url.parse().map_err(BrokerError)?;
        if encrypted {
            return Err(BrokerError(
                "connections with TLS (mqtts://) come with a later version: use mqtt://",
            ));
        }
        if !path.is_empty() {
            return Err(BrokerError(
                "an address with a path: give mqtt://HOST:PORT, and the topic with --topic",
            ));
        }
        Ok(Broker {
            host,
            port,
            login,
            topic: Broker::TOPIC.to_owned(),
            qos: 1,
            client_id: format!("wardflow-sim-{}", std::process::id()),
        })
    }

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn options(&self) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        options.set_keep_alive(Duration::from_secs(30));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        options
    }
}

/// An address that is none, and what to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerError(&'static str);

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BrokerError {}

/// What has become of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub published: u64,
    /// By the broker, at QoS 1.
    pub acknowledged: u64,
    /// By the broker as well: it may not let this client publish there, or not so much.
    pub refused: u64,
    /// The most by which a record was sent after it was due, seconds.
    pub behind: f64,
    /// Since the first record was due.
    pub seconds: f64,
}

/// Why publishing ended early.
#[derive(Debug)]
pub enum PublishError {
    /// There never was a connection.
    Unreachable { address: String, reason: String },
    /// The connection was lost and did not come back.
    Lost {
        address: String,
        reason: String,
        counts: Counts,
    },
    /// What the client does not take: a topic with wildcards, or an empty one.
    Topic { topic: String },
    /// No thread for the connection.
    Thread(std::io::Error),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Unreachable { address, reason } => write!(
                f,
                "no connection to an MQTT broker at {address} ({reason}): start one there (as mosquitto -p 1883), or check host, port and login"
            ),
            PublishError::Lost {
                address,
                reason,
                counts,
            } => write!(
                f,
                "the MQTT broker at {address} was lost ({reason}) and did not come back within {} s; {} records were published, {} acknowledged",
                PATIENCE.as_secs(),
                counts.published,
                counts.acknowledged
            ),
            PublishError::Topic { topic } => write!(
                f,
                "{topic:?} is no topic to publish to: give one without + and #, as {}",
                Broker::TOPIC
            ),
            PublishError::Thread(source) => write!(
                f,
                "no thread for the connection could be started ({source}): try again when the machine is less busy"
            ),
        }
    }
}

impl std::error::Error for PublishError {}

/// Publishes the records, each when it is due, counted from the moment at which the connection stands. Ends when there are no more
/// and all are acknowledged (QoS 1) or sent (QoS 0), or soon after `stop` says so. `on_progress` is called several times a second.
/// To publish without a schedule give records that are due at once.
///
/// # Errors
/// No broker, or one that is lost for half a minute.
pub fn publish(
    records: impl Iterator<Item = Record>,
    broker: &Broker,
    stop: impl Fn() -> bool,
    mut on_progress: impl FnMut(&Counts),
) -> Result<Counts, PublishError> {
    if broker.topic.is_empty() || broker.topic.contains(['+', '#']) {
        return Err(PublishError::Topic {
            topic: broker.topic.clone(),
        });
    }
    let (client, connection) = Client::new(broker.options(), WAITING);
    let link = Arc::new(Link::default());
    let runner = Arc::clone(&link);
    // Not waited for: it ends by itself when this function has, at the latest after a try to connect.
    thread::Builder::new()
        .name("mqtt".into())
        .spawn(move || runner.run(connection))
        .map_err(PublishError::Thread)?;
    let mut publisher = Publisher {
        broker,
        client,
        link,
        counts: Counts::default(),
        shown: Instant::now(),
    };
    let done = publisher.publish(records, &stop, &mut on_progress);
    publisher.link.leave();
    let counts = publisher.count();
    done?;
    on_progress(&counts);
    Ok(counts)
}

struct Publisher<'a> {
    broker: &'a Broker,
    client: Client,
    link: Arc<Link>,
    counts: Counts,
    shown: Instant,
}

impl Publisher<'_> {
    fn publish(
        &mut self,
        records: impl Iterator<Item = Record>,
        stop: &impl Fn() -> bool,
        on_progress: &mut impl FnMut(&Counts),
    ) -> Result<(), PublishError> {
        while self.link.state() != State::Up {
            self.check()?;
            if stop() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        for record in records {
            let due = Duration::try_from_secs_f64(record.due).unwrap_or(Duration::MAX);
            loop {
                self.counts.seconds = start.elapsed().as_secs_f64();
                self.show(on_progress);
                if stop() {
                    return self.finish(start, &|| true, on_progress);
                }
                let wait = due.saturating_sub(start.elapsed());
                if wait.is_zero() {
                    break;
                }
                thread::sleep(wait.clamp(TICK, GLANCE));
            }
            if !self.send(record.payload.into(), stop, on_progress)? {
                return self.finish(start, &|| true, on_progress);
            }
            let late = start.elapsed().saturating_sub(due).as_secs_f64();
            self.counts.behind = self.counts.behind.max(late);
            self.counts.published += 1;
        }
        self.finish(start, stop, on_progress)
    }

    /// Hands a record to the client; false: stopped before it had room.
    fn send(
        &mut self,
        payload: Bytes,
        stop: &impl Fn() -> bool,
        on_progress: &mut impl FnMut(&Counts),
    ) -> Result<bool, PublishError> {
        let qos = if self.broker.qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        loop {
            if self
                .client
                .try_publish(&self.broker.topic, qos, false, payload.clone())
                .is_ok()
            {
                return Ok(true);
            }
            self.check()?;
            if stop() {
                return Ok(false);
            }
            self.show(on_progress);
            thread::sleep(FULL);
        }
    }

    /// Waits until all is acknowledged, or sent; after a stop not for long.
    fn finish(
        &mut self,
        start: Instant,
        stop: &dyn Fn() -> bool,
        on_progress: &mut impl FnMut(&Counts),
    ) -> Result<(), PublishError> {
        let mut stopped = None;
        let mut said = false;
        loop {
            let acknowledged =
                self.broker.qos == 0 || self.link.acknowledged() + self.link.refused() >= self.counts.published;
            if acknowledged && !said {
                said = self.client.try_disconnect().is_ok();
            }
            self.counts.seconds = start.elapsed().as_secs_f64();
            self.show(on_progress);
            if said && self.link.state() == State::Left {
                return Ok(());
            }
            self.check()?;
            if stopped.is_none() && stop() {
                stopped = Some(Instant::now());
            }
            if stopped.is_some_and(|since: Instant| since.elapsed() > GRACE) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn check(&mut self) -> Result<(), PublishError> {
        let address = || self.broker.address();
        match self.link.state() {
            State::New | State::Up | State::Left => Ok(()),
            State::Unreachable(reason) => Err(PublishError::Unreachable {
                address: address(),
                reason,
            }),
            State::Lost { since, reason } if since.elapsed() > PATIENCE => Err(PublishError::Lost {
                address: address(),
                reason,
                counts: self.count(),
            }),
            State::Lost { .. } => Ok(()),
        }
    }

    fn count(&mut self) -> Counts {
        self.counts.acknowledged = self.link.acknowledged();
        self.counts.refused = self.link.refused();
        self.counts
    }

    fn show(&mut self, on_progress: &mut impl FnMut(&Counts)) {
        if self.shown.elapsed() >= Duration::from_millis(100) {
            self.shown = Instant::now();
            on_progress(&self.count());
        }
    }
}
