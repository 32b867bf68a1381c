//! The embedded MQTT broker of the demo and of benchmarks: loopback only, in memory, forgetful. Real use wants a real broker.
//!
//! In: nothing. Out: the address it listens at. It runs until the process ends.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// How often a broker that starts is looked for, and how many times.
const LOOKS: (u32, Duration) = (200, Duration::from_millis(25));

/// Starts a broker at a free port of this machine and waits until it answers. It speaks MQTT 5.
///
/// # Errors
/// No free port, or a broker that does not come up.
pub fn start() -> io::Result<SocketAddr> {
    // The port is free again when the broker takes it: nobody else on a loopback is likely to be quicker.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let server = ServerSettings {
        name: "wardflow".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 1 << 20,
            max_inflight_count: 1000,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = Config {
        id: 0,
        router: RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 1000,
            max_segment_size: 4 << 20,
            max_segment_count: 64,
            custom_segment: None,
            initialized_filters: None,
            ..RouterConfig::default()
        },
        v4: None,
        v5: Some(HashMap::from([("wardflow".into(), server)])),
        ws: None,
        cluster: None,
        console: None,
        bridge: None,
        prometheus: None,
        metrics: None,
    };
    thread::spawn(move || {
        // It returns only when it cannot listen: then nobody answers below.
        let _ = Broker::new(config).start();
    });
    for _ in 0..LOOKS.0 {
        if TcpStream::connect(address).is_ok() {
            return Ok(address);
        }
        thread::sleep(LOOKS.1);
    }
    Err(io::Error::other("the embedded broker does not answer"))
}
