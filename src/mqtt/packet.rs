//! Packets of both versions of MQTT in one form, as far as a subscriber needs them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes as old;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes as new;
use rumqttc::v5::mqttbytes::v5;

use super::LinkError;
use super::connection::{Endpoint, Opening};
use crate::settings::Protocol;

/// The type of a publication: in the upper half of a packet's first byte.
const PUBLISH: u8 = 3;
/// The type of the broker's good-bye.
const DISCONNECT: u8 = 14;

/// What comes from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Welcome(Welcome),
    /// For each filter.
    Subscribed(Vec<Grant>),
    Publication(Publication),
    /// Anything that says no more than that the broker is there.
    Other,
}

/// The broker's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Whether it knows the client's session.
    pub session_present: bool,
    pub maximum_qos: Option<u8>,
    /// Seconds, where it keeps the session for another time than was asked for.
    pub session_expiry: Option<u32>,
    /// Seconds, where it wants another.
    pub keep_alive: Option<u16>,
    pub no_wildcards: bool,
    pub no_sharing: bool,
}

/// The answer to a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Qos(u8),
    Refused(String),
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    pub topic: String,
    /// Cut, if it was too long.
    pub payload: Bytes,
    /// Its whole length.
    pub length: u64,
    /// Of this connection only; 0 at quality of service 0.
    pub id: u16,
    pub qos: u8,
    pub retain: bool,
    pub duplicate: bool,
}

/// Without the payload.
impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({}, {} bytes)", self.id, self.length)
    }
}

/// Cuts bytes into packets.
pub(super) struct Decoder {
    protocol: Protocol,
    largest: usize,
    /// A publication that was cut, and its bytes that are still to come.
    cut: Option<(Publication, u64)>,
}

impl Decoder {
    /// Of a publication beyond `largest` bytes only so many are kept.
    pub(super) fn new(protocol: Protocol, largest: usize) -> Decoder {
        Decoder {
            protocol,
            largest,
            cut: None,
        }
    }

    pub(super) fn next(&mut self, inbox: &mut BytesMut) -> Result<Option<Incoming>, LinkError> {
        if let Some((publication, left)) = self.cut.take() {
            let gone = left.min(inbox.len() as u64);
            inbox.advance(gone as usize);
            if gone == left {
                return Ok(Some(Incoming::Publication(publication)));
            }
            self.cut = Some((publication, left - gone));
            return Ok(None);
        }
        let Some((header, length)) = frame(inbox)? else {
            return Ok(None);
        };
        if length <= self.largest {
            return match inbox.len() >= header + length {
                true => self.read(inbox).map(Some),
                false => Ok(None),
            };
        }
        if inbox[0] >> 4 != PUBLISH {
            return Err(LinkError::NotMqtt(format!("a packet of {length} bytes")));
        }
        if inbox.len() < header + self.largest {
            return Ok(None);
        }
        // What is kept, as a packet of its own.
        let mut kept = BytesMut::with_capacity(self.largest + 5);
        kept.put_u8(inbox[0]);
        put_length(&mut kept, self.largest);
        kept.extend_from_slice(&inbox[header..header + self.largest]);
        inbox.advance(header + self.largest);
        let left = (length - self.largest) as u64;
        match self.read(&mut kept)? {
            Incoming::Publication(mut publication) => {
                publication.length += left;
                self.cut = Some((publication, left));
                self.next(inbox)
            }
            _ => Ok(Some(Incoming::Other)), // not reached: its type was looked at
        }
    }

    fn read(&self, packet: &mut BytesMut) -> Result<Incoming, LinkError> {
        match self.protocol {
            Protocol::V5 => read_v5(packet),
            Protocol::V3 => read_v3(packet),
        }
    }
}

/// Lengths of a packet's fixed header and of what follows it.
fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, LinkError> {
    let mut length = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 2, length)));
        }
    }
    match bytes.len() {
        0..5 => Ok(None),
        _ => Err(LinkError::NotMqtt("a length without an end".into())),
    }
}

