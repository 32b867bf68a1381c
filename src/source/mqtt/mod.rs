//! A subscription at an MQTT broker.
//!
//! In: the `[source]` settings. Out: messages in the order of their arrival, with running numbers and the time they were received. The
//! broker keeps a message until it is acknowledged, and the consumer says when: [`Acknowledger::acknowledge`]. A lost connection is
//! taken up again, with pauses that grow to some seconds; what was not acknowledged over it comes again, under a new number.
//!
//! What the consumer leaves waiting is bounded by count and size; behind that, nothing more is read, while pings keep the connection.

mod asked;
mod listener;

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use tokio::sync::Notify;

use crate::mqtt::{Advice, Certificates, Endpoint, LinkError, Opening};
use crate::record::EventTime;
use crate::settings::{self, BrokerAddress};
pub use asked::Asked;
use listener::{Listener, Topics};

/// Messages that wait for the consumer at most.
const AHEAD: usize = 65_536;
/// Room for a topic and properties beside the largest record.
const ENVELOPE: usize = 128 << 10;
/// How long the last acknowledgements may take on their way.
const FAREWELL: Duration = Duration::from_secs(3);
const ADVICE: Advice = Advice {
    url: "source.url",
    login: "source.user and source.password_file",
    ca: "source.ca",
    certificate: "source.certificate and source.key",
    client_id: "source.client_id",
    protocol: "source.protocol",
};

/// A message as it came.
pub struct Message {
    /// 1 for the first of this subscription, and one more for each; what comes again gets a new one.
    pub number: u64,
    /// Never before the message before it.
    pub received: EventTime,
    pub topic: Arc<str>,
    /// Of a message that is far too long, its beginning.
    pub payload: bytes::Bytes,
    /// Whole length of the payload.
    pub length: u64,
    /// Quality of service with which it came: 0 or 1.
    pub qos: u8,
    /// Whether the broker had kept it for new subscribers.
    pub retain: bool,
    /// Whether the broker says that it may have sent it before. One that comes again does not always say so.
    pub duplicate: bool,
    /// Counts it until it is dropped.
    _weight: Weight,
}

