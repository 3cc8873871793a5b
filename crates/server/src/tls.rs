//! TLS, where no proxy does it: a certificate and its key, which can be replaced while the server runs.
//!
//! TLS 1.2 and 1.3 as rustls has them; not which files they come from.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How connections are encrypted. Clones share it: what is replaced in one is replaced in all.
#[derive(Clone)]
pub struct Tls(Arc<watch::Sender<Arc<ServerConfig>>>);

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is none in the file.
    #[error("the certificate file holds no certificate; expected PEM, the server's own first")]
    NoCertificate,
    /// The file cannot be read as PEM.
    #[error("the certificate cannot be read as PEM: {0}")]
    Certificate(String),
    /// There is none in the file, or not one alone.
    #[error("the key cannot be read as PEM (PKCS #8, PKCS #1 or SEC 1): {0}")]
    Key(String),
    /// They do not go together, or are of no known sort.
    #[error("certificate and key are not accepted: {0}")]
    Refused(#[from] rustls::Error),
}

impl Tls {
    /// With a chain of certificates, the server's own first, and its private key; both as PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (config, _) = watch::channel(configuration(certificates, key)?);
        Ok(Self(Arc::new(config)))
    }

    /// Puts others in their place, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; those of before go on being used.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.0.send_replace(configuration(certificates, key)?);
        Ok(())
    }

    /// Agrees on keys with whoever has connected.
    pub(crate) fn accept<T>(&self, stream: T) -> tokio_rustls::Accept<T>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.0.borrow())).accept(stream)
    }
}

fn configuration(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
    // Named, since others in the process may have installed another or none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl fmt::Debug for Tls {
    /// Without the key: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
