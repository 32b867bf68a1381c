//! TCP that acknowledges at once what it reads. In and out: a connection's bytes.
//!
//! A broker with Nagle's algorithm (Mosquitto unless its `set_tcp_nodelay` is on; rumqttd always) holds small packets back until what it has sent
//! before is acknowledged, and the kernel acknowledges late, in the hope that an answer takes it along: up to 40 ms, for which records would
//! wait in the broker.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Acknowledges what has been read from `socket`, where the system can.
pub fn acknowledge_at_once(socket: impl AsFd) {
    #[cfg(target_os = "linux")]
    {
        // A connection that has just been lost says so with the next read.
        let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
    }
    #[cfg(not(target_os = "linux"))]
    drop(socket);
}

/// The wish does not last: it is made again with each read.
pub(super) struct Prompt(pub(super) TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.0).poll_read(context, into);
        if into.filled().len() > before {
            acknowledge_at_once(&self.0);
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
