//! Encryption of a connection: who may vouch for the broker, and what vouches for the client.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::LinkError;
use super::prompt::Prompt;

/// PEM files; an empty path means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Who may vouch for the broker; none: those whom the system trusts.
    pub ca: String,
    /// The client's certificate, with those between it and its CA.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Certificates {
    /// Reads the files: at every connection, so that renewed ones are used.
    pub(super) fn configuration(&self) -> Result<ClientConfig, LinkError> {
        let wrong = |why: String| LinkError::Certificate(why);
        let mut roots = RootCertStore::empty();
        match self.ca.as_str() {
            "" => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(wrong(
                        "this machine has no list of trusted certificates; install one (ca-certificates), or name the CA of the broker".into(),
                    ));
                }
            }
            path => {
                for certificate in certificates(path)? {
                    let added = roots.add(certificate);
                    added.map_err(|e| wrong(format!("{path}: a certificate in it cannot be used ({e})")))?;
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(e.to_string()))?
            .with_root_certificates(roots);
        if self.certificate.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|_| {
            wrong(format!(
                "{}: no private key in PEM form without a passphrase; convert it (openssl pkey -in FILE -out NEW)",
                self.key
            ))
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|e| {
            wrong(format!(
                "{} and {} do not belong together, or cannot be used ({e})",
                self.certificate, self.key
            ))
        })
    }

    pub(super) async fn encrypt(&self, host: &str, stream: Prompt) -> Result<TlsStream<Prompt>, LinkError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| LinkError::Certificate(format!("{host} is no name that a certificate can be made for")))?;
        let connector = TlsConnector::from(Arc::new(self.configuration()?));
        Ok(connector.connect(name, stream).await?)
    }
}

fn read(path: &str) -> Result<Vec<u8>, LinkError> {
    fs::read(Path::new(path)).map_err(|e| LinkError::Certificate(format!("{path}: cannot be read ({e})")))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(LinkError::Certificate(format!(
            "{path}: no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        ))),
    }
}
