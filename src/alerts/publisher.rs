//! Publishes alerts at QoS 1, each to the topic of its manufacturer.
//!
//! A connection is a session of its own: what was not acknowledged over it is published again over the next one, in the same order.
//! Only so many alerts are in memory as may be unacknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::courier::{Broker, Orders};
use super::outbox::{Destination, Letter, Letters, Outbox, OutboxError};
use crate::mqtt::{Advice, Connection, Incoming, LinkError, Opening, Pause, Publication, Welcome};

/// Publications without an acknowledgement, at most; a broker may take less.
const IN_FLIGHT: usize = 256;
/// Of a broker's own publications nothing is kept: it has no reason to send any.
const LARGEST: usize = 1 << 16;
/// How long an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_secs(1);
const ADVICE: Advice = Advice {
    url: "alerts.url",
    login: "alerts.url, or those of [source]",
    ca: "source.ca",
    certificate: "source.certificate and source.key",
    client_id: "source.client_id (alerts add \"-alerts\")",
    protocol: "source.protocol",
};

pub(super) struct Publisher<T> {
    broker: Broker,
    opening: Opening,
    outbox: Arc<Outbox>,
    letters: Letters,
    orders: Orders,
    tell: T,
    /// Read from the outbox, and not all confirmed up to them.
    sent: VecDeque<Sent>,
    /// Read, and not sent for want of room.
    next: VecDeque<Letter>,
    last_id: u16,
    /// What the user was told last, so that nothing is told twice.
    lost: Option<String>,
}

struct Sent {
    letter: Letter,
    state: State,
}

enum State {
    /// Not over this connection.
    Waiting,
    /// Under this packet id.
    UnderWay(u16, Instant),
    Confirmed,
}

/// Why there is no connection any more.
enum End {
    Left,
    Lost(String),
    Outbox(OutboxError),
}

impl From<OutboxError> for End {
    fn from(error: OutboxError) -> End {
        End::Outbox(error)
    }
}

/// One connection's own.
struct Link {
    connection: Connection,
    most: usize,
    pinged: Option<Instant>,
    next_ping: Instant,
}

impl<T: Fn(&str)> Publisher<T> {
    pub(super) fn new(broker: Broker, outbox: Arc<Outbox>, orders: Orders, tell: T) -> Publisher<T> {
        let opening = Opening {
            client_id: broker.client_id.clone(),
            keep_alive: broker.keep_alive,
            session: None,
            receive_maximum: 1,
            largest: LARGEST,
        };
        Publisher {
            opening,
            letters: outbox.letters(Destination::Broker),
            outbox,
            broker,
            orders,
            tell,
            sent: VecDeque::new(),
            next: VecDeque::new(),
            last_id: 0,
            lost: None,
        }
    }

