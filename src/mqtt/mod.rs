//! A connection to an MQTT broker, over TCP or TLS.
//!
//! In: where the broker is, how to log in and which version of the protocol to speak. Out: packets, both ways. Reading and writing of
//! packets is rumqttc's; its event loop is not used, because it spends a system call on every acknowledgement, keeps the packets of a
//! lost connection for the next one, and cannot pause reading without losing the connection.

mod connection;
mod error;
mod packet;
mod pause;
mod prompt;
mod tls;

pub use connection::{Connection, Endpoint, Opening};
pub use error::{Advice, LinkError};
pub use packet::{Grant, Incoming, Publication, Welcome};
pub use pause::Pause;
pub use prompt::acknowledge_at_once;
pub use tls::Certificates;
