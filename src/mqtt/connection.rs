//! The bytes between here and a broker.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::packet::{
    Decoder, Incoming, Publication, Welcome, write_connect, write_publish, write_subscribe, write_unsubscribe,
};
use super::prompt::Prompt;
use super::{Certificates, LinkError};
use crate::settings::{BrokerAddress, Protocol};

/// How long reaching a broker and its welcome may take, together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const READ: usize = 64 << 10;
/// How long a broker is given to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a broker is and who asks.
#[derive(Clone)]
pub struct Endpoint {
    pub address: BrokerAddress,
    /// User and password.
    pub login: Option<(String, String)>,
    pub certificates: Certificates,
    pub protocol: Protocol,
}

/// What a client says of itself.
#[derive(Clone, Debug)]
pub struct Opening {
    pub client_id: String,
    pub keep_alive: Duration,
    /// How long the session is kept; none: a new one at every connection.
    pub session: Option<Duration>,
    /// Unacknowledged publications that may come.
    pub receive_maximum: u16,
    /// Bytes of a publication that are kept; of longer ones, this much.
    pub largest: usize,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Connection {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Whether bytes may wait inside the encryption.
    unflushed: bool,
    decoder: Decoder,
    protocol: Protocol,
    /// When something came for the last time.
    heard: Instant,
}

impl Connection {
    /// Connects and waits for the broker's welcome.
    ///
    /// # Errors
    /// No broker in time, or one that refuses.
    pub async fn open(endpoint: &Endpoint, opening: &Opening) -> Result<(Connection, Welcome), LinkError> {
        let opened = timeout(PATIENCE, Connection::greet(endpoint, opening)).await;
        opened.unwrap_or(Err(LinkError::Silent))
    }

    async fn greet(endpoint: &Endpoint, opening: &Opening) -> Result<(Connection, Welcome), LinkError> {
        let BrokerAddress {
            host, port, encrypted, ..
        } = &endpoint.address;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((host, *port)).await?;
        tcp.set_nodelay(true)?;
        let tcp = Prompt(tcp);
        let stream: Box<dyn Stream> = match encrypted {
            true => Box::new(endpoint.certificates.encrypt(host, tcp).await?),
            false => Box::new(tcp),
        };
        let (reader, writer) = split(stream);
        let mut connection = Connection {
            reader,
            writer,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            unflushed: false,
            decoder: Decoder::new(endpoint.protocol, opening.largest),
            protocol: endpoint.protocol,
            heard: Instant::now(),
        };
        write_connect(&mut connection.outbox, endpoint, opening)?;
        loop {
            connection.advance(true).await?;
            match connection.received()? {
                None => {}
                Some(Incoming::Welcome(welcome)) => return Ok((connection, welcome)),
                Some(_) => return Err(LinkError::NotMqtt("no welcome came first".into())),
            }
        }
    }

    /// Writes what is to be written and, if `reading`, reads, until something of it is done. May be abandoned at any time.
    pub async fn advance(&mut self, reading: bool) -> Result<(), LinkError> {
        let Connection {
            reader,
            writer,
            inbox,
            outbox,
            unflushed,
            ..
        } = self;
        if inbox.capacity() - inbox.len() < READ / 4 {
            inbox.reserve(READ);
        }
        let writing = !outbox.is_empty() || *unflushed;
        tokio::select! {
            read = reader.read_buf(inbox), if reading => match read? {
                0 => return Err(LinkError::Closed),
                _ => self.heard = Instant::now(),
            },
            written = write(writer, outbox, unflushed), if writing => written?,
            () = std::future::pending(), if !reading && !writing => {}
        }
        Ok(())
    }

    /// The next packet of those that have been read.
    pub fn received(&mut self) -> Result<Option<Incoming>, LinkError> {
        self.decoder.next(&mut self.inbox)
    }

    /// Whether nothing waits to be written.
    pub fn has_written(&self) -> bool {
        self.outbox.is_empty() && !self.unflushed
    }

    pub fn heard(&self) -> Instant {
        self.heard
    }

    pub fn acknowledge(&mut self, id: u16) {
        self.outbox.extend_from_slice(&[0x40, 2, (id >> 8) as u8, id as u8]);
    }

    pub fn ping(&mut self) {
        self.outbox.extend_from_slice(&[0xc0, 0]);
    }

    /// Subscribes to all filters at one quality of service. `retained`: with the messages that the broker has retained.
    pub fn subscribe(&mut self, id: u16, filters: &[String], qos: u8, retained: bool) -> Result<(), LinkError> {
        write_subscribe(&mut self.outbox, self.protocol, id, filters, qos, retained)
    }

    /// Takes subscriptions back; those that there are not do no harm.
    pub fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), LinkError> {
        write_unsubscribe(&mut self.outbox, self.protocol, id, filters)
    }

    pub fn publish(&mut self, publication: &Publication) -> Result<(), LinkError> {
        write_publish(&mut self.outbox, self.protocol, publication)
    }

    /// Says good-bye behind all that is to be written, and lets the broker close: what it has not read is lost to it if we close first.
    pub async fn leave(mut self) {
        self.outbox.extend_from_slice(&[0xe0, 0]);
        let farewell = async {
            write(&mut self.writer, &mut self.outbox, &mut self.unflushed).await?;
            self.writer.shutdown().await?;
            loop {
                self.inbox.clear();
                self.inbox.reserve(READ);
                if self.reader.read_buf(&mut self.inbox).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        // A broker that has gone, or does not close, needs no farewell.
        let _ = timeout(FAREWELL, farewell).await;
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), outbox: &mut BytesMut, unflushed: &mut bool) -> io::Result<()> {
    while outbox.has_remaining() {
        *unflushed = true;
        if writer.write_buf(outbox).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await?;
    *unflushed = false;
    Ok(())
}
