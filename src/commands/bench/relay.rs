//! A relay. In: the bytes between broker and engine, which it passes on. Out: when the engine has acknowledged what.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use memchr::memmem;

use crate::mqtt::acknowledge_at_once;
use crate::observe::wall_clock;
use crate::record::{EventTime, Zone};

pub(super) struct Relay {
    pub(super) port: u16,
    noted: Arc<Mutex<Noted>>,
}

struct Noted {
    /// Packet id → when the record was due, microseconds since 1970.
    under_way: HashMap<u16, EventTime>,
    latencies: Vec<i64>,
    acknowledged: u64,
    most: u64,
    zone: Zone,
}

impl Default for Noted {
    fn default() -> Noted {
        Noted {
            under_way: HashMap::new(),
            latencies: Vec::new(),
            acknowledged: 0,
            most: 0,
            zone: Zone::new(jiff::tz::TimeZone::UTC, 1_000),
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    ToEngine,
    ToBroker,
}

impl Relay {
    /// Listens for one engine.
    pub(super) fn start(host: &str, port: u16) -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let own = listener.local_addr()?.port();
        let noted = Arc::new(Mutex::new(Noted::default()));
        let (shared, host) = (Arc::clone(&noted), host.trim_matches(['[', ']']).to_owned());
        thread::spawn(move || {
            for engine in listener.incoming().flatten() {
                // A connection that cannot be made again ends here, and the engine tells.
                if let Ok(broker) = TcpStream::connect((host.as_str(), port)) {
                    let _ = connect(&engine, &broker, &shared);
                }
            }
        });
        Ok(Relay { port: own, noted })
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        locked(&self.noted)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.noted().acknowledged
    }

    /// What comes from now on is measured; nothing may be under way.
    pub(super) fn begin(&self) {
        let mut noted = self.noted();
        noted.latencies.clear();
        (noted.acknowledged, noted.most) = (0, 0);
    }

    /// Records that the engine has been sent and has not acknowledged.
    pub(super) fn backlog(&self) -> u64 {
        self.noted().under_way.len() as u64
    }

    /// The times to acknowledgement in microseconds, and the most records that waited for one.
    pub(super) fn end(self) -> (Vec<i64>, u64) {
        let mut noted = self.noted();
        (std::mem::take(&mut noted.latencies), noted.most)
    }
}

fn locked(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(engine: &TcpStream, broker: &TcpStream, noted: &Arc<Mutex<Noted>>) -> io::Result<()> {
    locked(noted).under_way.clear(); // packet ids hold for one connection
    for (from, to, way) in [(broker, engine, Way::ToEngine), (engine, broker, Way::ToBroker)] {
        to.set_nodelay(true)?;
        let (from, to, noted) = (from.try_clone()?, to.try_clone()?, Arc::clone(noted));
        thread::spawn(move || pass(from, to, way, &noted));
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, way: Way, noted: &Mutex<Noted>) {
    let (mut bytes, mut waiting) = (vec![0; 256 << 10], Vec::new());
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        acknowledge_at_once(&from);
        let now = wall_clock();
        waiting.extend_from_slice(&bytes[..count]);
        let mut held = locked(noted);
        let taken = packets(&waiting, |packet| held.note(way, packet, now));
        drop(held); // writing may wait for the other way
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        waiting.drain(..taken);
    }
    let _ = to.shutdown(Shutdown::Both); // the end of either is the end of both
    let _ = from.shutdown(Shutdown::Both);
}

impl Noted {
    fn note(&mut self, way: Way, (kind, body): (u8, &[u8]), now: i64) {
        match (way, kind >> 4) {
            (Way::ToEngine, 3) if kind & 6 != 0 => {
                if let Some((id, due)) = publication(&self.zone, body) {
                    self.under_way.insert(id, due);
                    self.most = self.most.max(self.under_way.len() as u64);
                }
            }
            (Way::ToBroker, 4) => {
                let id = body.first_chunk().map(|id| u16::from_be_bytes(*id));
                if let Some(due) = id.and_then(|id| self.under_way.remove(&id)) {
                    self.latencies.push(now - due);
                    self.acknowledged += 1;
                }
            }
            _ => {}
        }
    }
}

/// Tells the whole packets, each with its first byte; the bytes that they take.
fn packets(bytes: &[u8], mut tell: impl FnMut((u8, &[u8]))) -> usize {
    let mut at = 0;
    while let Some((kind, body, length)) = packet(&bytes[at..]) {
        tell((kind, body));
        at += length;
    }
    at
}

fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, rest) = bytes.split_first()?;
    let mut length = 0;
    for (i, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let body = rest.get(i + 1..i + 1 + length)?;
            return Some((*kind, body, i + 2 + length));
        }
    }
    None
}

/// Packet id of a publication, and when its record was due by its timestamp, in microseconds.
fn publication(zone: &Zone, body: &[u8]) -> Option<(u16, EventTime)> {
    const NAME: &[u8] = b"\"timestamp\":";
    let (topic, rest) = body.split_first_chunk()?;
    let id = rest.get(usize::from(u16::from_be_bytes(*topic))..)?.first_chunk()?;
    let value = &body[memmem::find(body, NAME)? + NAME.len()..];
    let end = value.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let text = std::str::from_utf8(&value[..end]).ok()?.trim().trim_matches('"');
    Some((u16::from_be_bytes(*id), zone.of_text(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As MQTT 3.1.1 and 5 have it, up to what is looked at.
    fn publish(id: u16, timestamp: &str) -> Vec<u8> {
        let payload = format!("{{\"timestamp\":{timestamp},\"text\":\"{}\"}}", "x".repeat(200));
        let mut body = vec![0, 1, b't'];
        body.extend(id.to_be_bytes());
        body.extend(payload.as_bytes());
        let mut packet = vec![0x32, body.len() as u8 | 0x80, (body.len() >> 7) as u8];
        packet.extend(body);
        packet
    }

    #[test]
    fn an_acknowledgement_is_timed_from_when_its_record_was_due() {
        let mut noted = Noted::default();
        let bytes = [publish(7, "\"1000\""), publish(8, "\"1970-01-01T00:00:02\"")].concat();
        for split in 0..bytes.len() {
            let mut waiting = bytes[..split].to_vec();
            let taken = packets(&waiting, |packet| noted.note(Way::ToEngine, packet, 0));
            waiting.drain(..taken);
            waiting.extend(&bytes[split..]);
            assert_eq!(
                packets(&waiting, |packet| noted.note(Way::ToEngine, packet, 0)),
                waiting.len()
            );
            packets(&[0x40, 2, 0, 8, 0x40, 2, 0, 9], |packet| {
                noted.note(Way::ToBroker, packet, 2_000_500)
            });
            assert_eq!((noted.latencies.pop(), noted.under_way.len()), (Some(500), 1));
        }
        assert_eq!(noted.most, 2);
    }
}