/// Bytes of messages that wait, and a message's part in them.
struct Weight {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Weight {
    fn new(all: &Arc<AtomicUsize>, own: usize) -> Weight {
        all.fetch_add(own, Ordering::Relaxed);
        let all = Arc::clone(all);
        Weight { all, own }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// How the connection fares, for the user. Each text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connectivity {
    Connected,
    /// Why.
    Lost(String),
    /// The connection stands, and something about it is worth knowing.
    Notice(String),
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

/// What the consumer wants of the listener.
struct Wishes {
    /// Messages up to this number are safe.
    through: AtomicU64,
    /// Nothing more is to be received.
    stopping: AtomicBool,
    /// No more acknowledgements will come.
    leaving: AtomicBool,
    /// Until when nothing needs to be read, in microseconds from the beginning; and the number of the last message that will be safe
    /// before.
    rest: AtomicU64,
    rest_behind: AtomicU64,
    began: Instant,
    changed: Notify,
}

impl Wishes {
    fn new() -> Wishes {
        Wishes {
            through: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            rest: AtomicU64::new(0),
            rest_behind: AtomicU64::new(0),
            began: Instant::now(),
            changed: Notify::new(),
        }
    }

    /// Whether no acknowledgement is to be expected while nothing needs to be read.
    fn nothing_comes(&self) -> bool {
        self.through.load(Ordering::Acquire) >= self.rest_behind.load(Ordering::Relaxed)
    }

    /// How long nothing needs to be read.
    fn rest(&self) -> Option<Duration> {
        let until = Duration::from_micros(self.rest.load(Ordering::Relaxed));
        until.checked_sub(self.began.elapsed()).filter(|rest| !rest.is_zero())
    }
}

/// Says which messages are safe. All of them say it of one subscription.
#[derive(Clone)]
pub struct Acknowledger(Arc<Wishes>);

impl Acknowledger {
    /// Messages up to this number are safe: those of the present connection are acknowledged to the broker, in order. The others come
    /// again. Returns at once.
    pub fn acknowledge(&self, through: u64) {
        self.0.through.fetch_max(through, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// A running subscription.
pub struct Subscription {
    messages: Receiver<Message>,
    wishes: Arc<Wishes>,
    /// Hangs up when the listener ends.
    ended: Receiver<Infallible>,
    resumed: bool,
}

impl Subscription {
    /// What has arrived; ends once the subscription has been stopped and everything is taken.
    pub fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }

    /// Nothing that comes before then is waited for, once messages up to this number are acknowledged: reading it in one go saves a
    /// wake-up for every few records. Takes effect with the next record or acknowledgement.
    pub fn rest_until(&self, until: Instant, behind: u64) {
        let until = until.saturating_duration_since(self.wishes.began);
        self.wishes.rest_behind.store(behind, Ordering::Relaxed);
        self.wishes.rest.store(until.as_micros() as u64, Ordering::Relaxed);
    }

    /// What acknowledges them.
    pub fn acknowledger(&self) -> Acknowledger {
        Acknowledger(Arc::clone(&self.wishes))
    }

    /// Whether the broker had kept the session of an earlier run: if not, what was published since then is not here.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Receives nothing more. What has been received can still be taken and acknowledged.
    pub fn stop(&self) {
        self.wishes.stopping.store(true, Ordering::Release);
        self.wishes.changed.notify_one();
    }

    /// Leaves the broker, behind all acknowledgements that were asked for; waits until they are with it, a few seconds at most.
    pub fn leave(&self) {
        self.hang_up();
        let _ = self.ended.recv_timeout(FAREWELL); // the broker may have gone itself
    }

    fn hang_up(&self) {
        self.wishes.stopping.store(true, Ordering::Release);
        self.wishes.leaving.store(true, Ordering::Release);
        self.wishes.changed.notify_one();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Takes up session number `session`, and waits until the broker has agreed. A session beyond `source.sessions`, of a run that had more, subscribes to
/// nothing more and takes what the broker still has for it. `gone` are topics that an earlier run has asked for and that shall come no more.
/// `tell` hears of every connection and loss from then on, and of terms of the broker that matter.
///
/// # Errors
/// A broker that cannot be reached, or that refuses the client or a topic.
pub fn subscribe(
    source: &settings::Source,
    session: usize,
    max_record_bytes: usize,
    gone: Vec<String>,
    tell: impl Fn(Connectivity) + Send + 'static,
) -> Result<Subscription, MqttError> {
    let endpoint = endpoint(source)?;
    let opening = Opening {
        client_id: source.client_id_of(session),
        keep_alive: source.keep_alive.into(),
        session: Some(source.session_expiry.into()),
        receive_maximum: source.receive_maximum,
        largest: max_record_bytes + ENVELOPE,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| MqttError(format!("no connection can be made on this machine ({e})")))?;
    let (sender, messages) = bounded(AHEAD);
    let (agreed, answer) = bounded(1);
    let (ending, ended) = bounded::<Infallible>(0);
    let wishes = Arc::new(Wishes::new());
    let topics = Topics {
        wanted: source.subscriptions_of(session),
        gone,
        qos: source.qos,
        retained: source.retained,
        alerts: source.alerts.clone(),
    };
    let listener = Listener::new(endpoint, opening, topics, sender, agreed, Arc::clone(&wishes), tell);
    thread::Builder::new()
        .name("mqtt".into())
        .spawn(move || {
            runtime.block_on(listener.listen());
            drop(ending);
        })
        .map_err(|e| MqttError(format!("no thread for the connection could be started ({e})")))?;
    match answer.recv() {
        Ok(Ok(resumed)) => Ok(Subscription {
            messages,
            wishes,
            ended,
            resumed,
        }),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(MqttError("the subscription ended before it began".into())),
    }
}

/// Where the broker is, with a login from the settings, else from the URL.
///
/// # Errors
/// A password file that cannot be read.
pub fn endpoint(source: &settings::Source) -> Result<Endpoint, MqttError> {
    let address: BrokerAddress = source
        .url
        .parse()
        .map_err(|why| MqttError(format!("source.url: {why}")))?;
    let (user, password) = address.login.clone().unwrap_or_default();
    let user = if source.user.is_empty() {
        user
    } else {
        source.user.clone()
    };
    let password = match (source.password.as_str(), source.password_file.as_str()) {
        ("", "") => password,
        ("", file) => {
            let text = fs::read_to_string(file)
                .map_err(|e| MqttError(format!("source.password_file: {file} cannot be read ({e})")))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        (given, _) => given.to_owned(),
    };
    let certificates = Certificates {
        ca: source.ca.clone(),
        certificate: source.certificate.clone(),
        key: source.key.clone(),
    };
    Ok(Endpoint {
        address,
        login: (!user.is_empty() || !password.is_empty()).then_some((user, password)),
        certificates,
        protocol: source.protocol,
    })
}

/// A failed connection in one line, with advice.
fn told(address: &BrokerAddress, error: &LinkError) -> String {
    format!("{address}: {}", error.told(&ADVICE))
}