fn put_length(bytes: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        bytes.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.put_u8(length as u8);
}

fn read_v5(packet: &mut BytesMut) -> Result<Incoming, LinkError> {
    let malformed = |e: new::Error| LinkError::NotMqtt(e.to_string());
    // An older broker answers the greeting in its own form: two bytes.
    if packet.len() == 4 && packet[0] == 0x20 {
        return Err(LinkError::Version);
    }
    // rumqttc wants properties in it, which brokers leave out.
    if packet[0] >> 4 == DISCONNECT {
        let reason = match frame(packet)? {
            Some((header, 1..)) => packet[header],
            _ => 0,
        };
        return Err(ended(reason));
    }
    Ok(match v5::Packet::read(packet, None).map_err(malformed)? {
        v5::Packet::ConnAck(answer) => Incoming::Welcome(welcome(answer)?),
        v5::Packet::SubAck(answer) => {
            let grants = answer.return_codes.iter().map(|code| match code {
                v5::SubscribeReasonCode::Success(qos) => Grant::Qos(*qos as u8),
                refused => Grant::Refused(format!("{refused:?}")),
            });
            Incoming::Subscribed(grants.collect())
        }
        v5::Packet::Publish(publish) => Incoming::Publication(Publication {
            topic: text(&publish.topic)?,
            length: publish.payload.len() as u64,
            payload: publish.payload,
            id: publish.pkid,
            qos: publish.qos as u8,
            retain: publish.retain,
            duplicate: publish.dup,
        }),
        _ => Incoming::Other,
    })
}

/// The broker's good-bye.
fn ended(reason: u8) -> LinkError {
    use v5::DisconnectReasonCode as Code;
    match Code::try_from(reason) {
        Ok(Code::NormalDisconnection) => LinkError::Closed,
        Ok(Code::SessionTakenOver) => LinkError::TakenOver,
        Ok(known) => LinkError::Refused(format!("{known:?}")),
        Err(_) => LinkError::Refused(format!("reason {reason}")),
    }
}

fn welcome(answer: v5::ConnAck) -> Result<Welcome, LinkError> {
    use v5::ConnectReturnCode as Code;
    match answer.code {
        Code::Success => {}
        Code::BadUserNamePassword | Code::NotAuthorized => return Err(LinkError::Login),
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => return Err(LinkError::Version),
        Code::BadClientId | Code::ClientIdentifierNotValid => return Err(LinkError::ClientId),
        other => return Err(LinkError::Refused(format!("{other:?}"))),
    }
    let session_present = answer.session_present;
    let Some(terms) = answer.properties else {
        return Ok(Welcome {
            session_present,
            ..Welcome::default()
        });
    };
    Ok(Welcome {
        session_present,
        maximum_qos: terms.max_qos,
        session_expiry: terms.session_expiry_interval,
        keep_alive: terms.server_keep_alive,
        no_wildcards: terms.wildcard_subscription_available == Some(0),
        no_sharing: terms.shared_subscription_available == Some(0),
    })
}

fn read_v3(packet: &mut BytesMut) -> Result<Incoming, LinkError> {
    let malformed = |e: old::Error| LinkError::NotMqtt(e.to_string());
    Ok(match v4::Packet::read(packet, usize::MAX).map_err(malformed)? {
        v4::Packet::ConnAck(answer) => {
            use v4::ConnectReturnCode as Code;
            match answer.code {
                Code::Success => Incoming::Welcome(Welcome {
                    session_present: answer.session_present,
                    ..Welcome::default()
                }),
                Code::BadUserNamePassword | Code::NotAuthorized => return Err(LinkError::Login),
                Code::RefusedProtocolVersion => return Err(LinkError::Version),
                Code::BadClientId => return Err(LinkError::ClientId),
                other => return Err(LinkError::Refused(format!("{other:?}"))),
            }
        }
        v4::Packet::SubAck(answer) => {
            let grants = answer.return_codes.iter().map(|code| match code {
                v4::SubscribeReasonCode::Success(qos) => Grant::Qos(*qos as u8),
                v4::SubscribeReasonCode::Failure => Grant::Refused("Failure".into()),
            });
            Incoming::Subscribed(grants.collect())
        }
        v4::Packet::Publish(publish) => Incoming::Publication(Publication {
            topic: publish.topic,
            length: publish.payload.len() as u64,
            payload: publish.payload,
            id: publish.pkid,
            qos: publish.qos as u8,
            retain: publish.retain,
            duplicate: publish.dup,
        }),
        v4::Packet::Disconnect => return Err(LinkError::Closed),
        _ => Incoming::Other,
    })
}

