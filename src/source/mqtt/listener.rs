//! The thread that talks with the broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use tokio::time::sleep;

use super::{Connectivity, Message, MqttError, Weight, Wishes, told};
use crate::mqtt::{Connection, Endpoint, Grant, Incoming, LinkError, Opening, Pause, Publication, Welcome};
use crate::observe::{grouped, wall_clock};
use crate::record::EventTime;

/// Bytes of messages that wait for the consumer at most; one message more may come.
const AHEAD_BYTES: usize = 64 << 20;
/// How long to sleep before looking again whether the consumer has made room.
const ROOM: Duration = Duration::from_millis(2);
/// How long to rest at once: whoever wants to end waits for it, and pings do.
const REST: Duration = Duration::from_millis(50);
/// How often time is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long messages may wait for the consumer before the user is told.
const HELD: Duration = Duration::from_secs(5);
/// How long the answer to a subscription may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the session at the broker shall be subscribed to.
pub(super) struct Topics {
    pub(super) wanted: Vec<String>,
    /// And what it may be and shall not.
    pub(super) gone: Vec<String>,
    pub(super) qos: u8,
    pub(super) retained: bool,
    /// Below it nothing is a record.
    pub(super) alerts: String,
}

pub(super) struct Listener<T> {
    endpoint: Endpoint,
    opening: Opening,
    topics: Topics,
    tell: T,
    wishes: Arc<Wishes>,
    /// Dropped when nothing more comes.
    sender: Option<Sender<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// One for which there was no room.
    left_over: Option<Message>,
    /// Until the broker has agreed once: whom to tell.
    agreed: Option<Sender<Result<bool, MqttError>>>,
    /// Numbers and packet ids of what came over this connection, oldest first.
    unacknowledged: VecDeque<(u64, u16, Instant)>,
    number: u64,
    last: EventTime,
    last_topic: Arc<str>,
    /// Whether the session at the broker holds our subscriptions.
    subscribed: bool,
    /// What the user was told last, so that nothing is told twice.
    lost: Option<String>,
    held_since: Option<Instant>,
    told_held: bool,
    terms: Vec<String>,
    told_retained: bool,
}

/// One connection's own.
struct Link {
    connection: Connection,
    welcome: Welcome,
    keep_alive: Duration,
    pinged: Option<Instant>,
    next_ping: Instant,
    asked: Option<Instant>,
}

/// Why the listener stopped talking.
enum End {
    Left,
    Lost(LinkError),
    Refused(String),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> End {
        End::Lost(error)
    }
}

impl<T: Fn(Connectivity)> Listener<T> {
    pub(super) fn new(
        endpoint: Endpoint,
        opening: Opening,
        topics: Topics,
        sender: Sender<Message>,
        agreed: Sender<Result<bool, MqttError>>,
        wishes: Arc<Wishes>,
        tell: T,
    ) -> Listener<T> {
        Listener {
            endpoint,
            opening,
            topics,
            tell,
            wishes,
            sender: Some(sender),
            waiting_bytes: Arc::default(),
            left_over: None,
            agreed: Some(agreed),
            unacknowledged: VecDeque::new(),
            number: 0,
            last: EventTime::MIN,
            last_topic: Arc::from(""),
            subscribed: false,
            lost: None,
            held_since: None,
            told_held: false,
            terms: Vec::new(),
            told_retained: false,
        }
    }

    /// Until the consumer leaves, or the broker refuses from the start.
    pub(super) async fn listen(mut self) {
        let mut pause = Pause::default();
        loop {
            let begun = Instant::now();
            let why = match self.converse().await {
                End::Left => return,
                End::Lost(error) => told(&self.endpoint.address, &error),
                End::Refused(why) => format!("{}: {why}", self.endpoint.address),
            };
            // Packet ids hold for one connection: what was not acknowledged comes again.
            self.unacknowledged.clear();
            if let Some(agreed) = self.agreed.take() {
                let _ = agreed.send(Err(MqttError(why))); // the one who asked has waited
                return;
            }
            if self.stopping() {
                self.deliver_rest().await;
                return;
            }
            if self.lost.as_ref() != Some(&why) {
                self.lost = Some(why.clone());
                (self.tell)(Connectivity::Lost(why));
            }
            if !self.rest(pause.after(begun.elapsed())).await {
                self.deliver_rest().await;
                return;
            }
        }
    }