    /// Until it is told to leave.
    pub(super) async fn publish(mut self) -> Result<(), OutboxError> {
        let mut pause = Pause::default();
        loop {
            let begun = Instant::now();
            let why = match self.converse().await {
                End::Left => return Ok(()),
                End::Outbox(error) => return Err(error),
                End::Lost(why) => format!("alerts: {}: {why}", self.broker.endpoint.address),
            };
            if self.lost.as_ref() != Some(&why) {
                (self.tell)(&format!("{why}; alerts wait in the state folder"));
                self.lost = Some(why);
            }
            // What has come in the meantime does not shorten the pause.
            let until = tokio::time::Instant::now() + pause.after(begun.elapsed());
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    () = self.outbox.come(Destination::Broker) => if self.orders.leave() { return Ok(()) },
                }
            }
        }
    }

    /// One connection, from its start to its end.
    async fn converse(&mut self) -> End {
        match self.connect().await {
            Err(end) => end,
            Ok(mut link) => loop {
                match self.turn(&mut link).await {
                    Ok(()) if self.orders.leave() => {
                        link.connection.leave().await;
                        return End::Left;
                    }
                    Ok(()) => {}
                    Err(end) => return end,
                }
            },
        }
    }

    fn lost(error: LinkError) -> End {
        End::Lost(error.told(&ADVICE))
    }

    async fn connect(&mut self) -> Result<Link, End> {
        let (connection, welcome) = {
            let opened = Connection::open(&self.broker.endpoint, &self.opening);
            tokio::pin!(opened);
            loop {
                tokio::select! {
                    opened = &mut opened => break opened.map_err(Self::lost)?,
                    () = self.outbox.come(Destination::Broker) => if self.orders.leave() { return Err(End::Left) },
                }
            }
        };
        if welcome.maximum_qos == Some(0) {
            let why = "the broker takes QoS 0 only, over which alerts may get lost; name another one in alerts.url";
            return Err(End::Lost(why.into()));
        }
        for sent in &mut self.sent {
            if let State::UnderWay(..) = sent.state {
                sent.state = State::Waiting;
            }
        }
        let Welcome {
            keep_alive,
            receive_maximum,
            ..
        } = welcome;
        if let Some(seconds) = keep_alive.filter(|seconds| *seconds > 0) {
            self.broker.keep_alive = Duration::from_secs(seconds.into());
        }
        Ok(Link {
            connection,
            most: receive_maximum.map_or(IN_FLIGHT, |most| IN_FLIGHT.min(most.into())),
            pinged: None,
            next_ping: Instant::now() + self.broker.keep_alive / 2,
        })
    }

    /// Takes what has come, publishes what may be, and waits for more.
    async fn turn(&mut self, link: &mut Link) -> Result<(), End> {
        while let Some(incoming) = link.connection.received().map_err(Self::lost)? {
            if let Incoming::Acknowledged(id, taken) = incoming {
                self.acknowledged(id, taken)?;
            }
        }
        self.confirm()?;
        self.send(link)?;
        tokio::select! {
            advanced = link.connection.advance(true) => advanced.map_err(Self::lost)?,
            () = self.outbox.come(Destination::Broker) => {}
            () = sleep(TICK.min(self.broker.keep_alive / 4)) => {}
        }
        self.tick(link)
    }

    fn acknowledged(&mut self, id: u16, taken: Result<(), String>) -> Result<(), End> {
        let is_it = |sent: &&mut Sent| matches!(sent.state, State::UnderWay(of, _) if of == id);
        let Some(sent) = self.sent.iter_mut().find(is_it) else {
            return Ok(());
        };
        match taken {
            Ok(()) => {
                sent.state = State::Confirmed;
                if self.lost.take().is_some() {
                    (self.tell)(&format!("alerts: {}: taken again", self.broker.endpoint.address));
                }
                Ok(())
            }
            Err(why) => Err(End::Lost(format!(
                "the broker refuses alerts below {} ({why}); let this user publish there, or set alerts.topic",
                self.broker.topic
            ))),
        }
    }

    /// Notes what is confirmed without a gap.
    fn confirm(&mut self) -> Result<(), OutboxError> {
        let mut confirmed = None;
        let mut count = 0;
        while let Some(sent) = self.sent.pop_front_if(|sent| matches!(sent.state, State::Confirmed)) {
            confirmed = Some(sent.letter.place);
            count += 1;
        }
        confirmed.map_or(Ok(()), |upto| self.outbox.confirm(Destination::Broker, upto, count))
    }

    fn send(&mut self, link: &mut Link) -> Result<(), End> {
        while self.sent.len() < link.most {
            if self.next.is_empty() {
                self.next.extend(self.letters.next()?);
            }
            let Some(letter) = self.next.pop_front() else { break };
            let state = State::Waiting;
            self.sent.push_back(Sent { letter, state });
        }
        let waiting = |sent: &&mut Sent| matches!(sent.state, State::Waiting);
        // Only so many are under way as this broker takes: an earlier one may have taken more.
        for sent in self.sent.iter_mut().take(link.most).filter(waiting) {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let Letter { level, json, .. } = &sent.letter;
            let publication = Publication {
                topic: format!("{}/{level}", self.broker.topic),
                payload: json.clone().into(),
                length: json.len() as u64,
                id: self.last_id,
                qos: 1,
                retain: false,
                duplicate: false,
            };
            link.connection.publish(&publication).map_err(Self::lost)?;
            sent.state = State::UnderWay(self.last_id, Instant::now());
        }
        Ok(())
    }

    /// Pings, and notices when nobody answers.
    fn tick(&mut self, link: &mut Link) -> Result<(), End> {
        let now = Instant::now();
        let is_late = |sent: &Sent| matches!(sent.state, State::UnderWay(_, since) if now - since > PATIENCE);
        if self.sent.front().is_some_and(is_late) {
            return Err(Self::lost(LinkError::Silent));
        }
        if link.pinged.is_some_and(|since| link.connection.heard() > since) {
            link.pinged = None;
        }
        if now < link.next_ping {
            return Ok(());
        }
        if link.pinged.is_some() {
            return Err(Self::lost(LinkError::Silent));
        }
        link.connection.ping();
        link.pinged = Some(now);
        link.next_ping = now + self.broker.keep_alive / 2;
        Ok(())
    }
}