fn text(topic: &Bytes) -> Result<String, LinkError> {
    String::from_utf8(topic.to_vec()).map_err(|_| LinkError::NotMqtt("a topic that is not UTF-8".into()))
}

/// A packet that cannot be written: something in it is longer than MQTT can say.
fn too_long(what: impl std::fmt::Display) -> LinkError {
    LinkError::NotMqtt(what.to_string())
}

pub(super) fn write_connect(bytes: &mut BytesMut, endpoint: &Endpoint, opening: &Opening) -> Result<(), LinkError> {
    let keep_alive = u16::try_from(opening.keep_alive.as_secs()).unwrap_or(u16::MAX);
    let client_id = opening.client_id.clone();
    let login = endpoint.login.clone();
    let written = match endpoint.protocol {
        Protocol::V5 => {
            let mut terms = v5::ConnectProperties::new();
            let session = opening
                .session
                .map(|kept| u32::try_from(kept.as_secs()).unwrap_or(u32::MAX));
            terms.session_expiry_interval = session;
            terms.receive_maximum = Some(opening.receive_maximum);
            let connect = v5::Connect {
                keep_alive,
                client_id,
                clean_start: opening.session.is_none(),
                properties: Some(terms),
            };
            let login = login.map(|(user, password)| v5::Login::new(user, password));
            let packet = v5::Packet::Connect(connect, None, login);
            packet.write(bytes, None).map_err(too_long)
        }
        Protocol::V3 => {
            let mut connect = v4::Connect::new(client_id);
            connect.keep_alive = keep_alive;
            connect.clean_session = opening.session.is_none();
            connect.login = login.map(|(user, password)| v4::Login::new(user, password));
            connect.write(bytes).map_err(too_long)
        }
    };
    written.map(drop)
}

/// MQTT 5, section 3.10; the older form has no properties.
pub(super) fn write_unsubscribe(bytes: &mut BytesMut, protocol: Protocol, id: u16, filters: &[String]) {
    let properties = usize::from(protocol == Protocol::V5);
    let length = 2 + properties + filters.iter().map(|filter| 2 + filter.len()).sum::<usize>();
    bytes.put_u8(0xa2);
    put_length(bytes, length);
    bytes.put_u16(id);
    bytes.put_bytes(0, properties);
    for filter in filters {
        bytes.put_u16(filter.len() as u16); // the settings allow no longer ones
        bytes.put_slice(filter.as_bytes());
    }
}

