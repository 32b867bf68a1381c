//! Why there is no connection, in words for the user.

use std::fmt;
use std::io;

/// How the user gives what a connection needs: names of settings or of flags.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    pub url: &'static str,
    pub login: &'static str,
    pub ca: &'static str,
    pub certificate: &'static str,
    pub client_id: &'static str,
    pub protocol: &'static str,
}

/// Why there is no connection, or no more.
#[derive(Debug)]
pub enum LinkError {
    /// The network, or TLS on top of it.
    Io(io::Error),
    /// No answer in time.
    Silent,
    /// The broker has closed it without a word.
    Closed,
    Login,
    /// It does not speak this version.
    Version,
    ClientId,
    /// Another client has come under the same name.
    TakenOver,
    /// It refuses or ends the connection for another reason.
    Refused(String),
    /// What came is not MQTT.
    NotMqtt(String),
    /// A certificate or key that cannot be used, and what to do.
    Certificate(String),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Io(error)
    }
}

impl LinkError {
    /// Reason and advice, in one line.
    pub fn told(&self, advice: &Advice) -> String {
        let Advice {
            url,
            login,
            ca,
            certificate,
            client_id,
            protocol,
        } = advice;
        match self {
            LinkError::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => encrypted(tls, ca, certificate),
                None if error.kind() == io::ErrorKind::ConnectionRefused => {
                    format!("no broker listens there; start one, or set {url}")
                }
                None => format!("the connection failed ({error}); check {url} and the network"),
            },
            LinkError::Silent => format!("the broker does not answer; check {url} and the network"),
            LinkError::Closed => format!(
                "the broker has closed the connection; give each client its own {client_id}, or see the broker's log"
            ),
            LinkError::Login => format!("the broker refuses user and password; give them with {login}"),
            LinkError::Version => format!("the broker does not speak this version of MQTT; change {protocol}"),
            LinkError::ClientId => format!("the broker refuses the client's name; change {client_id}"),
            LinkError::TakenOver => {
                format!(
                    "another client has come under the same name and taken the session; give each its own {client_id}"
                )
            }
            LinkError::Refused(why) => format!("the broker ends the connection ({why}); its log may say more"),
            LinkError::NotMqtt(why) => format!("what answers does not speak MQTT ({why}); check {url} and {protocol}"),
            LinkError::Certificate(why) => why.clone(),
        }
    }
}

/// A failure of TLS.
fn encrypted(error: &rustls::Error, ca: &str, certificate: &str) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Wrong, Error};
    match error {
        Error::InvalidCertificate(Wrong::UnknownIssuer) => {
            format!(
                "nobody this machine trusts vouches for the broker's certificate; name its CA's certificate in {ca}"
            )
        }
        Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            "the broker's certificate is for another host name; use the name that it was made for".to_owned()
        }
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            "the broker's certificate has expired; renew it".to_owned()
        }
        Error::InvalidCertificate(why) => format!("the broker's certificate is not acceptable ({why:?})"),
        Error::InvalidMessage(_) => {
            "the broker does not encrypt at this port; use mqtt://, or its port for TLS".to_owned()
        }
        Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            format!("the broker wants a certificate of the client; give one with {certificate}")
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied,
        ) => format!("the broker does not accept the client's certificate; check {certificate}"),
        other => format!("no encrypted connection ({other})"),
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(&Advice {
            url: "the address",
            login: "the address",
            ca: "the CA file",
            certificate: "the certificate file",
            client_id: "the client id",
            protocol: "the protocol version",
        }))
    }
}

impl std::error::Error for LinkError {}
