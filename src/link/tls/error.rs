//! Why TLS could not be set up: faults of what the operator gives, as opposed to those of peers in [`TlsFault`].
//!
//! [`TlsFault`]: crate::close::TlsFault

use core::fmt;

/// Why an identity, an authority or all of TLS could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The operating system gives no randomness.
    Randomness,
    /// A private key that cannot be read, or is of an unknown kind.
    Key,
    /// A certificate that cannot be read, or none.
    Certificate,
    /// A private key that is not the certificate's.
    KeyMismatch,
    /// Root certificates that cannot be read, or none.
    Roots,
    /// A name that is neither a DNS name nor an IP address.
    Name,
    /// The crypto library refuses the configuration.
    Library,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsError::Randomness => "the operating system gives no randomness",
            TlsError::Key => "the private key cannot be read or is of an unknown kind",
            TlsError::Certificate => "there is no certificate, or one that cannot be read",
            TlsError::KeyMismatch => "the private key is not the certificate's",
            TlsError::Roots => "there is no root certificate, or one that cannot be read",
            TlsError::Name => "the name is neither a DNS name nor an IP address",
            TlsError::Library => "the crypto library refuses the configuration",
        })
    }
}

impl core::error::Error for TlsError {}