pub(super) fn write_subscribe(
    bytes: &mut BytesMut,
    protocol: Protocol,
    id: u16,
    filters: &[String],
    qos: u8,
    retained: bool,
) -> Result<(), LinkError> {
    let written = match protocol {
        Protocol::V5 => {
            let qos = new::qos(qos).unwrap_or_default();
            let filters = filters.iter().map(|filter| v5::Filter {
                // A shared subscription gets no retained messages anyway.
                retain_forward_rule: match retained {
                    true => v5::RetainForwardRule::OnNewSubscribe,
                    false => v5::RetainForwardRule::Never,
                },
                ..v5::Filter::new(filter, qos)
            });
            let mut subscribe = v5::Subscribe::new_many(filters, None);
            subscribe.pkid = id;
            subscribe.write(bytes).map_err(too_long)
        }
        Protocol::V3 => {
            let qos = match qos {
                0 => old::QoS::AtMostOnce,
                _ => old::QoS::AtLeastOnce,
            };
            let filters = filters.iter().map(|filter| v4::SubscribeFilter {
                path: filter.clone(),
                qos,
            });
            let mut subscribe = v4::Subscribe::new_many(filters);
            subscribe.pkid = id;
            subscribe.write(bytes).map_err(too_long)
        }
    };
    written.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write_publish(bytes: &mut BytesMut, protocol: Protocol, publication: &Publication) -> Result<(), LinkError> {
        let Publication {
            topic,
            payload,
            id,
            qos,
            retain,
            duplicate,
            ..
        } = publication;
        let written = match protocol {
            Protocol::V5 => {
                let qos = new::qos(*qos).unwrap_or_default();
                let mut publish = v5::Publish::new(topic, qos, payload.clone(), None);
                (publish.pkid, publish.retain, publish.dup) = (*id, *retain, *duplicate);
                publish.write(bytes).map_err(too_long)
            }
            Protocol::V3 => {
                let qos = match qos {
                    0 => old::QoS::AtMostOnce,
                    _ => old::QoS::AtLeastOnce,
                };
                let mut publish = v4::Publish::from_bytes(topic, qos, payload.clone());
                (publish.pkid, publish.retain, publish.dup) = (*id, *retain, *duplicate);
                publish.write(bytes).map_err(too_long)
            }
        };
        written.map(drop)
    }

    fn publication(length: usize) -> Publication {
        Publication {
            topic: "ward/1".into(),
            payload: vec![7; length].into(),
            length: length as u64,
            id: 9,
            qos: 1,
            retain: true,
            duplicate: true,
        }
    }

    fn decoded(protocol: Protocol, bytes: &[u8], step: usize) -> Vec<Incoming> {
        let mut decoder = Decoder::new(protocol, 1000);
        let mut inbox = BytesMut::new();
        let mut found = Vec::new();
        for part in bytes.chunks(step) {
            inbox.extend_from_slice(part);
            while let Some(incoming) = decoder.next(&mut inbox).expect("packets") {
                found.push(incoming);
            }
        }
        assert!(inbox.is_empty() && decoder.cut.is_none());
        found
    }

    #[test]
    fn a_good_bye_without_properties_is_understood() {
        for (bytes, wanted) in [
            (&[0xe0, 1, 0x8e][..], "TakenOver"),
            (&[0xe0, 2, 0x8e, 0], "TakenOver"),
            (&[0xe0, 0], "Closed"),
            (&[0xe0, 1, 0x8b], "Refused(\"ServerShuttingDown\")"),
        ] {
            let mut inbox = BytesMut::from(bytes);
            let error = Decoder::new(Protocol::V5, 1000).next(&mut inbox).expect_err("an end");
            assert_eq!(format!("{error:?}"), wanted);
        }
    }

    proptest! {
        #[test]
        fn publications_come_out_as_they_went_in_and_cut_if_too_long(
            lengths in prop::collection::vec(0_usize..3000, 1..5), step in 1_usize..700, new in any::<bool>()
        ) {
            let protocol = if new { Protocol::V5 } else { Protocol::V3 };
            let mut bytes = BytesMut::new();
            for length in &lengths {
                write_publish(&mut bytes, protocol, &publication(*length)).expect("short enough");
            }
            let found = decoded(protocol, &bytes, step);
            prop_assert_eq!(found.len(), lengths.len());
            for (incoming, length) in found.into_iter().zip(lengths) {
                let Incoming::Publication(found) = incoming else { panic!("a publication") };
                let whole = publication(length);
                prop_assert!(found.payload.len() == length || (900..1000).contains(&found.payload.len()));
                prop_assert_eq!(Publication { payload: whole.payload.clone(), ..found }, whole);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), new in any::<bool>()) {
            let mut decoder = Decoder::new(if new { Protocol::V5 } else { Protocol::V3 }, 40);
            let mut inbox = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decoder.next(&mut inbox) {}
        }
    }
}