    /// Sleeps; false: the consumer wants to stop.
    async fn rest(&mut self, pause: Duration) -> bool {
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return !self.stopping(),
                () = self.wishes.changed.notified() => if self.stopping() { return false },
            }
        }
    }

    /// The message that has been received and not yet handed over, before nothing more comes.
    async fn deliver_rest(&mut self) {
        while !self.has_room() && !self.leaving() {
            sleep(ROOM).await;
        }
        self.sender = None;
    }

    /// One connection, from its start to its end.
    async fn converse(&mut self) -> End {
        let mut link = match self.connect().await {
            Ok(link) => link,
            Err(end) => return end,
        };
        loop {
            match self.turn(&mut link).await {
                Ok(false) => {}
                Ok(true) => {
                    link.connection.leave().await;
                    return End::Left;
                }
                Err(end) => return end,
            }
        }
    }

    async fn connect(&mut self) -> Result<Link, End> {
        let (connection, welcome) = {
            let opened = Connection::open(&self.endpoint, &self.opening);
            tokio::pin!(opened);
            loop {
                tokio::select! {
                    opened = &mut opened => break opened?,
                    () = self.wishes.changed.notified() => if self.stopping() { return Err(LinkError::Closed.into()) },
                }
            }
        };
        let now = Instant::now();
        let keep_alive = match welcome.keep_alive {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.into()),
            _ => self.opening.keep_alive,
        };
        let mut link = Link {
            connection,
            welcome,
            keep_alive,
            pinged: None,
            next_ping: now + keep_alive / 2,
            asked: None,
        };
        self.read_terms(&link.welcome)?;
        if !link.welcome.session_present && self.subscribed && !self.topics.wanted.is_empty() {
            self.subscribed = false;
            self.notice(
                "the broker has forgotten this client's session: what was published while the connection was down may be lost; see the broker's persistence and source.session_expiry".into(),
            );
        }
        // A broker that was started anew may have kept the session without its shared subscriptions, as Mosquitto 2.0 does.
        let shares = self.topics.wanted.iter().any(|topic| topic.starts_with("$share/"));
        match self.subscribed {
            true if !shares => self.connected(),
            _ => {
                let Topics {
                    wanted,
                    gone,
                    qos,
                    retained,
                    ..
                } = &self.topics;
                if !wanted.is_empty() {
                    link.connection.subscribe(1, wanted, *qos, *retained)?;
                    link.asked = Some(now);
                }
                // Behind it: what comes in between may come twice, and is a copy then.
                if link.welcome.session_present && !gone.is_empty() {
                    link.connection.unsubscribe(2, gone)?;
                }
                if wanted.is_empty() {
                    self.stand(link.welcome.session_present);
                }
            }
        }
        Ok(link)
    }

    /// Takes what has come, acknowledges what is safe, and waits for more; true: all is done.
    async fn turn(&mut self, link: &mut Link) -> Result<bool, End> {
        let stopping = self.stopping();
        let mut room = self.has_room();
        while room && !stopping {
            match link.connection.received()? {
                Some(incoming) => self.take(link, incoming)?,
                None => break,
            }
            room = self.has_room();
        }
        self.acknowledge(&mut link.connection);
        if stopping && room {
            self.sender = None;
        }
        if self.leaving() || (stopping && room && self.unacknowledged.is_empty()) {
            return Ok(true);
        }
        self.watch_room(room);
        let reading = room && !stopping;
        let rest = self.wishes.rest().filter(|_| reading);
        if let Some(rest) = rest
            && self.wishes.nothing_comes()
            && link.connection.has_written()
        {
            // The whole thread, which has nothing else to do: to wait as the others do would be to wake up with each packet that comes.
            thread::sleep(rest.min(REST));
            self.tick(link, reading)?;
            return Ok(false);
        }
        tokio::select! {
            advanced = link.connection.advance(reading && rest.is_none()) => advanced?,
            () = sleep(rest.unwrap_or_default()), if rest.is_some() => {}
            () = self.wishes.changed.notified() => {}
            () = sleep(ROOM), if !room => {}
            () = sleep(TICK.min(link.keep_alive / 4)) => {}
        }
        self.tick(link, reading)?;
        Ok(false)
    }

    fn take(&mut self, link: &mut Link, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Publication(publication) => self.take_publication(publication),
            Incoming::Subscribed(grants) => {
                link.asked = None;
                self.granted(&grants)?;
                self.stand(link.welcome.session_present);
            }
            Incoming::Welcome(_) | Incoming::Acknowledged(..) | Incoming::Other => {}
        }
        Ok(())
    }

    /// The broker has what it needs to know of this session.
    fn stand(&mut self, resumed: bool) {
        self.subscribed = true;
        match self.agreed.take() {
            Some(agreed) => drop(agreed.send(Ok(resumed))),
            None => self.connected(),
        }
    }

    fn take_publication(&mut self, publication: Publication) {
        let Publication {
            topic,
            payload,
            length,
            id,
            qos,
            retain,
            duplicate,
        } = publication;
        let is_alert = !self.topics.alerts.is_empty() && is_below(&topic, &self.topics.alerts);
        let taken = (self.topics.retained || !retain) && !is_alert;
        if taken {
            self.number += 1;
        } else if !is_alert && !self.told_retained {
            self.told_retained = true;
            self.notice("the broker sends retained messages, which are old; they are not taken (source.retained = true takes them)".into());
        }
        if qos > 0 {
            self.unacknowledged.push_back((self.number, id, Instant::now()));
        }
        if !taken {
            return;
        }
        if *self.last_topic != *topic {
            self.last_topic = Arc::from(topic);
        }
        let message = Message {
            number: self.number,
            received: self.now(),
            topic: Arc::clone(&self.last_topic),
            _weight: Weight::new(&self.waiting_bytes, payload.len()),
            payload,
            length,
            qos,
            retain,
            duplicate,
        };
        self.left_over = Some(message);
    }

    /// Hands over what is left over; whether there is room for more.
    fn has_room(&mut self) -> bool {
        if let Some(message) = self.left_over.take() {
            let sent = self.sender.as_ref().map(|sender| sender.try_send(message));
            if let Some(Err(TrySendError::Full(message))) = sent {
                self.left_over = Some(message);
                return false;
            }
        }
        self.waiting_bytes.load(Ordering::Relaxed) < AHEAD_BYTES
    }

    fn acknowledge(&mut self, connection: &mut Connection) {
        let through = self.wishes.through.load(Ordering::Acquire);
        while let Some((number, id, _)) = self.unacknowledged.front()
            && *number <= through
        {
            connection.acknowledge(*id);
            self.unacknowledged.pop_front();
        }
    }

    /// Tells the user once when the consumer is too slow.
    fn watch_room(&mut self, room: bool) {
        if room {
            self.held_since = None;
        } else {
            self.held_since.get_or_insert_with(Instant::now);
        }
        let oldest = self.unacknowledged.front().map(|(.., since)| *since);
        let since = oldest.into_iter().chain(self.held_since).min();
        if since.is_none_or(|since| since.elapsed() < HELD) {
            self.told_held &= since.is_some();
        } else if !self.told_held {
            self.told_held = true;
            self.notice(format!(
                "the broker is held back: {} messages wait to be stored for more than {} s; brokers drop what their queue does not hold (Mosquitto: max_queued_messages, 1,000 by default)",
                grouped(self.unacknowledged.len() as u64),
                HELD.as_secs()
            ));
        }
    }

    /// Pings, and notices when nobody answers.
    fn tick(&mut self, link: &mut Link, reading: bool) -> Result<(), End> {
        let now = Instant::now();
        if link.asked.is_some_and(|since| now - since > PATIENCE) {
            return Err(LinkError::Silent.into());
        }
        // What has not been read holds no answer.
        if !reading || link.pinged.is_some_and(|since| link.connection.heard() > since) {
            link.pinged = None;
        }
        if now < link.next_ping {
            return Ok(());
        }
        if link.pinged.is_some() {
            return Err(LinkError::Silent.into());
        }
        link.connection.ping();
        link.pinged = reading.then_some(now);
        link.next_ping = now + link.keep_alive / 2;
        Ok(())
    }

    /// What the broker does otherwise than was asked.
    fn read_terms(&mut self, welcome: &Welcome) -> Result<(), End> {
        let wildcard = |topic: &&String| topic.contains(['+', '#']);
        if let Some(topic) = self
            .topics
            .wanted
            .iter()
            .find(wildcard)
            .filter(|_| welcome.no_wildcards)
        {
            let why = format!("the broker takes no wildcards, as in {topic}; name each topic in source.topics");
            return Err(End::Refused(why));
        }
        let shared = |topic: &&String| topic.starts_with("$share/");
        if let Some(topic) = self.topics.wanted.iter().find(shared).filter(|_| welcome.no_sharing) {
            let why = format!(
                "the broker knows no shared subscriptions, as {topic}; set source.sessions = 1 and name no $share/ in source.topics"
            );
            return Err(End::Refused(why));
        }
        if welcome.maximum_qos == Some(0) && self.topics.qos > 0 {
            self.term("the broker offers QoS 0 only: records may be lost on the way".into());
        }
        let asked = self.opening.session.map_or(0, |kept| kept.as_secs());
        if let Some(kept) = welcome.session_expiry.filter(|kept| u64::from(*kept) < asked) {
            self.term(format!(
                "the broker keeps the session for {kept} s only while this client is away (source.session_expiry asks for {asked} s)"
            ));
        }
        Ok(())
    }

    fn granted(&mut self, grants: &[Grant]) -> Result<(), End> {
        for (i, grant) in grants.iter().enumerate() {
            let topic = self.topics.wanted.get(i).cloned().unwrap_or_default();
            match grant {
                Grant::Refused(why) => {
                    return Err(End::Refused(format!(
                        "the broker refuses the topic {topic} ({why}); check its access rules or source.topics"
                    )));
                }
                Grant::Qos(granted) if *granted < self.topics.qos => self.term(format!(
                    "the broker grants QoS {granted} only for {topic}: records may be lost on the way"
                )),
                Grant::Qos(_) => {}
            }
        }
        Ok(())
    }

    /// A term of the broker: told once, not at every connection.
    fn term(&mut self, term: String) {
        if !self.terms.contains(&term) {
            self.terms.push(term.clone());
            self.notice(term);
        }
    }

    fn notice(&self, what: String) {
        (self.tell)(Connectivity::Notice(format!("{}: {what}", self.endpoint.address)));
    }

    fn connected(&mut self) {
        self.lost = None;
        (self.tell)(Connectivity::Connected);
    }

    fn stopping(&self) -> bool {
        self.wishes.stopping.load(Ordering::Acquire)
    }

    fn leaving(&self) -> bool {
        self.wishes.leaving.load(Ordering::Acquire)
    }

    /// The time now, never behind an earlier one: the system's clock may be set back.
    fn now(&mut self) -> EventTime {
        self.last = self.last.max(wall_clock());
        self.last
    }
}

/// Whether a topic is one below `above`.
fn is_below(topic: &str, above: &str) -> bool {
    topic.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
