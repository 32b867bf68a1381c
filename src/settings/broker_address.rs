//! The address of an MQTT broker, out of its URL: one reading of it for the settings, the live source and the simulator.

use std::fmt;
use std::str::FromStr;

/// `mqtt://[user:password@]host[:port]`, or `mqtts://` for an encrypted connection. Shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// A name, an address, or an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
    /// User and password, percent-decoded.
    pub login: Option<(String, String)>,
    /// Whether the connection is to be encrypted.
    pub encrypted: bool,
    /// What stands behind host and port, without its first slash. MQTT has no use for it.
    pub path: String,
}

/// The registered ports of MQTT, and of MQTT over TLS.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

impl FromStr for BrokerAddress {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<BrokerAddress, &'static str> {
        let (encrypted, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("not the address of a broker: give mqtt://HOST:PORT"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login.split_once(':').unwrap_or((login, ""))), place),
            None => (None, authority),
        };
        let host_end = place.find(']').map_or(0, |end| end + 1); // colons before it are an IPv6 address's
        let (host, port) = match place[host_end..].rfind(':') {
            Some(colon) => {
                let (host, port) = place.split_at(host_end + colon);
                let port = port[1..].parse().ok().filter(|port| *port > 0);
                (host, port.ok_or("not a port: give a number from 1 to 65535")?)
            }
            None if encrypted => (place, TLS_PORT),
            None => (place, PORT),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(char::is_whitespace) || !bracketed && host.contains([':', '[', ']']) {
            return Err("an address without a host: give mqtt://HOST:PORT");
        }
        Ok(BrokerAddress {
            host: host.to_owned(),
            port,
            login: login.map(|(user, password)| (decoded(user), decoded(password))),
            encrypted,
            path: path.to_owned(),
        })
    }
}

/// `%40` is `@`; what is no such escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &rest[3..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Without the login.
impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_read_from_its_url_and_a_password_is_never_shown() {
        let parts = |url: &str| {
            let address: BrokerAddress = url.parse().unwrap_or_else(|why| panic!("{url}: {why}"));
            (address.to_string(), address.login)
        };
        let login = Some(("ward".to_owned(), "s3cret".to_owned()));
        assert_eq!(
            parts("mqtt://ward:s3cret@broker.lan:1884/"),
            ("mqtt://broker.lan:1884".into(), login)
        );
        assert_eq!(parts("mqtt://[::1]").0, "mqtt://[::1]:1883");
        assert_eq!(parts("mqtts://[::1]:8883").0, "mqtts://[::1]:8883");
        assert_eq!(parts("mqtts://[::1]").0, "mqtts://[::1]:8883");
        let login = Some(("w@rd".to_owned(), "100%:/ é".to_owned()));
        assert_eq!(parts("mqtt://w%40rd:100%25:%2f%20%c3%A9@b").1, login);
        let login = Some(("%".to_owned(), "50%, %ff".to_owned()));
        assert_eq!(parts("mqtt://%:50%, %ff@b").1, login);
        assert_eq!(parts("mqtt://localhost"), ("mqtt://localhost:1883".into(), None));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "localhost:1883",
            "http://localhost",
            "mqtt://",
            "mqtt://user@",
            "mqtt://:1883",
            "mqtt://a b",
            "mqtt://::1",
            "mqtt://host:0",
            "mqtt://host:65536",
            "mqtt://host:port",
        ] {
            assert!(url.parse::<BrokerAddress>().is_err(), "{url:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", tail in "[\\[\\]:@/a-z0-9]{0,20}") {
            let _ = text.parse::<BrokerAddress>();
            let _ = format!("mqtt://{tail}").parse::<BrokerAddress>();
        }
    }
}
