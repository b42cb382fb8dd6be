//! STARTTLS: the certificate and key from their files.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Why no handshake can be offered. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of the certificate holds none.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// The file of the key holds none.
    #[error("it holds no private key in PEM form")]
    NoKey,
    /// The two do not fit, or rustls does not take them.
    #[error("certificate and key can't be used together")]
    Unusable(#[from] rustls::Error),
}

/// The certificates in a PEM file, the server's own first.
///
/// # Errors
/// Where there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(TlsError::NoCertificate)
}

/// The private key in a PEM file.
///
/// # Errors
/// Where there is none.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey)
}

/// How hands are shaken by them.
///
/// # Errors
/// Where they can't be used.
pub fn server(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(Arc::new(config))
}
